"""The life of a release: tested, upgraded, rolled back, uninstalled, installed again; plants notice nothing."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.cluster.charts import FIRST
from tests.cluster.node.fleet import Fleet
from tests.cluster.release import OWN, RunningRelease
from voke_operator import names

pytestmark = pytest.mark.timeout(400)


async def test_an_upgrade_from_the_first_version_and_its_rollback_leave_gateways_alone(
    sites: Fleet, release: RunningRelease
) -> None:
    await sites.by_hand(release.uninstall)
    await sites.by_hand(partial(release.install, chart=FIRST))
    await sites.add("brno")
    pod = (await sites.gateway())["metadata"]["uid"]
    async with sites.undisturbed("brno"):
        await sites.by_hand(release.install, {"logFormat": "logfmt"})
        await sites.add("by-the-new")
        await sites.by_hand(release.rollback)
        await sites.add("by-the-old")
    assert (await sites.gateway())["metadata"]["uid"] == pod
    assert await sites.restarts() == 0
    await sites.by_hand(release.install)


async def test_uninstalling_leaves_gateways_running_and_deletes_nothing_of_the_users(
    sites: Fleet, release: RunningRelease
) -> None:
    await sites.add("brno")
    keys = await sites.key_ids("brno")
    ca = await sites.authority()
    async with sites.undisturbed("brno"):
        await asyncio.to_thread(release.uninstall)
        try:
            for kind in ("plants", "gatewaypools"):
                assert (await sites.get(kind))["items"], f"{kind} are still there"
            assert await sites.has(names.plant_secret("brno"))
            assert await sites.has(names.bundle_secret("default", 0))
            assert await sites.authority() == ca
            await sites.until_read_from_now("brno")
        finally:
            await asyncio.to_thread(release.install)
        await sites.here.until_ready("brno")
        await sites.add("after")
    assert await sites.key_ids("brno") == keys
    assert await sites.restarts() == 0


def test_helm_test_passes_when_an_operator_is_ready_and_says_so_when_none_is(release: RunningRelease) -> None:
    plane = release.cluster.plane
    assert "Phase:          Succeeded" in release.test()
    release.scale(0)
    try:
        gone = ("wait", "--for=delete", "pod", "-n", OWN, "--timeout=50s", *release.operator_pods())
        plane.kubectl(*gone)
        with pytest.raises(AssertionError, match="failed"):
            release.test()
        said = plane.kubectl("logs", "-n", OWN, "voke-fleet-operator-ready").stdout
        assert "no operator is ready behind http://voke-fleet-operator.voke-system.svc:8080/readyz: " in said
    finally:
        release.install()
