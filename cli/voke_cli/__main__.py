"""``python -m voke_cli`` is ``voke``."""

from voke_cli.main import main

main()
