"""What the operator may do and what not, on the cluster as the chart leaves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import pytest

from tests.cluster.installation import secret_document
from tests.cluster.node.fleet import Fleet, fleet
from tests.cluster.release import OWN, RunningRelease
from voke_operator import names

pytestmark = pytest.mark.timeout(400)

SECOND: Final = {"crds": {"enabled": False}, "rbac": {"aggregate": False}}
"""Of a release beside the one that has what belongs to the whole cluster."""


@asynccontextmanager
async def beside(sites: Fleet, suffix: str, *, own: str = OWN) -> AsyncIterator[Fleet]:
    """A fleet in another namespace, with the same Voke; ``own`` is the namespace of its operator."""
    namespace = f"{sites.namespace}-{suffix}"
    plane = sites.here.plane
    await asyncio.to_thread(plane.kubectl, "create", "namespace", namespace)
    async with fleet(sites.cluster, replace(sites.here, own=own, namespace=namespace), sites.voke) as made:
        yield made
    await asyncio.to_thread(plane.kubectl, "delete", "namespace", namespace, "--wait=false")


async def test_two_namespaces_with_an_operator_each_do_not_see_each_others_secrets(
    sites: Fleet, release: RunningRelease
) -> None:
    plane = sites.here.plane
    second = RunningRelease(sites.cluster, own=f"{sites.namespace}-system")
    try:
        async with beside(sites, "one") as one, beside(sites, "two", own=second.own) as two:
            await sites.by_hand(release.install, {"watch": {"namespaces": [one.namespace]}})
            await sites.by_hand(second.install, {**SECOND, "watch": {"namespaces": [two.namespace]}})
            for own, other, account in ((one, two, release.account()), (two, one, second.account())):
                await own.add("brno")
                await own.here.until_ready("brno")
                for namespace, may in (
                    (own.namespace, "yes"),
                    (other.namespace, "no"),
                    ("kube-system", "no"),
                ):
                    asked = ("auth", "can-i", "list", "secrets", "-n", namespace, f"--as={account}")
                    said = await asyncio.to_thread(plane.kubectl, *asked, check=False)
                    assert said.stdout.strip() == may, (account, namespace)
            await two.apply(secret_document("theirs", {"hmac.key": "0" * 64}))
            theirs = {"hmac": {"secretRef": {"name": "theirs"}}}
            await one.apply(await one.document("curious", credentials=theirs))
            await one.here.until_reason("curious", "SecretMissing")
            await sites.apply(await sites.document("elsewhere"))
            await two.add("later")
            assert "status" not in await sites.here.plant("elsewhere"), "nobody looks after it"
    finally:
        await sites.by_hand(second.uninstall)
        await sites.by_hand(release.install)
    await asyncio.to_thread(plane.kubectl, "delete", "namespace", second.own, "--wait=false")
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
