"""A new pod template: one gateway tries it, the others follow one by one, and a bad one touches no other."""

from __future__ import annotations

import asyncio
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.cluster.installation import Installation, Json, Operator, plant_document, ready, voke_documents
from tests.cluster.kubelet import Kubelet
from tests.support.thread import meter
from voke_operator import names
from voke_operator.kube.resources import POOLS, STATEFUL_SETS
from voke_operator.plan.objects import HTTP_PORT
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

PLANTS: Final = ("brno", "olomouc", "zlin")
LONG: Final = 120.0


@dataclass
class Fleet:
    """Three gateways with a plant each."""

    here: Installation
    operator: Operator
    kubelet: Kubelet
    voke: LocalVoke
    servers: dict[str, ModbusServer]
    """PLC by Plant."""
    restarts: list[tuple[str, list[bool]]] = field(default_factory=list)
    """StatefulSets whose template changed, and whether the others' plants had their sessions at that moment."""

    async def pool(self, **spec: Any) -> None:
        """Apply the pool, with one plant per gateway."""
        documents = voke_documents(self.voke, shard={"maxPlants": 1}, **spec)
        await asyncio.to_thread(self.here.plane.apply, *documents, namespace=self.here.namespace)

    async def plant(self, name: str, **spec: Any) -> None:
        plant_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{self.here.namespace}"))
        document = plant_document(name, plant_id, {"plc1": self.servers[name]}, **spec)
        await asyncio.to_thread(self.here.plane.apply, document, namespace=self.here.namespace)

    async def until(self, holds: Callable[[], Awaitable[Any]], within: float = LONG) -> Any:
        async with asyncio.timeout(within):
            while not (found := await holds()):
                await asyncio.sleep(0.1)
        return found

    async def templates(self) -> dict[str, Json]:
        """The pods' specs in the StatefulSets, by name."""
        found = await self.here.admin.list(STATEFUL_SETS, self.here.namespace)
        return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in found.items}

    async def images(self) -> dict[str, str]:
        """Of the StatefulSets, by name."""
        return {name: each["containers"][0]["image"] for name, each in (await self.templates()).items()}

    async def said(self, reason: str) -> str:
        """Wait until the pool says so; the message."""

        async def holds() -> str | None:
            pool = await self.here.admin.get(POOLS, self.here.namespace, "default")
            found = ready(pool)
            return found["message"] if found["reason"] == reason else None

        message: str = await self.until(holds)
        return message

    async def are_ready(self) -> None:
        for name in PLANTS:
            await self.here.until_ready(name, within=LONG)

    async def connected(self, gateway: str) -> bool:
        """Whether the plant of a gateway has its session, by its own word."""
        pod = self.kubelet.pods.get(f"{gateway}-0")
        if pod is None:
            return False
        try:
            status = await asyncio.to_thread(_status, pod.address)
        except OSError:
            return False
        return bool(status["plants"]) and all(each["session"]["connected"] for each in status["plants"])

    async def follow(self) -> None:
        """Note each change of a template, until cancelled."""
        before = await self.templates()
        while True:
            now = await self.templates()
            for name in sorted(name for name in now if now[name] != before.get(name, now[name])):
                others = [await self.connected(other) for other in now if other != name]
                self.restarts.append((name, others))
            before = now
            await asyncio.sleep(0.05)


def _status(address: str) -> Json:
    with urllib.request.urlopen(f"http://{address}:{HTTP_PORT}/status", timeout=5) as answer:
        found: Json = json.load(answer)
    return found


@asynccontextmanager
async def three_gateways(here: Installation, voke: LocalVoke) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as plcs, here.operator() as operator, here.kubelet() as kubelet:
        servers = {
            name: await plcs.enter_async_context(ModbusServer({1: meter(number)}))
            for number, name in enumerate(PLANTS)
        }
        fleet = Fleet(here, operator, kubelet, voke, servers)
        await fleet.pool(pod={"image": "voke-gateway:1"})
        for name in PLANTS:
            await fleet.plant(name)
            await here.register(voke, name)
        await fleet.are_ready()
        following = asyncio.create_task(fleet.follow())
        yield fleet
        assert not following.done(), following.exception()
        following.cancel()


@pytest.mark.timeout(400)
async def test_a_bad_image_touches_one_gateway_and_a_good_one_goes_through_one_by_one(
    installation: Installation, voke: LocalVoke
) -> None:
    async with three_gateways(installation, voke) as fleet:
        pods = {name: pod.uid for name, pod in fleet.kubelet.pods.items()}
        assert len(pods) == len(PLANTS)

        fleet.kubelet.unknown_images.add("voke-gateway:bad")
        await fleet.pool(pod={"image": "voke-gateway:bad"})
        message = await fleet.said("RolloutStuck")
        assert "voke-gw-default-0 is not back: its pod is not ready (ImagePullBackOff: " in message
        assert "voke-gw-default-1, voke-gw-default-2 to follow" in message
        assert f"kubectl -n {installation.namespace} describe pod voke-gw-default-0-0" in message

        for name in PLANTS[1:]:  # what is no matter of the image goes on
            await fleet.plant(name, telemetry={"interval": "2s"})
        for name in PLANTS[1:]:
            await installation.until(name, _is_ready_in_its_newest_version, within=LONG)
        assert sorted((await fleet.images()).values()) == [
            "voke-gateway:1",
            "voke-gateway:1",
            "voke-gateway:bad",
        ]
        for name in ("voke-gw-default-1-0", "voke-gw-default-2-0"):
            assert fleet.kubelet.pods[name].uid == pods[name], "it was not touched"

        fleet.restarts.clear()
        await fleet.pool(pod={"image": "voke-gateway:2"})
        await fleet.said("AllWell")
        assert set((await fleet.images()).values()) == {"voke-gateway:2"}
        assert fleet.restarts == [
            ("voke-gw-default-0", [True, True]),
            ("voke-gw-default-1", [True, True]),
            ("voke-gw-default-2", [True, True]),
        ]
        await fleet.are_ready()
        assert not any(pods[name] == pod.uid for name, pod in fleet.kubelet.pods.items())


@pytest.mark.timeout(400)
async def test_an_operator_that_comes_in_the_middle_goes_on_and_one_that_changes_nothing_restarts_nobody(
    installation: Installation, voke: LocalVoke
) -> None:
    async with three_gateways(installation, voke) as fleet:
        await fleet.pool(pod={"image": "voke-gateway:2"})
        await fleet.until(lambda: _has_begun(fleet))
        await fleet.operator.stop()
        async with installation.operator() as second:
            await fleet.until(lambda: _all_have(fleet, "voke-gateway:2"))
            await fleet.said("AllWell")
            await second.stop()
        assert [name for name, _ in fleet.restarts] == [names.gateway("default", n) for n in range(3)]
        assert all(all(others) for _, others in fleet.restarts)

        started = fleet.kubelet.started
        async with installation.operator() as third:
            await third.until_logged("everything was looked at")
            await fleet.are_ready()
            await asyncio.sleep(2.0)  # there is nothing to wait for: nothing is to happen
        assert fleet.kubelet.started == started


@pytest.mark.timeout(400)
async def test_what_a_pool_no_longer_says_goes_one_by_one_also_from_what_0_1_0_made(
    installation: Installation, voke: LocalVoke
) -> None:
    said = {"nodeSelector": {"site": "north"}, "tolerations": [{"key": "edge", "operator": "Exists"}]}

    async def all_have_it() -> bool:
        return all(each.keys() >= said.keys() for each in (await fleet.templates()).values())

    async def nothing_is_left() -> bool:
        return not any(each.keys() & said.keys() for each in (await fleet.templates()).values())

    async def gone_one_by_one() -> None:
        await fleet.until(nothing_is_left)
        await fleet.until(lambda: _all_have_pods_of_their_template(fleet))
        await fleet.until(lambda: _all_connected(fleet))
        await fleet.said("AllWell")
        assert fleet.restarts == [(names.gateway("default", n), [True, True]) for n in range(3)]
        await fleet.are_ready()

    async with three_gateways(installation, voke) as fleet:
        await fleet.pool(pod={"image": "voke-gateway:1", **said})
        await fleet.until(all_have_it)
        await fleet.until(lambda: _all_have_pods_of_their_template(fleet))
        await fleet.said("AllWell")
        fleet.restarts.clear()
        await fleet.pool(pod={"image": "voke-gateway:1"})
        await gone_one_by_one()

        await fleet.operator.stop()
        for name in await fleet.templates():
            await _as_0_1_0_left_it(fleet, name, said)
        await fleet.until(lambda: _all_have_pods_of_their_template(fleet))
        await fleet.until(lambda: _all_connected(fleet))
        fleet.restarts.clear()
        async with installation.operator() as second:
            await gone_one_by_one()
            await second.stop()


async def _as_0_1_0_left_it(fleet: Fleet, name: str, said: Json) -> None:
    """Created with this by POST, and then applied without."""
    client, namespace = fleet.here.admin, fleet.here.namespace
    patch = {
        "metadata": {"annotations": {names.APPLIED_ANNOTATION: None}},
        "spec": {"template": {"spec": said}},
    }
    left = await client.patch(STATEFUL_SETS, namespace, name, patch, resource_version=None)
    owners = {(each["manager"], each["operation"]) for each in left["metadata"]["managedFields"]}
    assert {(names.FIELD_MANAGER, "Apply"), (names.FIELD_MANAGER, "Update")} <= owners


async def _all_have_pods_of_their_template(fleet: Fleet) -> bool:
    """By Kubernetes' own account."""
    found = await fleet.here.admin.list(STATEFUL_SETS, fleet.here.namespace)
    return all(
        each["status"].get("observedGeneration") == each["metadata"]["generation"]
        and each["status"].get("updateRevision") == each["status"].get("currentRevision")
        and each["status"].get("readyReplicas") == 1
        for each in found.items
    )


async def _all_connected(fleet: Fleet) -> bool:
    return all([await fleet.connected(name) for name in await fleet.templates()])


async def _has_begun(fleet: Fleet) -> bool:
    return bool(fleet.restarts)


async def _all_have(fleet: Fleet, image: str) -> bool:
    return set((await fleet.images()).values()) == {image}


def _is_ready_in_its_newest_version(plant: Json) -> bool:
    found = ready(plant)
    newest: bool = found.get("observedGeneration") == plant["metadata"]["generation"]
    return newest and found["status"] == "True"
