"""What the operator has worked out so far: one small record per plant and per shard, and who depends on what.

Nothing here reads or writes a cluster. Everything in it can be worked out anew from the cluster's objects, so
that it is simply lost when the process ends.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from voke_api.bundle import Leaving, PackedPlant
from voke_api.fleet import Endpoint
from voke_api.problems import Problem
from voke_operator.plan.packing import Load, Weight, load_of
from voke_operator.status.facts import Cause, CredentialFacts, PlacementFacts
from voke_operator.status.pods import Pod
from voke_operator.status.poll import Shard


class Name(NamedTuple):
    """A namespaced object."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What a change of which means a change of the plant."""

    pool: str = ""
    plant_id: str = ""
    created: str = ""
    """``metadata.creationTimestamp``: of Plants with one id the older is in the right."""
    profiles: AbstractSet[str] = frozenset()
    secrets: AbstractSet[str] = frozenset()
    """That the Plant, or its pool for it, refers to."""
    endpoints: tuple[Endpoint, ...] = ()
    """PLCs that it connects to."""


@dataclass(slots=True)
class PlantRecord:
    """One Plant."""

    references: References = field(default_factory=References)
    visited: bool = False
    """It was reconciled since its bundle was read; before, ``packed`` may be out of date."""
    doubtful: bool = False
    """Somebody else has written its bundle: what is known of it is read anew."""
    problems: tuple[Problem, ...] = ()
    """Of its newest version."""
    credentials: CredentialFacts = field(default_factory=CredentialFacts)
    placement: PlacementFacts = field(default_factory=PlacementFacts)
    shard: Shard | None = None
    """Whose bundle lists it, or is to list it."""
    weight: Weight = field(default_factory=Weight)
    """Of ``packed``."""
    packed: PackedPlant | None = None
    """The newest version that could be used."""
    packed_generation: int | None = None
    """``metadata.generation`` of that."""
    note: str = ""
    """Why ``packed`` is not its newest version, for the gateway's reader."""
    written: int | None = None
    """Generation of the first bundle with ``packed`` in it."""
    full: Cause | None = None
    """Why ``packed`` is not in its bundle."""
    renewed: dict[str, float] = field(default_factory=dict)
    """Credentials that the gateway has to take over: since when, by the loop's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """What is to be back after a gateway's restart."""

    template: str
    """Hash of the pod template that it restarts for."""
    sessions: frozenset[str] | None
    """Plants whose sessions were as they should be; None: that was not known."""
    started_at: float | None
    """Of the process before, as it said itself; None: that was not known, or its pod is of that template already."""


@dataclass(slots=True)
class ShardRecord:
    """One shard: what its bundle is to list, and what was read or written of it by this process."""

    plants: dict[str, str] = field(default_factory=dict)
    """Plant ids by name."""
    leaving: dict[str, Leaving] = field(default_factory=dict)
    """By plant id; ``since`` is 0 for what the next bundle drops."""
    hearsay: set[str] = field(default_factory=set)
    """Plant ids that its bundle named when it was read, and no Plant's status: whoever may write Secrets may have put
    them there. So a Plant of another namespace is in the right against them, and waits for them only while a gateway answers."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of the bundle in the Secret. They hold keys."""
    generation: int = 0
    """Of that bundle; 0: there is none."""
    secret_version: str = ""
    """``resourceVersion`` of the Secret that ``files`` are from."""
    written_at: float | None = None
    """When this process wrote it last, by the loop's clock."""
    address: str | None = None
    """Where its gateway serves HTTP."""
    unknown: str = ""
    """Why nobody of this version can read its bundle, which is not damaged; empty: it is not so."""
    applied: int = 0
    """Generation of the bundle that its gateway said last that it has applied."""
    reads: tuple[int, ...] | None = None
    """Bundle formats that its gateway said last that it reads; None: it has not answered yet."""
    pod: Pod | None = None
    """Of which ``address`` is; None: it has none."""
    restart: Restart | None = None
    """By a pod template that was allowed to it, until all of its pool have that."""
    away_since: float | None = None
    """Since when an upgrade has waited for its gateway, by the loop's clock."""
    load: Load | None = None
    """Of ``plants``; None: to be added up."""
    trouble: Cause | None = None
    """Why its objects could not be made."""
    remark: Cause | None = None
    """Why they are not quite what its pool wants, though its gateway is at work."""


class Fleet:
    """All plants and shards, with the ways back from what they refer to."""

    def __init__(self) -> None:
        self.plants: dict[Name, PlantRecord] = {}
        self.shards: dict[Shard, ShardRecord] = {}
        self.troubles: dict[Name, Cause] = {}
        """By pool: why what belongs to it beside its shards could not be made."""
        self.rollouts: dict[Name, Cause] = {}
        """By pool: how far its gateways are with a new pod template, if not all have it and are back."""
        self._users: dict[tuple[str, str, str], set[Name]] = {}
        """Plants by what they depend on: kind, namespace, name."""
        self._plcs: dict[Name, dict[Endpoint, Name | frozenset[Name]]] = {}
        """Plants by pool and PLC. A PLC has one Plant, hardly ever more: a set for each would take 20 MB of 100,000."""
        self._claimants: dict[str, list[tuple[str, Name]]] = {}
        """By plant id, when each Plant of it was created, the oldest first."""
        self._listed: dict[str, tuple[Name, ...]] = {}
        """By plant id, Plants as which bundles list it: one, but for what others may have written."""
        self._holders: dict[str, set[Shard]] = {}

    def plant(self, name: Name) -> PlantRecord:
        """The record of a Plant; a new one if it is not known yet."""
        return self.plants.setdefault(name, PlantRecord())

    def shard(self, shard: Shard) -> ShardRecord:
        """The record of a shard; a new one if it is not known yet."""
        return self.shards.setdefault(shard, ShardRecord())

    def refer(self, name: Name, references: References) -> None:
        """Note what a Plant depends on, instead of what was noted before."""
        record = self.plant(name)
        for each in self._uses(name, record.references):
            self._users[each].discard(name)
            if not self._users[each]:
                del self._users[each]
        before = record.references
        if (before.pool, before.endpoints) != (references.pool, references.endpoints):
            self._note_plcs(name, before, uses=False)
            self._note_plcs(name, references, uses=True)
        self._note_claim(name, before, references)
        record.references = references
        for each in self._uses(name, references):
            self._users.setdefault(each, set()).add(name)

    def forget(self, name: Name) -> Shard | None:
        """The Plant is gone; returns the shard that it was on."""
        if name not in self.plants:
            return None
        self.refer(name, References())
        before = self.assign(name, None)
        del self.plants[name]
        return before

    def assign(self, name: Name, shard: Shard | None, plant_id: str = "") -> Shard | None:
        """Put a Plant onto a shard, or take it off; returns the one that it was on, if that is another."""
        record = self.plant(name)
        before, record.shard = record.shard, shard
        if before != shard:
            record.written, record.full = None, None
        if before is not None and (before != shard or self.shard(before).plants.get(name.name) != plant_id):
            self._drop(before, name.name)
        if shard is not None:
            there = self.shard(shard)
            if there.plants.get(name.name) != plant_id:
                there.plants[name.name] = plant_id
                self._listed[plant_id] = (*self._listed.get(plant_id, ()), name)
                there.load = None if there.load is None else there.load.plus(record.weight)
            there.hearsay.discard(plant_id)
            if there.leaving.pop(plant_id, None) is not None:
                self._holders[plant_id].discard(shard)
        return before if before != shard else None

    def _drop(self, shard: Shard, plant: str) -> None:
        """The shard's next bundle does not list that plant; whether its gateway has let go is not known yet."""
        record = self.shard(shard)
        plant_id = record.plants.pop(plant, None)
        record.load = None
        if plant_id is not None:
            name = Name(shard.namespace, plant)
            rest = tuple(each for each in self._listed[plant_id] if each != name)
            if rest:
                self._listed[plant_id] = rest
            else:
                del self._listed[plant_id]
            self.leave(shard, Leaving(plant=plant, plant_id=plant_id, since=0))

    def leave(self, shard: Shard, left: Leaving) -> None:
        """Its gateway may run that plant still."""
        self.shard(shard).leaving[left.plant_id] = left
        self._holders.setdefault(left.plant_id, set()).add(shard)

    def let_go(self, shard: Shard, plant_id: str) -> None:
        """Its gateway runs that plant no more."""
        if self.shard(shard).leaving.pop(plant_id, None) is not None:
            self._holders[plant_id].discard(shard)
            if not self._holders[plant_id]:
                del self._holders[plant_id]

    def holders(self, plant_id: str) -> frozenset[Shard]:
        """Shards whose gateways may run that plant although no bundle lists it."""
        return frozenset(self._holders.get(plant_id, ()))

    def unknown(self, namespace: str) -> frozenset[Shard]:
        """Shards of a namespace that may run or be leaving any plant, for nobody of this version can read their bundles."""
        return frozenset(
            shard for shard, record in self.shards.items() if record.unknown and shard.namespace == namespace
        )

    def weigh(self, name: Name, weight: Weight) -> None:
        """Note what a Plant costs its shard."""
        record = self.plant(name)
        if record.weight != weight:
            record.weight = weight
            if record.shard is not None:
                self.shard(record.shard).load = None

    def load(self, shard: Shard) -> Load:
        """What a shard carries."""
        record = self.shard(shard)
        if record.load is None:
            weights = (each.weight for _, each in self.members(shard))
            record.load = load_of(weights, leaving=len(record.leaving))
        return record.load

    def with_plant_id(self, plant_id: str) -> frozenset[Name]:
        """Plants of that id, in whatever namespace."""
        return frozenset(name for _, name in self._claimants.get(plant_id, ()))

    def oldest_with_plant_id(self, plant_id: str) -> Name | None:
        """The Plant of that id that was created first; None: there is none of it."""
        return next((name for _, name in self._claimants.get(plant_id, ())), None)

    def listed_with_plant_id(self, plant_id: str) -> tuple[Name, ...]:
        """Plants as which bundles list that id."""
        return self._listed.get(plant_id, ())

    def with_endpoint(self, pool: Name, place: Endpoint) -> frozenset[Name]:
        """Plants of that pool that connect to that PLC."""
        found = self._plcs.get(pool, {}).get(place, frozenset())
        return frozenset((found,)) if isinstance(found, Name) else found

    def in_pool(self, pool: Name) -> frozenset[Name]:
        """Plants that name that pool."""
        return frozenset(self._users.get(("pool", *pool), ()))

    def with_profile(self, profile: Name) -> frozenset[Name]:
        """Plants that use that DeviceProfile."""
        return frozenset(self._users.get(("profile", *profile), ()))

    def with_secret(self, secret: Name) -> frozenset[Name]:
        """Plants that get something from that Secret."""
        return frozenset(self._users.get(("secret", *secret), ()))

    def shards_of(self, pool: Name) -> dict[int, ShardRecord]:
        """The shards of a pool, by number."""
        return {
            shard.number: record
            for shard, record in sorted(self.shards.items(), key=lambda item: item[0])
            if (shard.namespace, shard.pool) == pool
        }

    def members(self, shard: Shard) -> Iterator[tuple[Name, PlantRecord]]:
        """Plants that a shard's bundle is to list, in order of name."""
        for plant in sorted(self.shard(shard).plants):
            name = Name(shard.namespace, plant)
            yield name, self.plant(name)

    def _uses(self, name: Name, references: References) -> Iterator[tuple[str, str, str]]:
        """Kind, namespace and name of what a Plant depends on."""
        if references.pool:
            yield "pool", name.namespace, references.pool
        for profile in references.profiles:
            yield "profile", name.namespace, profile
        for secret in references.secrets:
            yield "secret", name.namespace, secret

    def _note_claim(self, name: Name, before: References, now: References) -> None:
        """Note which plant id a Plant claims; by bisection, for whoever writes Plants may give thousands the same one."""
        if (before.plant_id, before.created) == (now.plant_id, now.created):
            return
        if before.plant_id:
            claimants = self._claimants[before.plant_id]
            del claimants[bisect_left(claimants, (before.created, name))]
            if not claimants:
                del self._claimants[before.plant_id]
        if now.plant_id:
            insort(self._claimants.setdefault(now.plant_id, []), (now.created, name))

    def _note_plcs(self, name: Name, references: References, *, uses: bool) -> None:
        """Note that a Plant uses its PLCs, or that it does not any more."""
        pool = Name(name.namespace, references.pool)
        for place in references.endpoints:
            others = self.with_endpoint(pool, place) - {name}
            users = others | {name} if uses else others
            if users:
                self._plcs.setdefault(pool, {})[place] = next(iter(users)) if len(users) == 1 else users
            elif self._plcs.get(pool, {}).pop(place, None) is not None and not self._plcs[pool]:
                del self._plcs[pool]
