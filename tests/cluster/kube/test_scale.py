"""Ten thousand Plants: how soon they are known, and what that costs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kube.made import plant, secret
from voke_operator.kube.client import Client
from voke_operator.kube.resources import PLANTS, SECRETS

PLANTS_WANTED: Final = 10_000

POINTS: Final = [
    {"field": f"value{number}", "table": "input", "address": number, "type": "float32"}
    for number in range(10)
]
DEVICES: Final = [
    {"externalId": f"INV{number}", "type": "INVERTER", "connection": f"plc{number}", "points": POINTS}
    for number in range(10)
]


def spec(number: int) -> dict[str, Any]:
    hosts = [f"10.{number // 250}.{number % 250}.{plc}" for plc in range(10)]
    return {
        "plantId": f"{number:08x}-7b64-4d1e-9c55-0a1b2c3d4e5f",
        "auth": {"method": "MTLS"},
        "connections": [{"name": f"plc{plc}", "modbusTcp": {"host": host}} for plc, host in enumerate(hosts)],
        "devices": DEVICES,
    }


async def many(work: Callable[[int], Awaitable[object]]) -> None:
    numbers = iter(range(PLANTS_WANTED))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(worker())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("crds")
async def test_ten_thousand_plants_are_known_soon_and_in_little_memory(
    control_plane: ControlPlane, client: Client, namespace: str
) -> None:
    await many(lambda number: client.create(PLANTS, plant(namespace, f"p{number}", **spec(number))))
    await many(
        lambda number: client.create(SECRETS, secret(namespace, f"voke-plant-p{number}", key=b"x" * 2000))
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.cluster.kube.watcher",
        str(control_plane.kubeconfig),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        first = json.loads(await process.stdout.readline())
        print("all is known:", first)
        for _ in range(45):  # kopf lists everything once more meanwhile
            last = json.loads(await process.stdout.readline())
        print("some time later:", last)
    finally:
        process.kill()
        await process.wait()
    assert (first["plants"], first["secrets"]) == (PLANTS_WANTED, PLANTS_WANTED)
    assert first["seconds"] < 60
    assert last["peak"] < 400, "MiB; the operator as a whole has 512"
    assert last["told"] == first["told"], "kopf's own list is nothing new"
