"""A process that only knows: ``python -m tests.cluster.kube.watcher KUBECONFIG``; a line of JSON when it knows all, and then one a second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from pathlib import Path
from random import Random

from voke_operator.kube.client import Client, from_kubeconfig
from voke_operator.kube.health import LoopLag
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import PLANTS, SECRETS
from voke_operator.kube.sources import Scope, Sources


def report(began: float, objects: Objects, lag: LoopLag, told: int) -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return json.dumps(
        {
            "seconds": round(time.monotonic() - began, 2),
            "cpu": round(usage.ru_utime + usage.ru_stime, 2),
            "rss": pages * resource.getpagesize() // 2**20,
            "peak": usage.ru_maxrss // 2**10,
            "lag": round(lag.recent, 3),
            "plants": objects.count(PLANTS),
            "secrets": objects.count(SECRETS),
            "told": told,
        }
    )


async def main(kubeconfig: Path) -> None:
    told = 0

    def count(*_: str) -> None:
        nonlocal told
        told += 1

    objects, lag = Objects(count), LoopLag()
    began = time.monotonic()
    async with contextlib.aclosing(Client(await from_kubeconfig(kubeconfig))) as client:
        sources = Sources(client, objects, scope=Scope(), random=Random())
        async with asyncio.TaskGroup() as group:
            group.create_task(sources.run())
            group.create_task(lag.run())
            await sources.synced.wait()
            while True:
                print(report(began, objects, lag, told), flush=True)
                await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
