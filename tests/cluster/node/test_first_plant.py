"""From ``helm install`` and ``kubectl apply`` to verified telemetry, with the images, on a real node."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.installation import Installation
from tests.cluster.node.fleet import Fleet
from tests.cluster.release import OWN, RunningRelease
from tests.cluster.showcase import EXAMPLES, Registrar, ca_secret, showcase
from voke_operator import names

pytestmark = pytest.mark.timeout(900)  # the first test waits for the cluster and the images

Json = dict[str, Any]


async def test_the_examples_are_read_verified_and_obey_commands(
    release: RunningRelease, here: Installation, tmp_path: Path
) -> None:
    told: list[tuple[str, str]] = []

    def tell(plant: str, words: str) -> None:
        told.append((plant, words))

    apply = partial(here.plane.kubectl, "apply", "-n", here.namespace, "-f")
    async with (
        showcase(tmp_path / "showcase", tell=tell) as demo,
        Registrar(demo.voke, here.admin, own=OWN, tell=tell).registering(),
    ):
        await asyncio.to_thread(apply, "-", given=ca_secret(demo.voke))
        await asyncio.to_thread(apply, str(EXAMPLES))
        demo.command()
        for stage in demo.stages:
            arrived = partial(demo.voke.counters.total_accepted, plant_id=stage.plant_id, kind="telemetry")
            await demo.voke.wait_for(arrived, within=120)
            await here.until_ready(stage.name)
            async with asyncio.timeout(60):
                while not stage.tally.completed:
                    await asyncio.sleep(0.2)
        table = here.plane.kubectl("get", "plants", "-n", here.namespace).stdout
        print(table)
        header, *rows = (line.split() for line in table.splitlines())
        assert header == ["NAME", "READY", "DEVICES", "GATEWAY", "REASON", "AGE"]
        assert {row[0]: row[1] for row in rows} == {stage.name: "True" for stage in demo.stages}
        assert {row[3] for row in rows} == {"voke-gw-default-0"}
        await demo.hush()
        # Before its keys were registered, a plant's messages were somebody's whom Voke did not know.
        assert {each.reason for each in demo.voke.refused} <= {"unknown-plant", "signature"}, told


async def test_a_gateways_pod_has_no_rights_and_writes_nowhere_but_to_its_outbox(sites: Fleet) -> None:
    await sites.add("brno")
    pod = await sites.gateway()
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
    assert kinds == {"secret", "emptyDir"}, "no projected token"
    assert await inside(sites, "import os; print(os.getuid(), os.getgid())") == "65532 65532"
    assert (
        await inside(sites, "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))") == "False"
    )
    writable = (
        "import os; print([place for place in ('/', '/etc', '/opt', '/usr', '/var', '/etc/voke/bundle',"
        " '/var/lib/voke', '/tmp') if os.access(place, os.W_OK)])"
    )
    assert await inside(sites, writable) == "['/var/lib/voke', '/tmp']"
    capabilities = (
        "print([line for line in open('/proc/1/status') if line.startswith(('CapEff', 'NoNewPrivs'))])"
    )
    said = await inside(sites, capabilities)
    assert "CapEff:\\t0000000000000000" in said
    assert "NoNewPrivs:\\t1" in said


async def inside(sites: Fleet, program: str) -> str:
    """What a line of Python prints inside the gateway's container."""
    said = await sites.kubectl("exec", names.gateway_pod("default", 0), "--", "python", "-c", program)
    return said.strip()


def test_the_operator_runs_without_root_too(release: RunningRelease) -> None:
    pods = release.cluster.plane.get("pods", "-n", OWN)["items"]
    assert pods
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, json.dumps(container)
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
