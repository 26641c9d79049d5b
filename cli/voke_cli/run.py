"""``voke run``: the gateway on one machine, without Kubernetes."""

from __future__ import annotations

import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from voke_cli.state import State, StateError, default_directory


class LogFormat(StrEnum):
    """How log lines are written."""

    LOGFMT = "logfmt"
    JSON = "json"


def run(
    files: Annotated[
        list[Path],
        typer.Argument(help="Plant, DeviceProfile, GatewayPool and Secret files, or directories of them."),
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

    Credentials that a Plant brings no Secret for are made once, in the state directory; voke credentials
    shows what to register at Voke.

    Exit status: 0 stopped as asked, 1 the files or the state directory cannot be used (nothing was
    started), 2 wrong usage.
    """
    from datetime import UTC, datetime

    from voke_cli.check import problem_text
    from voke_cli.prepare import prepare
    from voke_gateway.runtime.http import AddressInUseError, parse_address
    from voke_gateway.runtime.logs import configure
    from voke_gateway.runtime.serve import Options, run_forever, serve
    from voke_operator.credentials.material import UnusableIssuerError

    try:
        host, port = parse_address(http)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--http") from None
    keep = State(state or default_directory())
    try:
        with keep.locked():
            prepared = prepare(files, keep, now=datetime.now(UTC), read_only=read_only)
            for problem in prepared.problems:
                typer.echo(problem_text(problem), err=True)
            if not prepared.ok:
                raise typer.Exit(1)
            configure(log_format.value)
            pools = prepared.pools.values()
            options = Options(
                name=socket.gethostname(),
                http_host=host,
                http_port=port,
                per_plant_metrics=all(pool.spec.metrics.per_plant for pool in pools),
                per_connection_metrics=any(pool.spec.metrics.per_connection for pool in pools),
            )
            run_forever(serve(prepared.assignments, options))
    except (StateError, UnusableIssuerError, AddressInUseError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
