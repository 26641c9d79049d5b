"""A thousand Plants from nothing, and the operator restarted over them. Figures are printed (``pytest -s``).

Ten thousand with ``-m slow``. Nothing polls here: what is measured is the control plane.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.installation import Installation, Operator, plant_document
from voke_operator import names
from voke_operator.kube.client import Client
from voke_operator.kube.resources import PLANTS, SECRETS
from voke_operator.status.damping import COUNTING

BUNDLES = replace(SECRETS, selector=names.POOL_LABEL)
POOL = {
    "apiVersion": "voke.lovinka.com/v1alpha1",
    "kind": "GatewayPool",
    "metadata": {"name": "default"},
    "spec": {},
}


async def create(client: Client, namespace: str, numbers: range) -> None:
    """Create so many Plants, as quickly as the API server takes them."""
    gate = asyncio.Semaphore(16)

    async def one(number: int) -> None:
        document = plant_document(
            f"plant-{number:05}", str(uuid.UUID(int=number + 1)), telemetry={"interval": "10s"}
        )
        document["metadata"]["namespace"] = namespace
        async with gate:
            await client.create(PLANTS, document)

    await asyncio.gather(*(one(number) for number in numbers))


def counted(installation: Installation) -> Counter[tuple[str, str]]:
    """The operator's writes since the last call; its Lease apart, and questions that are asked by creating something."""
    return Counter(
        {
            (each.verb, each.resource): count
            for each, count in installation.plane.writes().items()
            if each.user == installation.user and each.resource not in {"leases", "selfsubjectaccessreviews"}
        }
    )


def cpu(operator: Operator) -> float:
    """Seconds of CPU that it has used."""
    fields = Path(f"/proc/{operator.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until_bundled(installation: Installation, count: int, *, within: float) -> int:
    """Wait until every Plant has its keys and is in a bundle; the number of bundles."""
    client, namespace = installation.admin, installation.namespace
    async with asyncio.timeout(within):
        while True:
            listed, bundles = 0, 0
            async for page in client.pages(BUNDLES, namespace):
                for each in page.items:
                    bundles += 1
                    listed += sum(name.startswith("plant-") for name in each["data"])
            if listed == count:
                return bundles
            await asyncio.sleep(0.5)


async def until_quiet(
    installation: Installation, *, seconds: float, within: float
) -> Counter[tuple[str, str]]:
    """Wait until the operator has written nothing for so long; what it wrote meanwhile."""
    total: Counter[tuple[str, str]] = Counter()
    quiet_since = time.monotonic()
    async with asyncio.timeout(within):
        while time.monotonic() - quiet_since < seconds:
            await asyncio.sleep(1.0)
            new = counted(installation)
            total += new
            if new:
                quiet_since = time.monotonic()
    return total


async def grown_and_restarted(installation: Installation, count: int, *, within: float) -> tuple[float, int]:
    """Seconds from the first Plant to the last bundle, and the operator's memory then; prints everything."""
    installation.plane.apply(POOL, namespace=installation.namespace)
    counted(installation)
    async with installation.operator() as operator:
        await operator.until_logged("work begins")
        began = time.monotonic()
        await create(installation.admin, installation.namespace, range(count))
        created = time.monotonic() - began
        bundles = await until_bundled(installation, count, within=within)
        took = time.monotonic() - began
        memory = operator.memory
        writes = await until_quiet(installation, seconds=20.0, within=within)
        print(
            f"\n{count} Plants: created in {created:.1f} s, keys and {bundles} bundles written after {took:.1f} s, "
            f"operator {memory / 1e6:.0f} MB then and {operator.memory / 1e6:.0f} MB later, "
            f"{cpu(operator):.1f} s of CPU"
        )
        print("writes:", dict(writes))
    per_plant = (writes["create", "secrets"] + writes["patch", "plants/status"] - bundles) / count
    print(f"writes per Plant: {per_plant:.2f}")
    assert per_plant < 3.2, "three, but for those that say in between that they wait, on a busy machine"
    assert writes["create", "secrets"] == count + bundles
    windows = took / 0.2 + 1
    assert writes["update", "secrets"] <= 2 * bundles * windows
    assert writes["patch", "gatewaypools/status"] <= took / COUNTING + 4, (
        "made, and what becomes of its gateways"
    )

    counted(installation)
    async with installation.operator() as operator:
        began = time.monotonic()
        await operator.until_logged("everything was looked at", within=within)
        looked = time.monotonic() - began
        writes = await until_quiet(installation, seconds=15.0, within=within)
        print(
            f"restart over them: all looked at after {looked:.1f} s, {cpu(operator):.1f} s of CPU, "
            f"{operator.memory / 1e6:.0f} MB, writes {dict(writes)}"
        )
        assert not writes
    return took, memory


@pytest.mark.timeout(600)
async def test_a_thousand_plants_from_nothing(installation: Installation) -> None:
    took, memory = await grown_and_restarted(installation, 1000, within=240)
    assert memory < 300e6
    assert took <= 60 or os.getloadavg()[0] > 4, "on a machine that has time for it"


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_ten_thousand_plants_from_nothing(installation: Installation) -> None:
    took, memory = await grown_and_restarted(installation, 10_000, within=1500)
    assert memory < 512e6
    assert took < 300
