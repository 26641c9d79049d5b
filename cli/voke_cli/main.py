"""The ``voke`` command. Each subcommand is a module of this package and one line here.

This module stays cheap to import: a command imports its heavy half when it is called.
"""

from __future__ import annotations

from voke_cli.application import application
from voke_cli.canonical import canonical
from voke_cli.check import check
from voke_cli.credentials import credentials
from voke_cli.demo.command import demo
from voke_cli.messages.sign import sign
from voke_cli.messages.verify import verify
from voke_cli.plan import plan
from voke_cli.plan_bundle import plan_bundle
from voke_cli.probe.command import probe
from voke_cli.run import run

app = application("voke", "Bridges the PLCs of solar, battery and industrial sites to the Voke energy cloud.")

app.command("check")(check)
app.command("run")(run)
app.command("plan")(plan)
app.command("plan-bundle", hidden=True)(plan_bundle)
app.command("probe")(probe)
app.command("verify")(verify)
app.command("sign")(sign)
app.command("credentials")(credentials)
app.command("canonical")(canonical)
app.command("demo")(demo)


def main() -> None:
    """Entry point of the console script."""
    app()
