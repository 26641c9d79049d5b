"""From ``kubectl apply`` to verified telemetry and a status that says so: the whole thread, with real parts."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.cluster.installation import (
    Installation,
    plant_document,
    ready,
    voke_documents,
)
from tests.support.thread import device, meter
from voke_operator import names
from voke_operator.kube.resources import POOLS
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

CHILDREN = "statefulsets,services,poddisruptionbudgets,networkpolicies"


def of_plant(voke: LocalVoke, plant_id: str) -> list[dict[str, Any]]:
    """Verified snapshots of a plant."""
    return [each.document for each in voke.accepted if each.kind == "telemetry" and each.plant_id == plant_id]


def has_written_little(installation: Installation) -> None:
    """What the operator wrote for the first Plant of a namespace, since it was counted last."""
    written = {
        (each.verb, each.resource): count
        for each, count in installation.plane.writes().items()
        if each.user == installation.user and each.namespace == installation.namespace
    }
    assert written.pop(("patch", "plants/status")) <= 4, "record, ready, registered, and its words"
    assert written.pop(("create", "secrets")) == 2, "the plant's keys and the bundle"
    for counted_apart in (("create", "events"), ("patch", "events"), ("patch", "pods/status")):
        written.pop(counted_apart, None)
    assert written.pop(("patch", "gatewaypools/status")) <= 4, "made, counted, started, gets through"
    assert written == {
        ("patch", "statefulsets"): 1,
        ("patch", "services"): 1,
        ("patch", "poddisruptionbudgets"): 1,
        ("patch", "networkpolicies"): 1,
    }


async def until_counted(installation: Installation, *, shards: int, plants: int) -> None:
    """Wait until the pool says how many gateways and Plants it has, for as long as a person would."""
    async with asyncio.timeout(10):
        while True:
            status = (await installation.admin.get(POOLS, installation.namespace, "default")).get(
                "status", {}
            )
            if (status.get("shards"), status.get("plants")) == (shards, plants):
                return
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("installation", ["namespace", "cluster"], indirect=True)
async def test_a_plant_that_is_applied_is_read_and_arrives_at_voke(
    installation: Installation, voke: LocalVoke
) -> None:
    plant_id = str(uuid.uuid4())
    plane, namespace = installation.plane, installation.namespace
    plane.writes()
    async with (
        ModbusServer({1: meter(11, 12)}) as server,
        installation.operator() as operator,
        installation.kubelet() as kubelet,
    ):
        document = plant_document(
            "brno", plant_id, {"plc1": server}, devices=[device("M1", "plc1", fields=2)]
        )
        plane.apply(*voke_documents(voke), document, namespace=namespace)
        await installation.register(voke, "brno")
        await until_counted(installation, shards=1, plants=1)
        await voke.wait_for(lambda: of_plant(voke, plant_id), within=60)
        assert of_plant(voke, plant_id)[-1]["devices"] == [
            {"externalId": "M1", "type": "METER", "values": {"v0": 11, "v1": 12}}
        ]

        plant = await installation.until_ready("brno")
        status = plant["status"]
        assert (status["devices"], status["gateway"], status["shard"]) == ("1/1", "voke-gw-default-0", 0)
        assert {each["name"] for each in status["credentials"]} == {"hmac", "mtls"}
        assert ready(plant, "Registered")["status"] == "Unknown", "nobody has confirmed that"
        columns = plane.kubectl("get", "plants", "-n", namespace).stdout.splitlines()
        assert columns[0].split() == ["NAME", "READY", "DEVICES", "GATEWAY", "REASON", "AGE"]
        assert columns[1].split()[:4] == ["brno", "True", "1/1", "voke-gw-default-0"]

        ids = ",".join(f"{each['name']}={each['keyId']}" for each in status["credentials"])
        plane.kubectl("annotate", "plant", "brno", "-n", namespace, f"{names.REGISTERED_ANNOTATION}={ids}")
        await installation.until_reason("brno", "Confirmed", "Registered")
        await installation.until_reason("brno", "AllWell")

        has_written_little(installation)

        plane.kubectl("delete", "plant", "brno", "-n", namespace)
        async with asyncio.timeout(60):
            while kubelet.pods or plane.get("secrets", "-n", namespace)["items"][1:]:
                await asyncio.sleep(0.2)
        async with asyncio.timeout(30):
            while plane.get(CHILDREN, "-n", namespace)["items"]:
                await asyncio.sleep(0.2)
        await until_counted(installation, shards=0, plants=0)
        assert not any(line.get("level") in {"error", "critical"} for line in operator.log)
        assert not voke.refused
