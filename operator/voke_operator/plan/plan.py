"""The whole plan of a namespace: from what people declared and what is observed to what is to be done, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from voke_api.bundle import (
    BundlePlant,
    BundleUnreadableError,
    Leaving,
    PackedPlant,
    contents,
    pack_plant,
    packed_in,
    profile_size,
)
from voke_api.problems import Problem, dotted
from voke_api.resolved import PlantCredentials
from voke_api.resources import GatewayPool, Plant
from voke_api.resources.common import Json
from voke_api.status import GatewayStatus
from voke_operator import names
from voke_operator.plan.bundles import ShardBundle, changes, shard_bundle
from voke_operator.plan.candidates import Candidate, Surroundings, candidates
from voke_operator.plan.difference import (
    Conflict,
    ObjectRef,
    Observed,
    Step,
    apply_steps,
    bundle_step,
    delete_step,
    ref_of,
)
from voke_operator.plan.objects import Defaults, bundle_secret, pool_objects, pool_of, shard_objects
from voke_operator.plan.packing import Weight, limits_of, weigh
from voke_operator.plan.placement import Claim, Decision, Seen, ShardId, ShardPlan, place

Credentials = Callable[[Candidate], PlantCredentials | str]
"""A plant's credentials, or, for people, why there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What is observed of a shard: its bundle, its gateway."""

    shard: ShardId
    files: Mapping[str, bytes] | None = field(default=None, repr=False)
    """Of its bundle; None: there is none. They hold keys."""
    status: GatewayStatus | None = None
    """As :class:`voke_operator.plan.placement.Seen`."""
    may_run: bool = True
    """As :class:`voke_operator.plan.placement.Seen`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldShard:
    """A shard as its bundle describes it."""

    seen: Seen
    packed: Mapping[str, PackedPlant]
    """Its plants, by name, as far as their files are whole."""
    files: Mapping[str, bytes] | None = field(default=None, repr=False)
    """They hold keys."""

    @property
    def applied(self) -> int:
        """Generation that its gateway says it has applied; 0 if it says nothing."""
        status = self.seen.status
        return 0 if status is None else status.bundle_generation or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is observed of a namespace."""

    shards: tuple[ShardState, ...] = ()
    """Every shard of which a bundle, a StatefulSet, a Service or a pod is there."""
    objects: Mapping[ObjectRef, Observed] = field(default_factory=dict)
    """Every object of ours, and whoever has a name that we need."""
    recorded: Mapping[str, ShardId] = field(default_factory=dict)
    """Where Plants were last, as their status says: for shards whose bundle is lost."""
    released: Mapping[str, str] = field(default_factory=dict)
    """By Plant, the gateway that a person says is dead for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPlant:
    """What is to become of a Plant."""

    candidate: Candidate
    decision: Decision
    weight: Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """What is to become of a shard."""

    carries: ShardPlan
    bundle: ShardBundle
    objects: tuple[Json, ...] = field(repr=False)
    """What the cluster is to hold for it beside its bundle; none if its pool is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to become of a namespace."""

    plants: tuple[PlannedPlant, ...]
    """In order of name."""
    shards: tuple[PlannedShard, ...]
    steps: tuple[Step, ...]
    """In the order in which they are to be made."""
    conflicts: tuple[Conflict, ...]


def plan(
    namespace: str,
    plants: Iterable[Plant],
    around: Surroundings,
    world: World,
    *,
    defaults: Defaults,
    credentials: Credentials,
    now: datetime,
) -> Plan:
    """The plan of a namespace.

    Args:
        namespace: Its name.
        plants: Its Plants.
        around: What they may refer to.
        world: What is observed.
        defaults: For what pools do not say.
        credentials: Asked for each plant that may run.
        now: For certificates; with a time zone.
    """
    plants = list(plants)
    pools = _pools(plants, around, defaults)
    ids = {plant.metadata.name: plant.spec.plant_id for plant in plants}
    held = {state.shard: hold(state, ids, world.recorded) for state in world.shards}
    running = {entry for each in held.values() for entry in each.seen.plants.items()}
    found = candidates(
        plants,
        replace(around, pools=pools),
        now=now,
        running={name for name, plant_id in ids.items() if (name, plant_id) in running},
    )
    made = {each.plant.metadata.name: _made(each, credentials) for each in found}
    packed = {name: one for name, one in made.items() if isinstance(one, PackedPlant)}
    kept = {name: one for each in held.values() for name, one in each.packed.items()}
    sizes = {name: profile_size(profile) for name, profile in around.profiles.items()}
    claims = [
        claim(
            each,
            packed.get(name) or kept.get(name),
            sizes,
            unusable=None if name in packed else str(made[name]),
            released=world.released.get(name),
        )
        for each in found
        for name in (each.plant.metadata.name,)
    ]
    limits = {name: limits_of(pool.spec) for name, pool in pools.items()}
    placement = place(claims, limits, [each.seen for each in held.values()])
    shards = []
    for shard, carries in placement.shards.items():
        there = held.get(shard)
        bundle = shard_bundle(
            [{**kept, **packed}[name] for name in carries.plants if name in packed or name in kept],
            around.profiles,
            None if there is None else there.files,
            leaving=carries.leaving,
            notes={name: placement.decisions[name].message for name in carries.plants if name not in packed},
            applied=0 if there is None else there.applied,
        )
        known = shard.pool in pools
        objects = shard_objects(shard, namespace, pools[shard.pool].spec, defaults) if known else ()
        shards.append(PlannedShard(carries=carries, bundle=bundle, objects=objects))
    steps = list(_steps(namespace, shards, pools, held, world.objects))
    weights = {each.plant: each.weight for each in claims}
    return Plan(
        plants=tuple(
            PlannedPlant(candidate=each, decision=placement.decisions[name], weight=weights[name])
            for name, each in sorted((each.plant.metadata.name, each) for each in found)
        ),
        shards=tuple(shards),
        steps=tuple(each for each in steps if isinstance(each, Step)),
        conflicts=tuple(each for each in steps if isinstance(each, Conflict)),
    )


def hold(state: ShardState, ids: Mapping[str, str], recorded: Mapping[str, ShardId]) -> HeldShard:
    """What a shard's gateway is told to run, by its bundle.

    If that is lost, it is what the gateway itself says, and what Plants' own status remembers.

    Args:
        state: What is observed.
        ids: Plant ids of all Plants, by name.
        recorded: Where Plants were last.
    """
    files = state.files or {}
    try:
        listed, packed = contents(files), packed_in(files)
    except BundleUnreadableError:
        remembered = {name: ids[name] for name, at in recorded.items() if at == state.shard and name in ids}
        told = () if state.status is None else state.status.plants
        plants = {**remembered, **{each.name: each.plant_id for each in told if each.plant_id}}
        leaving: tuple[Leaving, ...] = ()
        packed = {}
    else:
        # Of a file that is not whole the gateway runs the last good version; whose, the Plant of its name says.
        plants = {
            name: packed[name].plant_id if name in packed else ids.get(name, "") for name in listed.plants
        }
        leaving = listed.leaving
    return HeldShard(
        seen=Seen(
            shard=state.shard, plants=plants, leaving=leaving, status=state.status, may_run=state.may_run
        ),
        packed=packed,
        files=state.files,
    )


def claim(
    candidate: Candidate,
    packed: PackedPlant | None,
    profile_sizes: Mapping[str, int],
    *,
    unusable: str | None,
    released: str | None = None,
) -> Claim:
    """What a Plant wants of its pool.

    Args:
        candidate: The Plant.
        packed: Its file; if its newest version is unusable the one before, if there is one.
        profile_sizes: What each profile adds to a bundle, by name.
        unusable: Why its newest version cannot be used, for people.
        released: The gateway that a person says is dead for it.
    """
    resolved = candidate.resolved if unusable is None else None
    return Claim(
        plant=candidate.plant.metadata.name,
        plant_id=candidate.plant.spec.plant_id,
        pool=candidate.plant.spec.pool,
        weight=Weight() if packed is None else weigh(resolved, packed, profile_sizes),
        unusable=unusable,
        duplicate=None if candidate.duplicate is None else candidate.duplicate.message,
        released=released,
    )


def sentence(problem: Problem) -> str:
    """A problem of a Plant in a sentence: where, and what."""
    return f"{dotted(problem.path)}: {problem.message}" if problem.path else problem.message


def _pools(plants: Iterable[Plant], around: Surroundings, defaults: Defaults) -> dict[str, GatewayPool]:
    pools = dict(around.pools or {})
    for name in {plant.spec.pool for plant in plants} - pools.keys():
        pool = pool_of(name, pools, defaults)
        if pool is not None and ("GatewayPool", name) not in around.broken:
            pools[name] = pool
    return pools


def _made(candidate: Candidate, credentials: Credentials) -> PackedPlant | str:
    """A plant as a file, or why not, for people."""
    if candidate.error is not None:
        return sentence(candidate.error)
    given = credentials(candidate)
    if isinstance(given, str):
        return given
    return pack_plant(BundlePlant(plant=candidate.plant, pool=candidate.pool, credentials=given))


def _steps(
    namespace: str,
    shards: Sequence[PlannedShard],
    pools: Mapping[str, GatewayPool],
    held: Mapping[ShardId, HeldShard],
    objects: Mapping[ObjectRef, Observed],
) -> Iterator[Step | Conflict]:
    used = {each.carries.shard.pool for each in shards if not each.carries.remove}
    for name in sorted(used & pools.keys()):
        yield from apply_steps(pool_objects(name, namespace, pools[name].spec), objects)
    for each in shards:
        if each.carries.remove:
            yield from _removal(namespace, held[each.carries.shard].seen, objects)
        else:
            yield from shard_steps(namespace, each, held.get(each.carries.shard), objects)
    for there in sorted(objects.values(), key=lambda there: there.ref):
        pool = there.labels.get(names.POOL_LABEL)
        if there.ref.kind in _POOL_KINDS and pool is not None and pool not in used:
            step = delete_step(there, reason=f"the pool {pool} has no gateways any more")
            yield from () if step is None else (step,)


_POOL_KINDS: Final = frozenset({"PodDisruptionBudget", "NetworkPolicy"})


def shard_steps(
    namespace: str,
    planned: PlannedShard,
    held: HeldShard | None,
    objects: Mapping[ObjectRef, Observed],
) -> Iterator[Step | Conflict]:
    """Steps for one shard: its bundle first, without which its pod does not start."""
    if planned.bundle.changed:
        document = bundle_secret(planned.carries.shard, namespace, planned.bundle.files)
        reason = changes(None if held is None else held.files, planned.bundle.files)
        yield bundle_step(document, objects.get(ref_of(document)), reason=reason)
    yield from apply_steps(planned.objects, objects)


def _removal(namespace: str, seen: Seen, objects: Mapping[ObjectRef, Observed]) -> Iterator[Step]:
    """Steps that remove a shard; its bundle last, for it notes whom others may have to wait for."""
    shard = seen.shard
    wanted = [("StatefulSet", str(shard)), ("Service", str(shard))]
    if not seen.may_run:
        wanted.append(("Secret", names.bundle_secret(shard.pool, shard.number)))
    for kind, name in wanted:
        there = objects.get(ObjectRef(kind=kind, namespace=namespace, name=name))
        step = None if there is None else delete_step(there, reason="no plant is on this gateway any more")
        if step is not None:
            yield step
