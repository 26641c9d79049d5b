"""What a cluster has of a namespace, read for a plan. Nothing is written, and no gateway is asked.

Bundles are read whole, keys included: what is in them decides which gateway has which plant. They are kept in memory
alone, and no text that is made here has anything of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from voke_api.bundle import BundleUnreadableError, NotHeldError, credentials_in
from voke_api.crd import definitions
from voke_api.problems import Problem
from voke_api.resolved import PlantCredentials
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_api.resources.common import Metadata
from voke_api.salvage import salvage
from voke_operator import names
from voke_operator.credentials.ids import parse_words
from voke_operator.credentials.secret import Secret, from_document
from voke_operator.plan.bundles import ShardState
from voke_operator.plan.candidates import Candidate, Surroundings
from voke_operator.plan.difference import Action, ObjectRef, Observed
from voke_operator.plan.objects import Defaults, pool_of, shard_in, shard_objects, template_hash
from voke_operator.plan.placement import ShardId
from voke_operator.plan.plan import Credentials, Plan, World, plan, sentence

if TYPE_CHECKING:  # the Kubernetes client is an extra
    from voke_cli.documents import Documents
    from voke_operator.kube.client import Client

Object = Mapping[str, Any]

_IMAGE: Final = "voke-gateway"


class LiveError(Exception):
    """The cluster cannot be read; the message says why, and what to do."""


@dataclass(slots=True)
class Live:
    """A namespace, as it is and as files would have it."""

    namespace: str
    plants: dict[str, Plant] = field(default_factory=dict)
    profiles: dict[str, DeviceProfile] = field(default_factory=dict)
    pools: dict[str, GatewayPool] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    """Of those that a Plant may refer to."""
    problems: list[Problem] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Plants of whose newest version only a part is left, and why; what runs of them runs on."""
    broken: set[tuple[str, str]] = field(default_factory=set)
    """Kind and name of what is there but cannot be used."""
    files: dict[ShardId, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    """Of the bundles."""
    shards: set[ShardId] = field(default_factory=set)
    running: set[ShardId] = field(default_factory=set)
    """Those with a StatefulSet or a pod."""
    objects: dict[ObjectRef, Observed] = field(default_factory=dict)
    recorded: dict[str, ShardId] = field(default_factory=dict)

    def lay_over(self, documents: Documents) -> None:
        """Have it as after ``kubectl apply`` of what files hold."""
        for plant in documents.plants:
            there = self.plants.get(plant.metadata.name)
            metadata = plant.metadata if there is None else there.metadata
            self.plants[plant.metadata.name] = _applied(plant, metadata, self.namespace)
            self.unreadable.pop(plant.metadata.name, None)
        for name, profile in documents.profiles.items():
            self.profiles[name] = _applied(profile, profile.metadata, self.namespace)
        for name, pool in documents.pools.items():
            self.pools[name] = _applied(pool, pool.metadata, self.namespace)
        self.secrets |= documents.secrets
        self.broken -= {*(("DeviceProfile", each) for each in documents.profiles)}
        self.broken -= {*(("GatewayPool", each) for each in documents.pools)}
        self.broken |= documents.broken

    def world(self) -> World:
        """What is observed."""
        states = [
            ShardState(shard=shard, files=self.files.get(shard), may_run=shard in self.running)
            for shard in sorted(self.shards)
        ]
        released = {
            name: parse_words(plant.metadata.annotations.get(names.RELEASE_ANNOTATION))
            for name, plant in self.plants.items()
        }
        return World(shards=tuple(states), objects=self.objects, recorded=self.recorded, released=released)

    def credentials(self, otherwise: Credentials) -> Credentials:
        """Those that run, with what its Secrets give each plant now; of a plant that does not run ``otherwise``."""

        def found(candidate: Candidate) -> PlantCredentials | str:
            name = candidate.plant.metadata.name
            if name in self.unreadable:
                return self.unreadable[name]
            for files in self.files.values():
                try:
                    held = credentials_in(files, name, plant_id=candidate.plant.spec.plant_id)
                except (NotHeldError, BundleUnreadableError):
                    continue
                return replace(held, **candidate.given.values)
            return otherwise(candidate)

        return found

    def defaults(self, image: str | None) -> Defaults:
        """What the operator was installed with, as far as its gateways show it: it is written down nowhere else.

        To be asked before files are laid over. ``image``: instead of what they show.
        """
        guesses = [guess for each in self.objects.values() for guess in self._guesses(each)]
        best = max(guesses, key=lambda guess: guess[:2], default=None)
        if best is None:
            return Defaults(image=image or _IMAGE)
        return best[2] if image is None else best[2].model_copy(update={"image": image})

    def _guesses(self, there: Observed) -> Iterator[tuple[bool, bool, Defaults]]:
        """Whether a StatefulSet is just what an operator with these would make, whether they show its own image."""
        shard = shard_in(there.labels)
        if there.ref.kind != "StatefulSet" or there.content is None or shard is None or not there.ours:
            return
        pod = there.content["spec"]["template"]["spec"]
        container = pod["containers"][0]
        broken = ("GatewayPool", shard.pool) in self.broken
        pool = None if broken else pool_of(shard.pool, self.pools, Defaults(image=_IMAGE))
        for policy in (None, container.get("imagePullPolicy")):  # the API server puts in what was left out
            defaults = Defaults(
                image=container["image"],
                image_pull_policy=policy,
                image_pull_secrets=tuple(pod.get("imagePullSecrets") or ()),
                service_account=pod.get("serviceAccountName"),
                resources=container.get("resources") or {},
                user=(pod.get("securityContext") or {}).get("runAsUser"),
            )
            if pool is None:
                yield False, False, defaults
                continue
            made = shard_objects(shard, self.namespace, pool.spec, defaults, annotations=there.annotations)[
                -1
            ]
            right = template_hash(made) == there.annotations.get(names.TEMPLATE_HASH_ANNOTATION)
            yield right, pool.spec.pod.image is None, defaults


async def read_live(client: Client, namespace: str) -> Live:
    """Read a namespace.

    Raises:
        LiveError: it cannot be read.
    """
    from voke_operator.kube.errors import KubeError

    live = Live(namespace)
    try:
        await _read(client, live)
    except KubeError as error:
        raise LiveError(
            f"the cluster cannot be read: {error}. A plan needs to read (get and list) Plants, DeviceProfiles, "
            "GatewayPools, Secrets, StatefulSets, Services, PodDisruptionBudgets, NetworkPolicies and Pods in "
            f"namespace {namespace}"
        ) from None
    return live


async def plan_live(
    client: Client, live: Live, *, defaults: Defaults, credentials: Credentials, now: datetime
) -> Plan:
    """The plan of a namespace, in which nobody else's object is taken for one that is missing.

    Raises:
        LiveError: the cluster cannot be read.
    """
    from voke_operator.kube.errors import KubeError

    def planned() -> Plan:
        around = Surroundings(
            profiles=live.profiles,
            pools=live.pools,
            secrets=live.secrets,
            broken=live.broken,
            searched=f"namespace {live.namespace}",
        )
        return plan(
            live.namespace,
            live.plants.values(),
            around,
            live.world(),
            defaults=defaults,
            credentials=live.credentials(credentials),
            now=now,
        )

    first = planned()
    missing = [
        step.ref for step in first.steps if step.action is not Action.DELETE and not step.resource_version
    ]
    try:
        strangers = await _strangers(client, missing)
    except KubeError as error:
        raise LiveError(f"the cluster cannot be read: {error}") from None
    live.objects |= strangers
    return planned() if strangers else first


async def _read(client: Client, live: Live) -> None:
    from voke_operator.kube.resources import (
        ALLOWED_SECRETS,
        DISRUPTION_BUDGETS,
        NETWORK_POLICIES,
        PLANTS,
        PODS,
        POOLS,
        PROFILES,
        SECRETS,
        SERVICES,
        STATEFUL_SETS,
    )

    async def listed(resource: Any) -> Sequence[Object]:
        items = (await client.list(resource, live.namespace)).items
        return [{**each, "kind": resource.kind, "apiVersion": resource.api_version} for each in items]

    for resource in (PROFILES, POOLS, PLANTS):
        for document in await listed(resource):
            _take(document, live)
    for document in await listed(ALLOWED_SECRETS):
        secret = from_document(document)
        live.secrets[secret.name] = secret
    for document in await listed(SECRETS):
        shard = shard_in(document["metadata"].get("labels") or {})
        if shard is not None and document.get("type") == names.BUNDLE_SECRET_TYPE:
            live.shards.add(shard)
            live.files[shard] = from_document(document).data
            _observe(document, live, content=None)
    for resource in (STATEFUL_SETS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES):
        for document in await listed(resource):
            _observe(document, live, content=document)
            shard = shard_in(document["metadata"].get("labels") or {})
            live.shards |= {shard} if shard is not None else set()
            live.running |= {shard} if shard is not None and resource is STATEFUL_SETS else set()
    for document in await listed(PODS):
        shard = shard_in(document["metadata"].get("labels") or {})
        live.shards |= {shard} if shard is not None else set()
        live.running |= {shard} if shard is not None else set()


async def _strangers(client: Client, refs: Iterable[ObjectRef]) -> dict[ObjectRef, Observed]:
    """Objects of a name that is needed, which the operator did not make."""
    from voke_operator.kube.errors import NotFoundError
    from voke_operator.reconcile.children import RESOURCES

    found: dict[ObjectRef, Observed] = {}
    for ref in refs:
        try:
            metadata = (await client.get_metadata(RESOURCES[ref.kind], ref.namespace, ref.name))["metadata"]
        except NotFoundError:
            continue
        found[ref] = Observed(ref=ref, uid=metadata["uid"], labels=metadata.get("labels") or {})
    return found


def _take(document: Object, live: Live) -> None:
    """A custom resource. The API server takes some that contradict themselves; what runs of such a Plant runs on."""
    kind, metadata = document["kind"], document["metadata"]
    parts = ("apiVersion", "kind", "metadata", "spec")
    salvaged = salvage({part: document[part] for part in parts if part in document})
    live.problems += salvaged.problems
    if salvaged.problems:
        live.broken.add((kind, metadata["name"]))
    match salvaged.resource:
        case Plant() as plant:
            live.plants[metadata["name"]] = plant
            if salvaged.problems:
                live.unreadable[metadata["name"]] = sentence(salvaged.problems[0])
            _recall(document, plant, live)
        case DeviceProfile() as profile if not salvaged.problems:
            live.profiles[metadata["name"]] = profile
        case GatewayPool() as pool if not salvaged.problems:
            live.pools[metadata["name"]] = pool


ResourceT = TypeVar("ResourceT", Plant, DeviceProfile, GatewayPool)


def _applied(resource: ResourceT, metadata: Metadata, namespace: str) -> ResourceT:
    """A resource as the API server keeps it, which writes down the defaults of what its author left out."""
    spec = resource.spec.model_dump(mode="json", exclude_unset=True)
    document = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {**metadata.model_dump(), "namespace": namespace},
        "spec": _defaulted(spec, _schemas()[resource.kind]["properties"]["spec"]),
    }
    return type(resource).model_validate(document)


@cache
def _schemas() -> Mapping[str, Any]:
    """Of the custom resources, by kind."""
    return {
        each["spec"]["names"]["kind"]: each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for each in definitions().values()
    }


def _defaulted(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_defaulted(each, schema.get("items") or {}) for each in value]
    if not isinstance(value, dict):
        return value
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    left_out = {
        key: each["default"] for key, each in properties.items() if "default" in each and key not in value
    }
    rest = others if isinstance(others, dict) else {}
    return {key: _defaulted(each, properties.get(key, rest)) for key, each in {**left_out, **value}.items()}


def _recall(document: Object, plant: Plant, live: Live) -> None:
    """Where it was last, for the case that its bundle is lost."""
    status = document.get("status") or {}
    gateway, number = status.get("gateway"), status.get("shard")
    if isinstance(number, int) and gateway == names.gateway(plant.spec.pool, number):
        live.recorded[plant.metadata.name] = ShardId(plant.spec.pool, number)


def _observe(document: Object, live: Live, *, content: Object | None) -> None:
    metadata = document["metadata"]
    ref = ObjectRef(kind=document["kind"], namespace=live.namespace, name=metadata["name"])
    live.objects[ref] = Observed(
        ref=ref,
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        deleting="deletionTimestamp" in metadata,
        content=content,
    )
