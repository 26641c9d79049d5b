"""``python -m voke_cli.kubectl``: the same as ``kubectl voke``."""

from voke_cli.kubectl.main import main

main()
