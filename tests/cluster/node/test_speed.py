"""How soon a change is at work, and what it costs the plants beside it."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles
from typing import Final

import pytest

from tests.cluster.installation import ready
from tests.cluster.node.fleet import Fleet

pytestmark = pytest.mark.timeout(400)

PLANTS: Final = 20
PROMISED: Final = 3.0
"""Seconds from ``kubectl apply`` to the first verified snapshot, for 95 %."""
CHANGES: Final = 50


async def test_twenty_plants_are_verified_within_three_seconds_each(sites: Fleet) -> None:
    began = time.time()
    await sites.add("first")
    print(
        f"apply → verified on a new shard, its pod started, keys registered meanwhile: {time.time() - began:.2f} s"
    )
    authority = await sites.authority()
    since = time.time()
    took = sorted([await sites.add_known(f"plant-{number}", authority) for number in range(PLANTS)])
    p50, p95 = quantiles(took, n=20)[9], quantiles(took, n=20)[18]
    print(f"apply → verified on a running shard: p50 {p50:.2f} s, p95 {p95:.2f} s, longest {took[-1]:.2f} s")
    assert p95 < PROMISED
    await sites.until_read_from_now(*sites.ids)
    assert sites.missed("first", since=since) == {}
    assert await sites.restarts() == 0

    fresh = await sites.add_known("fresh", authority, pool="other")
    print(f"apply → verified on a new shard, keys registered before: {fresh:.2f} s")


async def test_fifty_changes_in_a_minute_restart_nothing_and_cost_nobody_a_poll(sites: Fleet) -> None:
    await sites.add("changed")
    for name in ("calm-1", "calm-2"):
        await sites.add(name)
    pod = (await sites.gateway())["metadata"]["uid"]
    began = time.time()
    async with sites.undisturbed("calm-1", "calm-2"):
        for number in range(CHANGES):
            telemetry = {"interval": "1s", "assembleWithin": f"{number + 400}ms"}
            await sites.apply(await sites.document("changed", telemetry=telemetry))
            await asyncio.sleep(max(0.0, began + (number + 1) * 60 / CHANGES - time.time()))
        print(f"{CHANGES} changes in {time.time() - began:.0f} s")
        await sites.here.until(
            "changed",
            lambda plant: (
                ready(plant)["status"] == "True"
                and ready(plant)["observedGeneration"] == plant["metadata"]["generation"]
            ),
        )
    assert await sites.restarts() == 0
    assert (await sites.gateway())["metadata"]["uid"] == pod
