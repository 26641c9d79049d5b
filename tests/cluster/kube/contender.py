"""A process that wants to lead, and writes while it does: ``python -m tests.cluster.kube.contender``.

Every write is an unconditional server-side apply of the same object: nothing but the fence keeps it from writing
over its successor. A line on standard output says when it leads. Ends with status 3 when it lost the Lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any, Final

import structlog

from voke_operator.kube import errors
from voke_operator.kube.client import Client
from voke_operator.kube.lease import Lease, Timing
from voke_operator.kube.reach import from_kubeconfig
from voke_operator.kube.resources import Resource

CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
LEDGER: Final = "ledger"
LOST: Final = 3
TIMING: Final = Timing(duration=3.0, renew_within=2.0, retry=0.4)


async def contend(kubeconfig: Path, namespace: str, identity: str, timing: Timing) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with contextlib.aclosing(Client(await from_kubeconfig(kubeconfig))) as client:
        lease = Lease(client, namespace=namespace, identity=identity, random=Random(), timing=timing)
        async with lease:
            print(f"{identity} leads", flush=True)
            fenced = client.fenced(lease.check)
            number = 0
            while not stop.is_set() and not lease.lost.done():
                number += 1
                with contextlib.suppress(errors.FencedError, errors.RetryError):
                    await fenced.apply(CONFIG_MAPS, ledger(namespace, identity, number))
            return LOST if lease.lost.done() else 0


def ledger(namespace: str, identity: str, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": LEDGER},
        "data": {"leader": identity, "number": str(number)},
    }


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given, where, who, *slow = sys.argv[1:]
    sys.exit(asyncio.run(contend(Path(given), where, who, Timing() if slow else TIMING)))
