"""A pool whose gateways keep their outbox on a volume: a claim that is bound, one that cannot be, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.cluster.node.fleet import Fleet
from tests.cluster.scene import commands
from tests.cluster.worker_node import NAME as NODE
from voke_operator import names
from voke_operator.plan.objects import OUTBOX_PATH, Defaults

pytestmark = pytest.mark.timeout(400)

NOTE: Final = f"{OUTBOX_PATH}/note"
POOL, GATEWAY, POD = "kept", names.gateway("kept", 0), names.gateway_pod("kept", 0)
CLAIM: Final = f"outbox-{POD}"


def on_a_claim(class_: str) -> dict[str, object]:
    """A pool's ``shard``."""
    return {"storage": {"persistentVolumeClaim": {"size": "64Mi", "storageClassName": class_}}}


async def local_disk(sites: Fleet, class_: str) -> Path:
    """A directory of the node, as the only volume of a class that waits for a pod before it binds."""
    place = sites.cluster.machine.directory / "disks" / class_
    place.mkdir(parents=True)
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    await sites.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": class_},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": class_},
            "spec": {
                "capacity": {"storage": "64Mi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": class_,
                "local": {"path": str(place)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        },
    )
    return place


async def in_the_gateway(sites: Fleet, program: str) -> str:
    """What a line of Python prints in its container."""
    return (await sites.kubectl("exec", POD, "--", "python", "-c", program)).strip()


async def test_a_gateways_volume_outlives_its_pod_and_its_claim_goes_with_the_last_plant(
    sites: Fleet,
) -> None:
    class_ = f"{sites.namespace}-disk"
    place = await local_disk(sites, class_)
    await sites.pool(POOL, shard=on_a_claim(class_))
    await sites.add("brno", pool=POOL)
    await sites.add("elsewhere", pool="other")
    claim = await sites.get("pvc", CLAIM)
    assert (claim["status"]["phase"], claim["spec"]["volumeName"]) == ("Bound", class_)
    await in_the_gateway(sites, f"print('kept', file=open('{NOTE}', 'w'))")
    written = (place / "note").stat()
    assert (written.st_uid, written.st_gid) == (Defaults(image="-").user, Defaults(image="-").user)

    async with sites.undisturbed("elsewhere"):
        await sites.kubectl("delete", "pod", POD)
        await sites.until_read_from_now("brno")
        assert await in_the_gateway(sites, f"print(open('{NOTE}').read())") == "kept"

        await sites.kubectl("delete", "gatewaypool", POOL, "--timeout=30s")
        await sites.here.until_reason("brno", "PoolMissing")
        await sites.until_read_from_now("brno")
        assert (await sites.get("pvc", CLAIM))["metadata"]["uid"] == claim["metadata"]["uid"]

        await sites.kubectl("delete", "plant", "brno", "--timeout=30s")
        await sites.until_gone("statefulset", GATEWAY)
        await sites.until_gone("pvc", CLAIM)
    volume = await sites.get("pv", class_)
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert (place / "note").read_text() == "kept\n", "what becomes of the volume is for its class to say"


async def test_a_claim_that_cannot_be_bound_is_named_and_either_remedy_helps(sites: Fleet) -> None:
    class_ = f"{sites.namespace}-none"
    plants = {"brno": POOL, "ostrava": "mended"}
    for plant, pool in plants.items():
        await sites.pool(pool, shard=on_a_claim(class_))
        await sites.apply(await sites.document(plant, pool=pool))
        await sites.here.register(sites.voke, plant)
    for plant in plants:
        said = await sites.here.until_reason(plant, "GatewayUnschedulable")
        assert said["status"] == "False"
        assert "unbound immediate PersistentVolumeClaims" in said["message"]
    make_anew, look = commands(said["message"])
    assert f'storageclass.storage.k8s.io "{class_}" not found' in await sites.kubectl(*look)
    assert "unbound immediate PersistentVolumeClaims" in await sites.until_pool_says(
        POOL, "GatewaysUnreachable"
    )

    await sites.kubectl("delete", "gatewaypool", "mended", "--timeout=30s")
    await sites.pool("mended")
    await sites.until_pool_says("mended", "StorageKept")
    await sites.kubectl(*make_anew)
    await sites.until_read("ostrava")
    await sites.until_gone("pvc", f"outbox-{names.gateway_pod('mended', 0)}")

    await local_disk(sites, class_)
    await sites.until_read("brno")
    for plant in plants:
        await sites.here.until_ready(plant)
