"""A release from its first version on: upgraded, rolled back, removed, installed again. Plants notice nothing."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.chart.at_work import beside, operating
from tests.cluster.charts import FIRST, Release
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation, plant_document, ready, voke_documents
from tests.support.thread import meter
from voke_operator import names
from voke_operator.kube.resources import SECRETS, STATEFUL_SETS
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

SITE = "site"
DEFINITIONS = {f"{kind}.voke.lovinka.com" for kind in ("plants", "deviceprofiles", "gatewaypools")}
OTHER_DEFAULTS = {"defaultPool": {"writes": "Disabled"}, "replicas": 3}


@dataclass(frozen=True, slots=True)
class Kept:
    """What must be the same whatever happens to the release."""

    keys: dict[str, bytes]
    authority: dict[str, bytes]
    uids: tuple[str, ...]
    """Of the Plant, its Secret, the bundle and the StatefulSet."""
    generation: int
    """Of the StatefulSet: another one, and the gateway's pod restarts."""


async def kept(here: Installation) -> Kept:
    admin = here.admin
    gateway = await admin.get(STATEFUL_SETS, SITE, names.gateway("default", 0))
    objects = [
        await here.plant("brno"),
        await admin.get(SECRETS, SITE, names.plant_secret("brno")),
        await admin.get(SECRETS, SITE, names.bundle_secret("default", 0)),
        gateway,
    ]
    return Kept(
        await here.keys("brno"),
        await here.secret(names.FLEET_CA, here.own),
        tuple(each["metadata"]["uid"] for each in objects),
        gateway["metadata"]["generation"],
    )


async def takes_up_a_change(here: Installation, interval: str) -> None:
    """The operator that runs now brings a new version of the Plant to its gateway."""
    change = json.dumps({"spec": {"telemetry": {"interval": interval}}})
    here.plane.kubectl("patch", "plant", "brno", "-n", SITE, "--type=merge", "-p", change)

    def newest(plant: dict[str, Any]) -> bool:
        found = ready(plant)
        looked_at: bool = found.get("observedGeneration") == plant["metadata"]["generation"]
        return found["status"] == "True" and looked_at

    await here.until("brno", newest)


async def telemetry_goes_on(voke: LocalVoke) -> None:
    before = len(voke.accepted)
    await voke.wait_for(lambda: len(voke.accepted) > before + 1, within=60)


async def test_keys_and_gateways_outlive_every_step_of_a_release(
    untouched: ControlPlane, tmp_path: Path, voke: LocalVoke
) -> None:
    plane, release = untouched, Release(untouched)
    plane.kubectl("create", "namespace", SITE)
    release.install(chart=FIRST)
    async with (
        ModbusServer({1: meter(11)}) as server,
        beside(release, tmp_path, SITE) as here,
        here.kubelet() as kubelet,
    ):
        async with operating(here, release):
            plant = plant_document("brno", str(uuid.uuid4()), {"plc1": server})
            plane.apply(*voke_documents(voke), plant, namespace=SITE)
            await here.register(voke, "brno")
            await here.until_ready("brno")
            first = await kept(here)
        template = release.deployment()["spec"]["template"]

        release.upgrade()
        async with operating(here, release):
            await takes_up_a_change(here, "2s")

        release.upgrade(OTHER_DEFAULTS)
        assert release.deployment()["spec"]["template"] != template, "other defaults restart the operator"
        async with operating(here, release):
            await takes_up_a_change(here, "1s")
        assert await kept(here) == first

        release.rollback(1)
        assert release.deployment()["spec"]["template"] == template
        async with operating(here, release):
            await takes_up_a_change(here, "2s")
        assert await kept(here) == first

        assert "[CustomResourceDefinition]" in release.uninstall(), "it says what it keeps"
        assert plane.get("deployments", "-n", release.namespace)["items"] == []
        definitions = plane.get("customresourcedefinitions")["items"]
        assert {each["metadata"]["name"] for each in definitions} == DEFINITIONS
        assert await kept(here) == first
        await telemetry_goes_on(voke)

        release.install()
        async with operating(here, release):
            await takes_up_a_change(here, "1s")
        await telemetry_goes_on(voke)
        assert await kept(here) == first
        assert kubelet.started == 1, "the gateway ran through all of it"
        assert not voke.refused
