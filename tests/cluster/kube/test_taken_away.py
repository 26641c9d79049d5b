"""What a pool no longer says is gone from the objects of its gateways, however these were made."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any, Final

import pytest

from voke_api.resources import GatewayPool
from voke_api.resources.common import Json
from voke_operator import names
from voke_operator.kube.client import Client
from voke_operator.kube.errors import ConflictError
from voke_operator.kube.objects import Objects
from voke_operator.plan.difference import Conflict, Step, apply_steps
from voke_operator.plan.objects import Defaults, pool_objects, shard_objects
from voke_operator.plan.placement import ShardId
from voke_operator.reconcile.children import RESOURCES, Children, NotOursError

SAID: Final[Json] = {
    "pod": {
        "nodeSelector": {"site": "north"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "annotations": {"team": "energy"},
        "egressCIDRs": ["10.20.0.0/16"],
    }
}


def wanted(namespace: str, spec: Json) -> list[Json]:
    """Budget, policy, Service and StatefulSet."""
    pool = GatewayPool.model_validate({"metadata": {"name": "default"}, "spec": spec}).spec
    shard, defaults = ShardId("default", 0), Defaults(image="voke-gateway:1")
    return [*pool_objects("default", namespace, pool), *shard_objects(shard, namespace, pool, defaults)]


def as_by_0_1_0(document: Json) -> Json:
    made = deepcopy(document)
    made["metadata"]["annotations"].pop(names.APPLIED_ANNOTATION, None)
    return made


class Fleet:
    """The objects of a pool with one gateway, and an operator that sees to them."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.objects = Objects()
        self.children = Children(client, self.objects, drifted=lambda *_: None)

    async def bring_in_order(self, spec: Json) -> list[Step]:
        """Make what is to be made, again if a status came in between; the steps that it took."""
        made = []
        for document in wanted(self.namespace, spec):
            async with asyncio.timeout(30):
                while step := next(apply_steps([document], await self.children.observe([document])), None):
                    assert not isinstance(step, Conflict)
                    try:
                        await self.children.make(step)
                    except ConflictError:
                        resource = RESOURCES[step.ref.kind]
                        self.objects.written(
                            resource, await self.client.get(resource, self.namespace, step.ref.name)
                        )
                        continue
                    made.append(step)
        return made

    async def live(self) -> list[Json]:
        """What others than the server say of the objects, without what names this version of them."""
        found = []
        for document in wanted(self.namespace, {}):
            resource = RESOURCES[document["kind"]]
            live = await self.client.get(resource, self.namespace, document["metadata"]["name"])
            spec = live["spec"]
            for key in ("clusterIP", "clusterIPs"):
                spec.pop(key, None)
            said = live["metadata"]
            found.append({"spec": spec, "labels": said["labels"], "annotations": said["annotations"]})
        return found


@pytest.mark.parametrize("made", ["by this version", "by 0.1.0", "by 0.1.0, and said no longer before"])
async def test_what_is_no_longer_said_is_gone(client: Client, namespace: str, made: str) -> None:
    fleet = Fleet(client, namespace)
    if made == "by this version":
        await fleet.bring_in_order(SAID)
    else:
        for document in wanted(namespace, SAID):
            resource = RESOURCES[document["kind"]]
            fleet.objects.written(resource, await client.create(resource, as_by_0_1_0(document)))
    if made == "by 0.1.0, and said no longer before":
        for document in wanted(namespace, {}):
            resource = RESOURCES[document["kind"]]
            fleet.objects.written(resource, await client.apply(resource, as_by_0_1_0(document)))
    before = str(await fleet.live())
    assert all(word in before for word in ("nodeSelector", "edge", "podAntiAffinity", "registry", "energy"))

    steps = await fleet.bring_in_order({})
    assert [step.restarts for step in steps if step.ref.kind == "StatefulSet"] == [True]
    assert await fleet.bring_in_order({}) == []
    after = await fleet.live()
    another = Fleet(client, namespace)  # as after a restart
    for document in wanted(namespace, {}):
        resource = RESOURCES[document["kind"]]
        name = document["metadata"]["name"]
        live = await client.get(resource, namespace, name)
        another.objects.written(resource, live)
        owners = {
            (each["manager"], each["operation"])
            for each in live["metadata"]["managedFields"]
            if not each.get("subresource")
        }
        assert owners == {(names.FIELD_MANAGER, "Apply")}
    assert await another.bring_in_order({}) == []
    for document in wanted(namespace, {}):
        resource = RESOURCES[document["kind"]]
        live = await client.get(resource, namespace, document["metadata"]["name"])
        await client.delete(resource, namespace, document["metadata"]["name"], uid=live["metadata"]["uid"])
    await Fleet(client, namespace).bring_in_order({})
    assert after == await fleet.live(), "as if it had never been said"


async def test_an_object_that_is_as_it_is_to_be_is_taken_over_without_a_change(
    client: Client, namespace: str
) -> None:
    fleet = Fleet(client, namespace)
    for document in wanted(namespace, {}):
        resource = RESOURCES[document["kind"]]
        fleet.objects.written(resource, await client.create(resource, as_by_0_1_0(document)))

    async def generation() -> Any:
        workload = wanted(namespace, {})[-1]
        found = await client.get(RESOURCES["StatefulSet"], namespace, workload["metadata"]["name"])
        return found["metadata"]["generation"]

    before = await generation()
    steps = await fleet.bring_in_order({})
    assert len(steps) == len(wanted(namespace, {}))
    assert await generation() == before, "the gateway does not restart"


@pytest.mark.parametrize("part", ["annotations", "labels"])
async def test_a_mark_that_somebody_has_removed_is_put_back_and_the_gateway_does_not_restart(
    client: Client, namespace: str, part: str
) -> None:
    fleet = Fleet(client, namespace)
    await fleet.bring_in_order(SAID)
    before = await fleet.live()
    workload = wanted(namespace, SAID)[-1]
    marks = {
        "annotations": (names.APPLIED_ANNOTATION, names.TEMPLATE_HASH_ANNOTATION),
        "labels": (names.SHARD_LABEL,),
    }
    for mark in marks[part]:
        patch = {"metadata": {part: {mark: None}}}
        resource, name = RESOURCES["StatefulSet"], workload["metadata"]["name"]
        changed = await client.patch(resource, namespace, name, patch, resource_version=None)
        fleet.objects.written(resource, changed)
        (step,) = await fleet.bring_in_order(SAID)
        assert step.ref.kind == "StatefulSet"
        assert await fleet.live() == before


async def test_making_a_new_object_never_overwrites_one(client: Client, namespace: str) -> None:
    fleet = Fleet(client, namespace)
    (*_, service, _) = wanted(namespace, {})
    strange = {**service, "metadata": {**service["metadata"], "labels": {"team": "web"}}}
    there = await client.create(RESOURCES["Service"], strange)
    with pytest.raises(NotOursError, match="was not made by the operator"):
        await fleet.bring_in_order({})
    assert await client.get(RESOURCES["Service"], namespace, service["metadata"]["name"]) == there
