"""``voke run``: the gateway on one machine, without Kubernetes."""

from __future__ import annotations

import shutil
import socket
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from voke_cli.plan_bundle import Outcome, command
from voke_cli.state import State, StateError, default_directory
from voke_cli.watch import look

BUNDLE = ".bundle"
"""Where in the state directory the gateway finds its work; there while it runs."""
STDIN = Path("-")


class LogFormat(StrEnum):
    """How log lines are written."""

    LOGFMT = "logfmt"
    JSON = "json"


def run(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Plant, DeviceProfile, GatewayPool and Secret files, or directories of them.",
            metavar="FILE…",
        ),
    ],
    state: Annotated[
        Path | None,
        typer.Option(help="Where generated credentials are kept.", show_default="~/.local/state/voke"),
    ] = None,
    http: Annotated[
        str, typer.Option(help="Address of /healthz, /readyz, /metrics and /status; port 0: a free one.")
    ] = "127.0.0.1:9100",
    read_only: Annotated[bool, typer.Option("--read-only", help="Never write a register.")] = False,  # noqa: FBT002 - a flag
    log_format: Annotated[
        LogFormat, typer.Option(help="Form of the log on standard error.")
    ] = LogFormat.LOGFMT,
) -> None:
    """Read PLCs and talk to Voke until SIGTERM or Ctrl-C, then drain and stop within ten seconds.

    A file that changes meanwhile changes its plants, and only those. With a mistake in it they stay what they
    were, and the log says what is wrong. So they do if a FILE itself is gone; a file that leaves a directory
    takes its plants along. Standard input (-) is read once, and nothing is renewed after that.

    Credentials that a Plant brings no Secret for are made once, in the state directory; voke credentials
    shows what to register at Voke. A client certificate is renewed when two thirds of its life are over.

    Exit status: 0 stopped as asked, 1 the files or the state directory cannot be used (nothing was
    started), 2 wrong usage.
    """
    import voke_gateway  # noqa: F401 - first of all: it imports structlog without rich

    # isort: split
    from voke_gateway.runtime.http import AddressInUseError, parse_address

    try:
        address = parse_address(http)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--http") from None
    keep = State(state or default_directory())
    try:
        with keep.locked():
            try:
                _serve(files, keep.directory, address, log_format, read_only=read_only)
            finally:  # it holds keys that are not the state's own
                shutil.rmtree(keep.directory / BUNDLE, ignore_errors=True)
    except (StateError, AddressInUseError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _serve(
    files: list[Path], state: Path, address: tuple[str, int], log_format: LogFormat, *, read_only: bool
) -> None:
    """Plan, run what was planned, and plan anew when a file changes; till told to stop.

    Raises:
        typer.Exit: nothing was started; why has been said.
        AddressInUseError: another process serves at ``address``.
    """
    import structlog

    from voke_api.logs import configure
    from voke_cli.replan import Replanner
    from voke_gateway.drivers.claims import EndpointClaims
    from voke_gateway.drivers.registry import exclusive
    from voke_gateway.runtime.serve import Options, run_forever, serve

    bundle = state / BUNDLE
    seen = look(files)
    outcome = _plan_first(command(files, state, bundle, first=True))
    configure(log_format.value)
    claims = EndpointClaims("voke run")
    if claims.trouble:
        structlog.get_logger().error(
            "other programs on this machine may use the same PLCs", problem=claims.trouble
        )
    host, port = address
    options = Options(
        name=socket.gethostname(),
        bundle=bundle,
        http_host=host,
        http_port=port,
        read_only="voke run was started with --read-only" if read_only else None,
        per_plant_metrics=outcome.per_plant_metrics,
        per_connection_metrics=outcome.per_connection_metrics,
        notes_are_logged=True,
    )
    again = Replanner(
        files,
        lambda: command(files, state, bundle, first=False),
        seen,
        look_again=outcome.look_again,
    )
    beside = None if STDIN in files else again.run
    run_forever(serve(options, drivers=exclusive(claims), beside=beside))


def _plan_first(planning: list[str]) -> Outcome:
    """Have the first bundle written, all of it or none.

    Raises:
        typer.Exit: something is wrong; it has been said.
    """
    child = subprocess.run(planning, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
    try:
        outcome = Outcome.parse(child.stdout)
    except ValueError:
        typer.echo(f"planning ended with status {child.returncode}", err=True)
        raise typer.Exit(1) from None
    for _, text in outcome.problems:
        typer.echo(text, err=True)
    if outcome.failure:
        typer.echo(outcome.failure, err=True)
    if not outcome.ok:
        raise typer.Exit(1)
    return outcome
