"""What deleting a Plant, a pool or a namespace leaves behind, and that nothing waits in Terminating."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster.node.fleet import WITHIN, Fleet
from voke_operator import names

pytestmark = pytest.mark.timeout(300)


async def test_a_plant_with_retain_leaves_its_keys_and_takes_them_up_again(sites: Fleet) -> None:
    await sites.add("brno", deletionPolicy="Retain")
    await sites.add("other")
    keys = await sites.key_ids("brno")
    async with sites.undisturbed("other"):
        await sites.kubectl("delete", "plant", "brno", "--timeout=30s")
        assert await sites.has(names.plant_secret("brno"))
        await sites.apply(await sites.document("brno", deletionPolicy="Retain"))
        await sites.until_read_from_now("brno")
    assert await sites.key_ids("brno") == keys


async def test_a_plant_with_delete_takes_its_keys_and_its_gateway_along(sites: Fleet) -> None:
    await sites.add("brno")
    await sites.kubectl("delete", "plant", "brno", "--timeout=30s")
    await sites.until_gone("secret", names.plant_secret("brno"))
    await sites.until_gone("statefulset", names.gateway("default", 0))
    await sites.until_gone("pod", names.gateway_pod("default", 0))
    assert not await sites.has(names.bundle_secret("default", 0))


async def test_a_pool_that_is_deleted_while_in_use_changes_a_condition_only(sites: Fleet) -> None:
    await sites.add("brno", pool="other")
    async with sites.undisturbed("brno"):
        await sites.kubectl("delete", "gatewaypool", "other", "--timeout=30s")
        await sites.here.until_reason("brno", "PoolMissing")
        await sites.pool("other")
        await sites.here.until_ready("brno")
    assert await sites.restarts() == 0


async def test_a_namespace_goes_with_all_that_is_in_it(sites: Fleet) -> None:
    await sites.add("brno")
    await sites.add("kept", deletionPolicy="Retain")
    plane = sites.here.plane
    await asyncio.to_thread(plane.kubectl, "delete", "namespace", sites.namespace, "--wait=false")
    selected = f"--field-selector=metadata.name={sites.namespace}"
    async with asyncio.timeout(WITHIN):
        while (await asyncio.to_thread(plane.get, "namespaces", selected))["items"]:
            await asyncio.sleep(0.5)
