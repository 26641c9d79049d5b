"""What somebody else changes, deletes or has the name of is put right or left alone, and counted."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping

from tests.cluster.installation import WITHIN, Installation, Json, Operator, plant_document, secret_document
from voke_operator import names

GATEWAY = names.gateway("default", 0)
BUNDLE = names.bundle_secret("default", 0)
RESTORED, REFUSED = "restored", "refused"


async def until_counted(operator: Operator, wanted: Mapping[tuple[str, str], float]) -> None:
    """Wait until so much drift is counted, by action and kind, and nothing else."""
    found: Mapping[tuple[str, ...], float] | None = None
    try:
        async with asyncio.timeout(WITHIN):
            while found != wanted:
                await asyncio.sleep(0.1)
                found = (await operator.metrics()).get("drift_total", {})
    except TimeoutError:
        raise AssertionError(f"{found}, not {wanted}") from None


async def test_what_others_do_to_its_objects_is_counted_by_kind_and_by_what_was_done(
    installation: Installation,
) -> None:
    plane, namespace = installation.plane, installation.namespace

    def kubectl(*arguments: str) -> None:
        plane.kubectl(*arguments, "-n", namespace)

    def patch(kind: str, name: str, change: Json) -> None:
        kubectl("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    async with installation.operator() as operator:
        plane.apply(plant_document("site", str(uuid.uuid4())), namespace=namespace)
        await operator.until_logged("bundle written")
        await installation.until("site", lambda plant: plant["status"]["gateway"])
        async with asyncio.timeout(WITHIN):
            while not plane.get("services", "-n", namespace)["items"]:
                await asyncio.sleep(0.1)
        await until_counted(operator, {})

        kubectl("delete", "secret", names.plant_secret("site"))
        await until_counted(operator, {(RESTORED, "Secret"): 1})
        patch("secret", names.plant_secret("site"), {"data": {"tls.key": None}})
        await until_counted(operator, {(RESTORED, "Secret"): 2})
        patch("secret", BUNDLE, {"data": {"index.json": None, "more": "bm8="}})
        await until_counted(operator, {(RESTORED, "Secret"): 3})

        kubectl("delete", "service", GATEWAY)
        wanted = {(RESTORED, "Secret"): 3.0, (RESTORED, "Service"): 1.0}
        await until_counted(operator, wanted)
        patch("statefulset", GATEWAY, {"spec": {"replicas": 3}})
        wanted[RESTORED, "StatefulSet"] = 1
        await until_counted(operator, wanted)

        patch("secret", BUNDLE, {"metadata": {"labels": None}})
        wanted[RESTORED, "Secret"] += 1
        await until_counted(operator, wanted)
        found = plane.get("secret", BUNDLE, "-n", namespace)["metadata"]["labels"]
        assert found == {
            **names.OWNED,
            names.APP: names.GATEWAY_APP,
            names.POOL_LABEL: "default",
            names.SHARD_LABEL: "0",
        }

        plane.apply(
            secret_document(names.plant_secret("taken"), {"mine": "x"}, allowed=False), namespace=namespace
        )
        plane.apply(plant_document("taken", str(uuid.uuid4())), namespace=namespace)
        wanted[REFUSED, "Secret"] = 1
        await until_counted(operator, wanted)
        patch("plant", "site", {"spec": {"deletionPolicy": "Retain"}})
        await operator.until_logged("keys updated", count=2)
        await until_counted(operator, wanted)
    patch("secret", BUNDLE, {"metadata": {"labels": None}})
    async with installation.operator() as operator:
        await operator.until_logged("bundle had lost its labels, they are put back")
        await installation.until("site", lambda plant: plant["status"]["gateway"] == GATEWAY)
        assert plane.get("secret", BUNDLE, "-n", namespace)["metadata"]["labels"]
