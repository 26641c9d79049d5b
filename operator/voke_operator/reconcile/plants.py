"""One Plant, from what people declared to a packed file in the right bundle.

Level-triggered: every call looks at all that there is, and what is already as it should be costs no write. The
steps stand in the order in which they happen. A version that cannot be used changes nothing but the status: the
one before it stays in the bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Final

import structlog

from voke_api.bundle import BundlePlant, pack_plant, profile_size
from voke_api.problems import Problem, dotted, has_errors
from voke_api.resolve import resolve
from voke_api.resolved import ResolvedPlant
from voke_api.resources import GatewayPool, Plant
from voke_operator import names
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import PLANTS, POOLS
from voke_operator.plan.objects import Defaults, pool_of
from voke_operator.plan.packing import limits_of, weigh
from voke_operator.plan.placement import Claim
from voke_operator.reconcile.credentials import CredentialKeeper, Settled, secrets_of
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, PlantRecord, References
from voke_operator.reconcile.placing import NotYetError, Placing
from voke_operator.reconcile.queue import SHARD_WINDOW, Key, Kind
from voke_operator.reconcile.statuses import Statuses
from voke_operator.status.poll import Shard

LOOK_AGAIN: Final = 3600.0
"""Seconds after which a plant is looked at though nothing is known to have changed."""
_SOON: Final = 0.5
_PACKING: Final = "1"
"""Raise it when :func:`pack_plant` makes another file of the same input."""

log = structlog.get_logger(__name__)

Add = Callable[..., None]
"""``Queue.add``."""


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a Plant's newest version comes to."""

    plant: Plant
    pool: GatewayPool | None
    resolved: ResolvedPlant | None
    problems: tuple[Problem, ...]


class PlantReconciler:
    """Brings one Plant after another in order."""

    def __init__(
        self,
        objects: Objects,
        documents: Documents,
        fleet: Fleet,
        *,
        keeper: CredentialKeeper,
        placing: Placing,
        statuses: Statuses,
        defaults: Defaults,
        add: Add,
        report: Callable[[Key], None],
        random: Random,
    ) -> None:
        """``add`` puts a key into the queue of work, ``report`` into the one of statuses."""
        self._objects = objects
        self._documents = documents
        self._fleet = fleet
        self._keeper = keeper
        self._placing = placing
        self._statuses = statuses
        self._defaults = defaults
        self._add = add
        self._report = report
        self._random = random

    async def reconcile(self, key: Key) -> float | None:
        """Bring the Plant in order; seconds after which to look again, or None if it is gone.

        Raises:
            KubeError, UnsettledError: try again.
        """
        name = Name(key.namespace, key.name)
        found = self._documents.read_plant(name)
        if found is None:
            self._gone(name)
            return None
        record = self._fleet.plant(name)
        if not isinstance(found, Plant):
            record.problems, record.note = found, _note(found)
            self._visited(name, record)
            return LOOK_AGAIN
        declared = self._read(name, found)
        record.problems = declared.problems
        duplicate = self._placing.duplicate_of(name, found.spec.plant_id)
        again = LOOK_AGAIN
        usable = declared.resolved if duplicate is None else None
        if usable is not None:
            settled = await self._settle(name, declared)
            record.credentials = settled.facts
            record.problems = (*declared.problems, *settled.problems)
            again = min(again, settled.check_after or again)
            if settled.credentials is not None:
                self._pack(name, record, declared, usable, settled)
            else:
                usable = None
        record.note = "" if usable is not None else _note(record.problems, record)
        claim = Claim(
            plant=name.name,
            plant_id=found.spec.plant_id,
            pool=found.spec.pool,
            weight=record.weight,
            unusable=None if usable is not None else record.note,
            duplicate=None if duplicate is None else duplicate.message,
            released=found.metadata.annotations.get(names.RELEASE_ANNOTATION),
        )
        limits = None if declared.pool is None else limits_of(declared.pool.spec)
        try:
            changed = self._placing.place(name, claim, limits, duplicate)
        except NotYetError:
            return _SOON
        self._visited(name, record)
        for shard in changed:
            self._dirty(shard)
        self._report(key)
        jitter = 1 if again < LOOK_AGAIN else self._random.uniform(0.5, 1)
        return again * jitter

    def _read(self, name: Name, plant: Plant) -> _Declared:
        """Resolve what is declared, and note what it depends on."""
        profiles = {device.profile for device in plant.spec.devices if device.profile is not None}
        pool_name = Name(name.namespace, plant.spec.pool)
        found_pool = self._documents.pool(pool_name)
        pools = {} if found_pool is None else {plant.spec.pool: found_pool}
        broken = found_pool is None and self._objects.get(POOLS, *pool_name) is not None
        pool = None if broken else pool_of(plant.spec.pool, pools, self._defaults)
        before = self._fleet.plant(name).references.plant_id
        self._fleet.refer(
            name,
            References(
                pool=plant.spec.pool,
                plant_id=plant.spec.plant_id,
                profiles=frozenset(profiles),
                secrets=secrets_of(plant, pool),
            ),
        )
        if before and before != plant.spec.plant_id:
            self._others(name, before)
        resolved, problems = resolve(plant, self._documents.profiles(name.namespace, profiles), pool)
        if broken:
            problems.append(
                Problem(
                    path=("spec", "pool"),
                    message=f"GatewayPool {plant.spec.pool} cannot be read",
                    kind="Plant",
                    name=name.name,
                )
            )
            resolved = None
        return _Declared(plant, pool, resolved, tuple(problems))

    async def _settle(self, name: Name, declared: _Declared) -> Settled:
        observed = self._statuses.observed(name)
        return await self._keeper.settle(declared.plant, observed, declared.pool)

    def _pack(
        self,
        name: Name,
        record: PlantRecord,
        declared: _Declared,
        resolved: ResolvedPlant,
        settled: Settled,
    ) -> None:
        """Make the plant's file anew, unless it was made from the very same input."""
        assert settled.credentials is not None
        plant, references = declared.plant, record.references
        generation = plant.metadata.generation or 0
        inputs = self._inputs(name, references, settled.versions)
        before = record.packed
        packed = before
        if packed is None or packed.inputs != inputs:
            item = BundlePlant(plant=plant, pool=declared.pool, credentials=settled.credentials)
            packed = record.packed = pack_plant(item, inputs=inputs)
            if before is None or before.content != packed.content:
                record.written, record.full = None, None
                if record.shard is not None:
                    self._dirty(record.shard)
        record.packed_generation = generation
        profiles = self._documents.profiles(name.namespace, references.profiles)
        sizes = {each: profile_size(profile) for each, profile in profiles.items()}
        self._fleet.weigh(name, weigh(resolved, packed, sizes))

    def _inputs(self, name: Name, references: References, secrets: tuple[str, ...]) -> str:
        """What the plant's file is made from, so that another life of the operator knows it again."""
        parts = (
            _PACKING,
            self._documents.text_version(PLANTS, name),
            self._documents.text_version(POOLS, Name(name.namespace, references.pool)),
            *self._documents.profile_versions(name.namespace, references.profiles),
            *secrets,
        )
        digest = sha256("\n".join(parts).encode()).hexdigest()[:16]
        generation = self._objects.get(PLANTS, *name)
        return f"{references.plant_id} {0 if generation is None else generation.generation} {digest}"

    def _visited(self, name: Name, record: PlantRecord) -> None:
        record.visited = True
        if record.shard is not None:
            shard = self._fleet.shard(record.shard)
            if shard.generation == 0 or record.written is None:
                self._dirty(record.shard)
        self._report(Key(Kind.PLANT, *name))

    def _gone(self, name: Name) -> None:
        """The Plant is not there: take it out of its bundle. Its Secret goes with its owner, or stays as asked."""
        record = self._fleet.plants.get(name)
        if record is None:
            return
        plant_id = record.references.plant_id
        before = self._fleet.forget(name)
        self._statuses.forget(name)
        if before is not None:
            log.info("plant gone", plant=name.name, namespace=name.namespace)
            self._dirty(before)
        if plant_id:
            self._others(name, plant_id)

    def _others(self, name: Name, plant_id: str) -> None:
        """Plants that wait for that plant id may be next."""
        for other in self._fleet.with_plant_id(plant_id) - {name}:
            self._add(Key(Kind.PLANT, *other), fresh=True)

    def _dirty(self, shard: Shard) -> None:
        self._add(Key(Kind.SHARD, shard.namespace, shard.pool, shard.number), after=SHARD_WINDOW)


def _note(problems: tuple[Problem, ...], record: PlantRecord | None = None) -> str:
    """Why the newest version is not used, for the gateway's reader."""
    errors = [problem for problem in problems if has_errors([problem])]
    if errors:
        return "; ".join(f"{dotted(each.path)}: {each.message}" for each in errors[:3])
    if record is not None and record.credentials.cause is not None:
        return record.credentials.cause.message
    return ""
