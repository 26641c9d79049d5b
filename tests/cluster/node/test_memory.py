"""A gateway that needs more memory than it may have: the kernel kills it, and whoever is on call reads why."""

from __future__ import annotations

import time

import pytest

from tests.cluster.kubectl.person import Person
from tests.cluster.node.fleet import SMALL, Fleet
from voke_operator import names

pytestmark = pytest.mark.timeout(400)

POD = names.gateway_pod("default", 0)
REMEDY = "Raise spec.pod.resources.limits.memory of GatewayPool default"
TOO_LITTLE = "24Mi"
"""Enough for a container to begin, and not for a gateway."""


async def test_a_gateway_over_its_memory_limit_is_killed_and_comes_back_with_the_same_keys(
    sites: Fleet,
) -> None:
    await sites.add("brno")
    await sites.add("elsewhere", pool="other")
    keys = await sites.key_ids("brno")
    async with sites.undisturbed("elsewhere"):
        await sites.by_hand(sites.cluster.node.limit_memory, sites.namespace, POD, spare=1 << 20)
        began = time.time()
        # Takes the rest, and is the smaller one of the two.
        await sites.kubectl("exec", POD, "--", "python", "-c", "pass", check=False)
        await sites.until_read_from_now("brno")
        print(f"a gateway that the kernel killed reads again after {time.time() - began:.1f} s")
    (container,) = (await sites.gateway())["status"]["containerStatuses"]
    assert (container["restartCount"], container["lastState"]["terminated"]["reason"]) == (1, "OOMKilled")
    assert await sites.restarts() == 1, "nobody else was killed"
    assert await sites.key_ids("brno") == keys

    said = await sites.here.until_reason("brno", "GatewayOutOfMemory")
    assert said["status"] == "True", "it is back"
    assert f"(OOMKilled): its limit is {SMALL['resources']['limits']['memory']}. {REMEDY}" in said["message"]
    events = await sites.kubectl("describe", "plant", "brno")
    assert "Warning  GatewayOutOfMemory" in events
    overview = await Person(sites.here.plane, sites.namespace).voke("status")
    assert REMEDY in overview.out


async def test_a_limit_that_is_too_low_is_named_until_somebody_raises_it(sites: Fleet) -> None:
    await sites.add("elsewhere", pool="other")
    async with sites.undisturbed("elsewhere"):
        await sites.pool(pod={"resources": {"limits": {"memory": TOO_LITTLE}}})
        await sites.apply(await sites.document("brno"))
        await sites.here.register(sites.voke, "brno")
        said = await sites.here.until_reason("brno", "GatewayOutOfMemory")
        assert said["status"] == "False"
        assert f"(OOMKilled): its limit is {TOO_LITTLE}. {REMEDY}" in said["message"]
        assert REMEDY in await sites.until_pool_says("default", "GatewaysUnreachable")

        await sites.pool()
        await sites.until_read("brno")
    assert (await sites.here.until_ready("brno"))["status"]["gateway"] == names.gateway("default", 0)
    await sites.until_pool_says("default", "AllWell")
    assert await sites.restarts() == 0, "of the pods that are there now"
