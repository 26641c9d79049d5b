"""The whole plan of a namespace: from what people declared and what is observed to what is to be done, and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from voke_api.bundle import BundlePlant, PackedPlant, pack_plant, profile_size
from voke_api.problems import Problem, Severity, dotted
from voke_api.resolved import PlantCredentials
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_operator import names
from voke_operator.plan.bundles import HeldShard, ShardBundle, ShardState, hold, left_alone, shard_bundle
from voke_operator.plan.candidates import Candidate, Surroundings, candidates
from voke_operator.plan.difference import Conflict, ObjectRef, Observed, Step
from voke_operator.plan.objects import Defaults, kept_storage, pool_of, shard_objects
from voke_operator.plan.packing import Weight, limits_of, weigh
from voke_operator.plan.placement import Claim, Decision, ShardId, ShardPlan, place
from voke_operator.plan.steps import PlannedShard, pool_steps, shard_refs, shard_steps

_MOST_SAID: Final = 3
"""Problems that are told to the gateway's reader."""

Credentials = Callable[[Candidate], PlantCredentials | str]
"""A plant's credentials, or, for people, why there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is observed of a namespace."""

    shards: tuple[ShardState, ...] = ()
    """Every shard of which a bundle, a StatefulSet, a Service or a pod is there."""
    objects: Mapping[ObjectRef, Observed] = field(default_factory=dict)
    """Every object of ours, and whoever has a name that we need."""
    recorded: Mapping[str, ShardId] = field(default_factory=dict)
    """Where Plants were last, as their status says: for shards whose bundle is lost."""
    released: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By Plant, the gateways of which a person says that they are dead for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPlant:
    """What is to become of a Plant."""

    candidate: Candidate
    decision: Decision
    weight: Weight


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
    running = {entry for each in held.values() for entry in each.runs}
    kept = _kept(held.values(), ids)
    found = candidates(
        plants,
        replace(around, pools=pools),
        now=now,
        running={name for name, plant_id in ids.items() if (name, plant_id) in running},
        holds={name: one.endpoints for name, one in kept.items()},
    )
    made = {each.plant.metadata.name: _made(each, credentials) for each in found}
    packed = {name: one for name, one in made.items() if isinstance(one, PackedPlant)}
    best = {**kept, **packed}
    claims = list(_claims(found, made, best, around.profiles, world.released))
    limits = {name: limits_of(pool.spec) for name, pool in pools.items()}
    placement = place(claims, limits, [each.seen for each in held.values()])
    shards = []
    for shard, carries in placement.shards.items():
        bundle = _bundle(carries, made, best, around.profiles, held.get(shard))
        pool = pools.get(shard.pool)
        shards.append(_planned(namespace, carries, bundle, pool, defaults=defaults, world=world))
    steps = list(_steps(namespace, shards, pools, held, world.objects))
    weights = {each.plant: each.weight for each in claims}
    return Plan(
        plants=tuple(
            PlannedPlant(candidate=each, decision=placement.decisions[name], weight=weights[name])
            for name, each in sorted({each.plant.metadata.name: each for each in found}.items())
        ),
        shards=tuple(shards),
        steps=tuple(each for each in steps if isinstance(each, Step)),
        conflicts=tuple(each for each in steps if isinstance(each, Conflict)),
    )


def claim(
    candidate: Candidate,
    packed: PackedPlant | None,
    profile_sizes: Mapping[str, int],
    *,
    unusable: str | None,
    duplicate: str | None = None,
    released: Collection[str] = (),
) -> Claim:
    """What a Plant wants of its pool.

    Args:
        candidate: The Plant.
        packed: Its file; if its newest version is unusable the one before, if there is one.
        profile_sizes: What each profile adds to a bundle, by name.
        unusable: Why its newest version cannot be used, for people.
        duplicate: Which other Plant has its plantId and is in the right, for people.
        released: Gateways of which a person says that they are dead for it.
    """
    resolved = candidate.resolved if unusable is None else None
    return Claim(
        plant=candidate.plant.metadata.name,
        plant_id=candidate.plant.spec.plant_id,
        pool=candidate.plant.spec.pool,
        weight=Weight() if packed is None else weigh(resolved, packed, profile_sizes),
        unusable=unusable,
        duplicate=duplicate,
        released=released,
    )


def sentence(problem: Problem) -> str:
    """A problem of a Plant in a sentence: where, and what."""
    return f"{dotted(problem.path)}: {problem.message}" if problem.path else problem.message


def note(problems: Iterable[Problem]) -> str:
    """Why a Plant's newest version is not used, for the gateway's reader; empty: nothing is wrong."""
    errors = [sentence(each) for each in problems if each.severity is Severity.ERROR]
    return "; ".join(errors[:_MOST_SAID])


def _kept(held: Iterable[HeldShard], ids: Mapping[str, str]) -> dict[str, PackedPlant]:
    """What runs of each plant, by name: for those whose newest version cannot be used."""
    packed = [entry for each in held for entry in each.packed.items()]
    return {name: one for name, one in packed if one.plant_id == ids.get(name)}


def _claims(
    found: Iterable[Candidate],
    made: Mapping[str, PackedPlant | str],
    best: Mapping[str, PackedPlant],
    profiles: Mapping[str, DeviceProfile],
    released: Mapping[str, Collection[str]],
) -> Iterator[Claim]:
    sizes = {name: profile_size(profile) for name, profile in profiles.items()}
    for each in found:
        name = each.plant.metadata.name
        newest = made[name]
        yield claim(
            each,
            best.get(name),
            sizes,
            unusable=newest if isinstance(newest, str) else None,
            duplicate=None if each.duplicate is None else each.duplicate.message,
            released=released.get(name, ()),
        )


def _bundle(
    carries: ShardPlan,
    made: Mapping[str, PackedPlant | str],
    best: Mapping[str, PackedPlant],
    profiles: Mapping[str, DeviceProfile],
    there: HeldShard | None,
) -> ShardBundle:
    if there is not None and there.unknown:
        return left_alone(there.files or {}, there.unknown)
    return shard_bundle(
        [best[name] for name in carries.plants if name in best],
        profiles,
        None if there is None else there.files,
        leaving=carries.leaving,
        notes={name: why for name in carries.plants if isinstance(why := made[name], str)},
        applied=0 if there is None else there.applied,
        reads=None if there is None else there.reads,
    )


def _planned(
    namespace: str,
    carries: ShardPlan,
    bundle: ShardBundle,
    pool: GatewayPool | None,
    *,
    defaults: Defaults,
    world: World,
) -> PlannedShard:
    if pool is None:
        return PlannedShard(carries=carries, bundle=bundle, objects=())
    there = world.objects.get(shard_refs(namespace, carries.shard)[0])
    annotations = None if there is None else there.annotations
    return PlannedShard(
        carries=carries,
        bundle=bundle,
        objects=shard_objects(carries.shard, namespace, pool.spec, defaults, annotations=annotations),
        kept=kept_storage(pool.spec, annotations),
    )


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
        return note(candidate.problems)
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
    labelled = {name for each in objects.values() if (name := each.labels.get(names.POOL_LABEL)) is not None}
    for name in sorted(used | labelled):
        spec = pools[name].spec if name in pools else None
        yield from pool_steps(namespace, name, spec, in_use=name in used, objects=objects)
    for each in shards:
        there = held.get(each.carries.shard)
        yield from shard_steps(
            namespace,
            each,
            objects,
            files=None if there is None else there.files,
            may_run=there is not None and there.seen.may_run,
        )
