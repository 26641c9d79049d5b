"""What the operator knows of a real cluster: soon, without gaps, and without having written anything."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.faulty_api import FaultyApi
from tests.cluster.kube.made import plant, pool, profile, secret
from tests.support.loops import beside, until
from voke_operator.kube.client import Client
from voke_operator.kube.objects import Objects
from voke_operator.kube.preflight import preflight
from voke_operator.kube.reach import from_kubeconfig
from voke_operator.kube.resources import (
    ALLOWED_SECRETS,
    CHILDREN,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    OURS,
    PLANTS,
    PODS,
    POOLS,
    PROFILES,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from voke_operator.kube.sources import Scope, Sources
from voke_operator.names import OWNED

pytestmark = pytest.mark.usefixtures("crds")


class Known:
    """Objects kept by sources that run, and what they told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.objects = Objects(lambda *what: self.told.append(what))
        self.sources: Sources

    def shows(self, resource: Resource, names: list[str]) -> bool:
        """Whether these are known, and no others."""
        return self.names(resource) == names

    def has(self, resource: Resource, count: int) -> bool:
        """Whether so many are known."""
        return len(self.names(resource)) == count

    def names(self, resource: Resource) -> list[str]:
        return sorted(metadata.name for metadata in self.objects.all(resource))


@pytest.fixture(autouse=True)
def _kopf_ends() -> Iterator[None]:
    yield
    assert "kopf" not in {thread.name for thread in threading.enumerate()}, "it ends with what it serves"
    gc.collect()  # tasks of kopf's that failed say so when they are collected: here, and not in another test


@contextlib.asynccontextmanager
async def knowing(
    client: Client, *namespaces: str, relist: float = 600.0, count: float = 20.0, silence: float = 150.0
) -> AsyncIterator[Known]:
    known = Known()
    known.sources = Sources(
        client,
        known.objects,
        scope=Scope(namespaces),
        random=Random(1),
        relist=relist,
        count=count,
        silence=silence,
    )
    async with beside(known.sources.run()):
        yield known


def suspended(known: Known, namespace: str) -> object:
    document = known.objects.document(PLANTS, namespace, "roof")
    return document is not None and document["spec"].get("suspend")


async def test_our_kinds_are_known_when_they_appear_change_and_vanish(client: Client, namespace: str) -> None:
    await client.create(PLANTS, plant(namespace, "roof"))
    async with knowing(client, namespace) as known:
        await known.sources.synced.wait()
        assert known.names(PLANTS) == ["roof"], "what was there at the start is there once it is synced"
        await client.create(PROFILES, profile(namespace, "acme"))
        await client.create(POOLS, pool(namespace, "default"))
        await until(lambda: known.names(PROFILES) == ["acme"] and known.names(POOLS) == ["default"])

        made = await client.get(PLANTS, namespace, "roof")
        await client.replace(PLANTS, {**made, "spec": {**made["spec"], "suspend": True}})
        await until(lambda: suspended(known, namespace))
        await client.delete(PLANTS, namespace, "roof", uid=made["metadata"]["uid"])
        await until(lambda: known.names(PLANTS) == [])
        assert known.told.count(("Plant", namespace, "roof")) == 3


async def test_a_status_that_is_written_wakes_nobody_and_is_known(client: Client, namespace: str) -> None:
    made = await client.create(PLANTS, plant(namespace, "roof"))
    async with knowing(client, namespace) as known:
        await known.sources.synced.wait()
        version = made["metadata"]["resourceVersion"]
        await client.patch_status(PLANTS, namespace, "roof", {"devices": "1/1"}, resource_version=version)
        await until(
            lambda: (
                (known.objects.document(PLANTS, namespace, "roof") or {}).get("status") == {"devices": "1/1"}
            )
        )
        assert known.told == [("Plant", namespace, "roof")]


async def test_children_are_known_by_our_label_and_without_their_content(
    client: Client, namespace: str
) -> None:
    def child(api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        metadata = {"namespace": namespace, "name": "voke-gw-default-0", "labels": dict(OWNED)}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}

    pod = {"containers": [{"name": "main", "image": "none"}]}
    template = {"metadata": {"labels": dict(OWNED)}, "spec": pod}
    selector = {"matchLabels": dict(OWNED)}
    made = {
        STATEFUL_SETS: child(
            "apps/v1", "StatefulSet", {"selector": selector, "serviceName": "x", "template": template}
        ),
        SERVICES: child("v1", "Service", {"clusterIP": "None", "ports": [{"port": 9100}]}),
        DISRUPTION_BUDGETS: child(
            "policy/v1", "PodDisruptionBudget", {"maxUnavailable": 1, "selector": selector}
        ),
        NETWORK_POLICIES: child("networking.k8s.io/v1", "NetworkPolicy", {"podSelector": selector}),
    }
    async with knowing(client, namespace) as known:
        await known.sources.synced.wait()
        for resource, document in made.items():
            await client.apply(resource, document)
        await client.create(SECRETS, secret(namespace, "voke-plant-roof", key=b"material"))
        await client.create(SECRETS, secret(namespace, "not-ours", labels={}))
        for resource in made:
            await until(partial(known.shows, resource, ["voke-gw-default-0"]))
        await until(lambda: known.names(SECRETS) == ["voke-plant-roof"])
        await until(lambda: known.names(PODS) == ["voke-gw-default-0-0"])
        assert all(known.objects.document(SECRETS, namespace, name) is None for name in known.names(SECRETS))
        assert ("Secret", namespace, "not-ours") not in known.told


async def test_a_secret_is_known_as_allowed_while_it_carries_the_label(
    client: Client, namespace: str
) -> None:
    async with knowing(client, namespace) as known:
        await known.sources.synced.wait()
        made = await client.create(SECRETS, secret(namespace, "keys", labels={}))
        version = made["metadata"]["resourceVersion"]
        for value, expected in (("true", ["keys"]), ("no", []), ("true", ["keys"])):
            labels = {"metadata": {"labels": {"voke.lovinka.com/allow": value}}}
            made = await client.patch(SECRETS, namespace, "keys", labels, resource_version=version)
            version = made["metadata"]["resourceVersion"]
            await until(partial(known.shows, ALLOWED_SECRETS, expected))


async def test_other_namespaces_are_not_looked_at_and_the_whole_cluster_is_if_wanted(
    client: Client, namespace: str, control_plane: ControlPlane
) -> None:
    other = f"{namespace}-other"
    control_plane.kubectl("create", "namespace", other)
    async with knowing(client, namespace) as few, knowing(client) as all_of_them:
        await few.sources.synced.wait()
        await all_of_them.sources.synced.wait()
        await client.create(PLANTS, plant(other, "there"))
        await client.create(PLANTS, plant(namespace, "here"))
        await until(lambda: {"there", "here"} <= set(all_of_them.names(PLANTS)))
        await until(lambda: few.names(PLANTS) == ["here"])
    control_plane.kubectl("delete", "namespace", other, "--wait=false")


async def test_what_vanishes_while_the_watch_is_deaf_is_found_by_the_next_list(
    client: Client, faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    made = await client.create(PLANTS, plant(namespace, "roof"))
    async with knowing(unlucky, namespace, relist=1.0) as known:
        await known.sources.synced.wait()
        await until(lambda: faulty.watches("plants"))
        faulty.silent.add("plants")
        await client.delete(PLANTS, namespace, "roof", uid=made["metadata"]["uid"])
        await client.create(PLANTS, plant(namespace, "park"))
        await until(lambda: known.names(PLANTS) == ["park"])


async def test_when_all_vanish_while_the_watch_is_deaf_they_are_missed_by_the_next_count(
    client: Client, faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    made = [await client.create(PLANTS, plant(namespace, name)) for name in ("roof", "park")]
    async with knowing(unlucky, namespace, count=1.0) as known:
        await known.sources.synced.wait()
        await until(lambda: faulty.watches("plants") and known.has(PLANTS, 2))
        faulty.silent.add("plants")
        for each in made:
            await client.delete(PLANTS, namespace, each["metadata"]["name"], uid=each["metadata"]["uid"])
        await until(lambda: known.names(PLANTS) == [])


async def test_a_silent_watch_is_begun_again_where_it_was(
    client: Client, faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    async with knowing(unlucky, namespace, silence=1.0) as known:
        await known.sources.synced.wait()
        await until(lambda: faulty.watches("secrets"))
        faulty.silent.add("secrets")
        await client.create(SECRETS, secret(namespace, "voke-plant-roof"))
        await until(lambda: known.sources.restarts()["Secret"] >= 2)
        assert known.names(SECRETS) == []
        lists = faulty.asked["list", "secrets"]
        faulty.silent.clear()
        await until(lambda: known.names(SECRETS) == ["voke-plant-roof"])
        assert faulty.asked["list", "secrets"] == lists, "what is still kept is not listed again"


async def test_a_watch_that_is_too_old_lists_again(
    client: Client, faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    async with knowing(unlucky, namespace) as known:
        await known.sources.synced.wait()
        await until(lambda: faulty.watches("services"))
        lists = faulty.asked["list", "services"]
        faulty.add(verb="watch", resource="services", code=410)
        faulty.cut_watches("services")
        await until(lambda: faulty.asked["list", "services"] > lists and faulty.watches("services"))
        assert known.sources.restarts()["Service"] >= 1


async def test_cut_watches_and_a_server_that_is_away_lose_nothing(
    client: Client, faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    async with knowing(unlucky, namespace) as known:
        await known.sources.synced.wait()
        await until(lambda: faulty.watches("plants") and faulty.watches("secrets"))
        for number in range(3):
            faulty.cut_watches("plants")
            faulty.cut_watches("secrets")
            await client.create(PLANTS, plant(namespace, f"roof-{number}"))
            await client.create(SECRETS, secret(namespace, f"voke-plant-roof-{number}"))
            await until(partial(known.has, PLANTS, number + 1))
            await until(partial(known.has, SECRETS, number + 1))
        async with faulty.away():
            await client.create(PLANTS, plant(namespace, "late"))
            await client.create(SECRETS, secret(namespace, "voke-plant-late"))
            await asyncio.sleep(1)
        await until(lambda: "late" in known.names(PLANTS), within=60)
        await until(lambda: "voke-plant-late" in known.names(SECRETS), within=60)


@pytest.mark.parametrize(
    "fault",
    [
        {"verb": "watch", "code": 500, "in_stream": True},
        {"verb": "watch", "code": 401, "reason": "Unauthorized"},
    ],
)
async def test_what_ends_kopf_only_delays(
    client: Client, faulty: FaultyApi, unlucky: Client, namespace: str, fault: dict[str, Any]
) -> None:
    async with knowing(unlucky, namespace) as known:
        await known.sources.synced.wait()
        await until(lambda: faulty.watches("plants"))
        faulty.add(resource="plants", **fault)
        faulty.cut_watches("plants")
        await until(lambda: known.sources.restarts()["kopf"])
        await client.create(PLANTS, plant(namespace, "roof"))
        await until(lambda: known.names(PLANTS) == ["roof"], within=30)
        assert faulty.asked["list", "plants"] >= 3, "ours, kopf's, and kopf's when it was begun again"


async def test_a_server_that_is_busy_at_the_start_only_delays(
    faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    for resource in ("plants", "secrets"):
        faulty.add(verb="list", resource=resource, code=429, retry_after=1, times=2)
        faulty.add(verb="list", resource=resource, code=503, times=1)
    async with knowing(unlucky, namespace) as known:
        async with asyncio.timeout(30):
            await known.sources.synced.wait()
        ages = known.sources.ages()
        assert set(ages) == {resource.kind for resource in (*OURS, *CHILDREN)}
        assert max(ages.values()) < 30


READER = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader"},
        "rules": [
            {"apiGroups": [resource.group], "resources": [resource.plural], "verbs": ["get", "list", "watch"]}
            for resource in (*OURS, *CHILDREN)
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader"}],
    },
]


async def test_reading_rights_are_enough_and_nothing_is_ever_written(
    client: Client, control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply(*READER, namespace=namespace)
    configuration = await from_kubeconfig(control_plane.service_account(namespace, "reader"))
    control_plane.writes()
    async with contextlib.aclosing(Client(configuration)) as reader, knowing(reader, namespace) as known:
        await known.sources.synced.wait()
        made = await client.create(PLANTS, plant(namespace, "roof"))
        await until(lambda: known.names(PLANTS) == ["roof"])
        await client.replace(PLANTS, {**made, "spec": {**made["spec"], "suspend": True}})
        await until(lambda: suspended(known, namespace))
        await asyncio.sleep(1)
    now = await client.get(PLANTS, namespace, "roof")
    assert now["metadata"]["generation"] == 2
    assert not now["metadata"].get("finalizers")
    assert not now["metadata"].get("annotations")
    assert [write for write in control_plane.writes() if write.user.endswith(":reader")] == []


async def test_what_is_missing_in_rbac_is_named_rule_by_rule(
    control_plane: ControlPlane, namespace: str
) -> None:
    reader: dict[str, Any] = dict(READER[0])
    role = {**reader, "rules": [rule for rule in reader["rules"] if rule["resources"] != ["pods"]]}
    control_plane.apply(role, READER[1], namespace=namespace)
    configuration = await from_kubeconfig(control_plane.service_account(namespace, "reader"))
    async with contextlib.aclosing(Client(configuration)) as client:
        assert await preflight(client, Scope((namespace,))) == [
            (
                f"RBAC: the operator's service account lacks, in namespace {namespace} (Role), the rule "
                '{apiGroups: [""], resources: ["pods"], verbs: [get, list, watch]}'
            )
        ]
        whole = await preflight(client, Scope())
        assert len(whole) == len(READER[0]["rules"]) - 1, "one line for each rule, Secrets once"
        assert all("in the whole cluster (ClusterRole)" in line for line in whole)


async def test_a_kind_that_is_not_installed_is_one_line_with_its_remedy(
    faulty: FaultyApi, unlucky: Client, namespace: str
) -> None:
    assert await preflight(unlucky, Scope((namespace,))) == []
    faulty.add(resource="plants", code=404, body="404 page not found")
    assert await preflight(unlucky, Scope((namespace,))) == [
        (
            "the CustomResourceDefinition plants.voke.lovinka.com is not installed: "
            "install the chart with crds.enabled=true, or kubectl apply --server-side -f crds/"
        )
    ]
