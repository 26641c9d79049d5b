"""The ``kubectl-voke`` command, which kubectl finds in $PATH and calls for ``kubectl voke …``.

This module stays cheap to import: a command imports its heavy half when it is called.
"""

from __future__ import annotations

from typing import Annotated

import typer

from voke_cli.kubectl.credentials import credentials
from voke_cli.kubectl.plan import plan
from voke_cli.kubectl.probe import probe
from voke_cli.kubectl.release import release
from voke_cli.kubectl.status import status

app = typer.Typer(
    name="kubectl voke", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - a flag
    if wanted:
        from importlib.metadata import version

        typer.echo(f"kubectl-voke {version('voke-fleet')}")
        raise typer.Exit


@app.callback()
def voke(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Looks at, and after, a fleet of Voke gateways in a cluster."""


app.command("status")(status)
app.command("plan")(plan)
app.command("credentials")(credentials)
app.command("probe")(probe)
app.command("release")(release)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="kubectl voke")
