"""What the operator may do and what not, on the cluster as the chart leaves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.cluster.installation import secret_document
from tests.cluster.node.fleet import Fleet, fleet
from tests.cluster.release import RunningRelease
from voke_operator import names

pytestmark = pytest.mark.timeout(400)


@asynccontextmanager
async def beside(sites: Fleet, suffix: str) -> AsyncIterator[Fleet]:
    """A fleet in another namespace, with the same Voke."""
    namespace = f"{sites.namespace}-{suffix}"
    plane = sites.here.plane
    await asyncio.to_thread(plane.kubectl, "create", "namespace", namespace)
    async with fleet(sites.cluster, replace(sites.here, namespace=namespace), sites.voke) as made:
        yield made
    await asyncio.to_thread(plane.kubectl, "delete", "namespace", namespace, "--wait=false")


async def test_two_namespaces_are_served_by_an_operator_that_has_no_right_elsewhere(
    sites: Fleet, release: RunningRelease
) -> None:
    plane, account = sites.here.plane, release.account()
    async with beside(sites, "one") as one, beside(sites, "two") as two:
        watched = [one.namespace, two.namespace]
        await asyncio.to_thread(release.install, {"watch": {"namespaces": watched}})
        try:
            for each in (one, two):
                await each.add("brno")
                await each.here.until_ready("brno")
            for namespace, may in ((one.namespace, "yes"), (two.namespace, "yes"), (sites.namespace, "no")):
                asked = ("auth", "can-i", "list", "secrets", "-n", namespace, f"--as={account}")
                said = await asyncio.to_thread(plane.kubectl, *asked, check=False)
                assert said.stdout.strip() == may, namespace
            await sites.apply(await sites.document("elsewhere"))
            await two.add("later")
            assert "status" not in await sites.here.plant("elsewhere"), "nobody looks after it"
        finally:
            await asyncio.to_thread(release.install)
        await sites.here.register(sites.voke, "elsewhere")
        await sites.until_read("elsewhere")


async def test_the_operators_account_may_not_write_a_secret_that_is_not_its_own(
    sites: Fleet, release: RunningRelease
) -> None:
    await sites.apply(secret_document("foreign", {"password": "planted"}))
    account = release.account()
    attempts = {
        "create": ("create", "secret", "generic", "made", "--from-literal=password=x"),
        "change": ("patch", "secret", "foreign", "--type=merge", '--patch={"data": {"password": "eA=="}}'),
        "delete": ("delete", "secret", "foreign"),
    }
    for what, attempt in attempts.items():
        said = await sites.kubectl(*attempt, f"--as={account}", check=False)
        assert "forbidden" in said.lower() or "denied" in said.lower(), (what, said)
    assert await sites.here.secret("foreign") == {"password": b"planted"}
    assert not await sites.has("made")

    await sites.add("brno")
    assert await sites.has(names.plant_secret("brno")), "its own it may"
