"""``python -m voke_gateway``: the gateway of a pod. It reads its bundle directory and holds no token."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from voke_api.logs import configure
from voke_api.probe import PORT
from voke_gateway.runtime.http import AddressInUseError, parse_address, parse_loopback
from voke_gateway.runtime.serve import Options, run_forever, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit status (0 stopped as asked, 1 could not start, 2 wrong usage)."""
    parser = argparse.ArgumentParser(
        prog="python -m voke_gateway",
        description="The gateway of a pod. It reads its bundle directory and holds no token.",
    )
    parser.add_argument("--bundle", type=Path, required=True, help="directory of the bundle")
    parser.add_argument("--http", default=":9100", help="address of /healthz, /readyz, /metrics and /status")
    parser.add_argument(
        "--local",
        default=f"127.0.0.1:{PORT}",
        metavar="HOST:PORT",
        help="loopback address of /probe; none: it is not served",
    )
    parser.add_argument("--name", default=socket.gethostname(), help="name of the gateway, for /status")
    parser.add_argument("--read-only", action="store_true", help="never write a register")
    parser.add_argument("--no-plant-metrics", action="store_true", help="no series per plant")
    parser.add_argument("--connection-metrics", action="store_true", help="series per connection")
    parser.add_argument("--log-format", choices=("logfmt", "json"), default="json")
    chosen = parser.parse_args(arguments)
    try:
        host, port = parse_address(chosen.http)
        local = None if chosen.local == "none" else parse_loopback(chosen.local)
    except ValueError as error:
        parser.error(str(error))
    configure(chosen.log_format)
    options = Options(
        name=chosen.name,
        bundle=chosen.bundle,
        http_host=host,
        http_port=port,
        local=local,
        read_only="the gateway was started with --read-only" if chosen.read_only else None,
        per_plant_metrics=not chosen.no_plant_metrics,
        per_connection_metrics=chosen.connection_metrics,
    )
    try:
        run_forever(serve(options))
    except AddressInUseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
