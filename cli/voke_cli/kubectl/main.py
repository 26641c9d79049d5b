"""The ``kubectl-voke`` command, which kubectl finds in $PATH and calls for ``kubectl voke …``.

This module stays cheap to import: a command imports its heavy half when it is called.
"""

from __future__ import annotations

from voke_cli.application import application
from voke_cli.kubectl.credentials import credentials
from voke_cli.kubectl.plan import plan
from voke_cli.kubectl.probe import probe
from voke_cli.kubectl.release import release
from voke_cli.kubectl.status import status

app = application("kubectl voke", "Looks at, and after, a fleet of Voke gateways in a cluster.")

app.command("status")(status)
app.command("plan")(plan)
app.command("credentials")(credentials)
app.command("probe")(probe)
app.command("release")(release)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="kubectl voke")
