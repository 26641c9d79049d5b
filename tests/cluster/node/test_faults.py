"""What dies, and what happens then: ``docs/failures.md``, line by line."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.cluster.node.fleet import Fleet
from tests.cluster.release import OWN, RunningRelease
from voke_operator import names

pytestmark = pytest.mark.timeout(400)


async def test_the_operator_is_killed_and_telemetry_goes_on(sites: Fleet, release: RunningRelease) -> None:
    await sites.add("brno")
    async with sites.undisturbed("brno"):
        for pod in release.operator_pods():
            await sites.by_hand(sites.cluster.node.kill_container, OWN, pod)
        await sites.add("after")  # by the one that was started again
    assert await sites.restarts() == 0


async def test_the_api_server_is_away_for_a_minute_and_telemetry_goes_on(sites: Fleet) -> None:
    await sites.add("brno")
    async with sites.undisturbed("brno"):
        plane = sites.here.plane
        await sites.by_hand(plane.stop_api_server)
        try:
            await asyncio.sleep(60)
        finally:
            await sites.by_hand(plane.start_api_server)
        await sites.by_hand(sites.cluster.node.until_ready)
        await sites.add("after")
    assert await sites.restarts() == 0


async def test_kubelet_is_restarted_and_telemetry_goes_on(sites: Fleet) -> None:
    await sites.add("brno")
    node = sites.cluster.node
    async with sites.undisturbed("brno"):
        await sites.by_hand(node.stop_kubelet)
        await asyncio.sleep(3)
        await sites.by_hand(node.start_kubelet)
        await sites.by_hand(node.until_ready)
        await sites.add("after")
    assert await sites.restarts() == 0


async def test_a_gateways_pod_is_deleted_and_comes_back_with_the_same_keys(sites: Fleet) -> None:
    await sites.add("brno")
    await sites.add("elsewhere", pool="other")
    keys, pod = await sites.key_ids("brno"), (await sites.gateway())["metadata"]["uid"]
    async with sites.undisturbed("elsewhere"):
        began = time.time()
        await sites.kubectl("delete", "pod", names.gateway_pod("default", 0))
        await sites.until_read_from_now("brno")
        print(f"a deleted gateway reads again after {time.time() - began:.1f} s")
    assert (await sites.gateway())["metadata"]["uid"] != pod
    assert await sites.key_ids("brno") == keys
    await sites.here.until_ready("brno")


async def test_a_gateway_is_killed_and_comes_back_with_the_same_keys(sites: Fleet) -> None:
    await sites.add("brno")
    await sites.add("elsewhere", pool="other")
    keys = await sites.key_ids("brno")
    async with sites.undisturbed("elsewhere"):
        began = time.time()
        pod = names.gateway_pod("default", 0)
        await sites.by_hand(sites.cluster.node.kill_container, sites.namespace, pod)
        await sites.until_read_from_now("brno")
        print(f"a killed gateway reads again after {time.time() - began:.1f} s")
    assert await sites.restarts() == 1
    assert await sites.key_ids("brno") == keys
    await sites.here.until_ready("brno")


async def test_a_node_is_drained_and_uncordoned_and_everything_comes_back(
    sites: Fleet, release: RunningRelease
) -> None:
    await sites.add("brno")
    await sites.add("elsewhere", pool="other")
    keys = await sites.key_ids("brno", "elsewhere")
    await sites.by_hand(release.drain)
    try:
        await sites.kubectl(
            "wait",
            "--for=jsonpath={.status.phase}=Pending",
            "pod",
            names.gateway_pod("default", 0),
            "--timeout=30s",
        )
    finally:
        await sites.by_hand(release.uncordon)
    began = time.time()
    await sites.until_read_from_now("brno", "elsewhere")
    print(f"after uncordon all are read again within {time.time() - began:.1f} s")
    assert await sites.key_ids("brno", "elsewhere") == keys
    for name in ("brno", "elsewhere"):
        await sites.here.until_ready(name)
