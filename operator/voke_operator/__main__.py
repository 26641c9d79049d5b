"""``python -m voke_operator``: the operator of a cluster."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from voke_api.logs import configure
from voke_operator.credentials.material import USUAL, Life
from voke_operator.kube.lease import Timing
from voke_operator.kube.sources import Scope
from voke_operator.reconcile.engine import Settings
from voke_operator.runtime.defaults import DefaultsError, read_defaults
from voke_operator.runtime.http import AddressInUseError
from voke_operator.runtime.process import CannotStartError, Options, run


def main(arguments: Sequence[str] | None = None, *, life: Life = USUAL) -> int:
    """Run until SIGTERM or SIGINT; the exit status (0 stopped as asked, 1 could not start, 2 wrong usage).

    ``life``, of client certificates, is for programs that show in seconds what takes years.
    """
    parser = _parser()
    chosen = parser.parse_args(arguments)
    host, _, port = chosen.http.rpartition(":")
    if not port.isdecimal():
        parser.error("--http is HOST:PORT, such as :8080")
    if chosen.lease_seconds < 1:
        parser.error("--lease-seconds is 1 at least: a Lease counts in whole seconds")
    if chosen.context is not None and chosen.kubeconfig is None:
        parser.error("--context is one of a kubeconfig: give --kubeconfig as well")
    configure(chosen.log_format)
    try:
        defaults = read_defaults(chosen.defaults)
    except DefaultsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    options = Options(
        settings=Settings(
            namespace=chosen.namespace,
            scope=Scope(tuple(chosen.watch)),
            issuer=chosen.issuer_secret,
            defaults=defaults,
            life=life,
        ),
        kubeconfig=chosen.kubeconfig,
        context=chosen.context,
        http_host=host or "0.0.0.0",  # noqa: S104 - all interfaces, because it was asked for
        http_port=int(port),
        lease=chosen.lease,
        timing=Timing.lasting(chosen.lease_seconds),
    )
    try:
        asyncio.run(run(options))
    except (CannotStartError, AddressInUseError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m voke_operator", description="The operator of a cluster.")
    parser.add_argument(
        "--namespace",
        default=os.environ.get("POD_NAMESPACE", "voke-system"),
        help="the operator's own namespace, with the CA and the Lease (default: $POD_NAMESPACE)",
    )
    parser.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="NAMESPACE",
        help="namespace with Plants; may be given several times; none: the whole cluster",
    )
    parser.add_argument(
        "--issuer-secret",
        metavar="NAME",
        help="Secret in --namespace with the CA that issues client certificates; none: the fleet's own is made",
    )
    parser.add_argument(
        "--defaults",
        required=True,
        type=Path,
        metavar="FILE",
        help="YAML with the gateway's image, and what else holds for pools that do not say (docs/operator.md)",
    )
    parser.add_argument("--kubeconfig", type=Path, help="how to reach the cluster from outside of it")
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig (default: its current one)")
    parser.add_argument("--http", default=":8080", help="address of /healthz, /readyz and /metrics")
    parser.add_argument("--lease", default="voke-operator", help="name of the Lease that says who leads")
    parser.add_argument(
        "--lease-seconds",
        type=float,
        default=Timing().duration,
        help="how long a Lease that is not renewed counts, at least 1 (default: %(default)g)",
    )
    parser.add_argument("--log-format", choices=("logfmt", "json"), default="json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
