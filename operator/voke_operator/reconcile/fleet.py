"""What the operator has worked out so far: one small record per plant and per shard, and who depends on what.

Nothing here reads or writes a cluster. Everything in it can be worked out anew from the cluster's objects, so
that it is simply lost when the process ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from voke_api.bundle import PackedPlant
from voke_api.problems import Problem
from voke_operator.plan.packing import Weight
from voke_operator.status.facts import CredentialFacts, PlacementFacts


class Name(NamedTuple):
    """A namespaced object."""

    namespace: str
    name: str


class ShardId(NamedTuple):
    """One gateway."""

    namespace: str
    pool: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """What a change of which means a change of the plant."""

    pool: str = ""
    plant_id: str = ""
    profiles: AbstractSet[str] = frozenset()
    secrets: AbstractSet[str] = frozenset()
    """That the Plant, or its pool for it, refers to."""


@dataclass(slots=True)
class PlantRecord:
    """One Plant."""

    references: References = References()
    visited: bool = False
    """It was reconciled since the operator started, or what it is in a bundle may be out of date."""
    problems: tuple[Problem, ...] = ()
    """Of its newest version."""
    credentials: CredentialFacts = CredentialFacts()
    placement: PlacementFacts = PlacementFacts()
    shard: ShardId | None = None
    """Whose bundle it is in, or is to be in."""
    weight: Weight | None = None
    packed: PackedPlant | None = None
    """Its newest usable version."""
    packed_generation: int | None = None
    """``metadata.generation`` of that."""
    note: str = ""
    """Why ``packed`` is not its newest version, for the gateway's reader."""
    written: int | None = None
    """Generation of the first bundle with ``packed`` in it."""
    late: bool = False
    """Its gateway had more time than it needs to take that in."""


@dataclass(slots=True)
class ShardRecord:
    """One shard, as far as it was read or written by this process."""

    plants: set[str] = field(default_factory=set)
    """Names of the Plants that are assigned to it."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of the bundle that the Secret holds. They hold keys."""
    generation: int = 0
    """Of that bundle; 0: there is none."""
    secret_version: str = ""
    """``resourceVersion`` of the Secret that ``files`` are from."""
    address: str | None = None
    """Where its gateway serves HTTP."""
    applied: dict[str, int] = field(default_factory=dict)
    """``metadata.generation`` of each child when it was last seen to be as wanted, by kind."""


class Fleet:
    """All plants and shards, with the ways back from what they refer to."""

    def __init__(self) -> None:
        self.plants: dict[Name, PlantRecord] = {}
        self.shards: dict[ShardId, ShardRecord] = {}
        self._by_plant_id: dict[str, set[Name]] = {}
        self._by_pool: dict[Name, set[Name]] = {}
        self._by_profile: dict[Name, set[Name]] = {}
        self._by_secret: dict[Name, set[Name]] = {}

    def plant(self, name: Name) -> PlantRecord:
        """The record of a Plant; a new one if it is not known yet."""
        return self.plants.setdefault(name, PlantRecord())

    def shard(self, shard: ShardId) -> ShardRecord:
        """The record of a shard; a new one if it is not known yet."""
        return self.shards.setdefault(shard, ShardRecord())

    def refer(self, name: Name, references: References) -> None:
        """Note what a Plant depends on, instead of what was noted before."""
        record = self.plant(name)
        for index, key in self._entries(name, record.references):
            index[key].discard(name)
            if not index[key]:
                del index[key]
        record.references = references
        for index, key in self._entries(name, references):
            index.setdefault(key, set()).add(name)

    def forget(self, name: Name) -> PlantRecord | None:
        """The Plant is gone; what was known of it."""
        if name not in self.plants:
            return None
        self.refer(name, References())
        self.assign(name, None)
        return self.plants.pop(name)

    def assign(self, name: Name, shard: ShardId | None) -> ShardId | None:
        """Put a Plant onto a shard, or take it off; returns the one that it was on."""
        record = self.plant(name)
        before, record.shard = record.shard, shard
        if before is not None and before != shard:
            self.shards[before].plants.discard(name.name)
        if shard is not None:
            self.shard(shard).plants.add(name.name)
        return before

    def with_plant_id(self, plant_id: str) -> frozenset[Name]:
        """Plants of that id."""
        return frozenset(self._by_plant_id.get(plant_id, ()))

    def in_pool(self, pool: Name) -> frozenset[Name]:
        """Plants that name that pool."""
        return frozenset(self._by_pool.get(pool, ()))

    def with_profile(self, profile: Name) -> frozenset[Name]:
        """Plants that use that DeviceProfile."""
        return frozenset(self._by_profile.get(profile, ()))

    def with_secret(self, secret: Name) -> frozenset[Name]:
        """Plants that get something from that Secret."""
        return frozenset(self._by_secret.get(secret, ()))

    def shards_of(self, pool: Name) -> dict[int, ShardRecord]:
        """The shards of a pool, by number."""
        return {
            shard.number: record
            for shard, record in sorted(self.shards.items())
            if (shard.namespace, shard.pool) == pool
        }

    def members(self, shard: ShardId) -> Iterator[tuple[Name, PlantRecord]]:
        """Plants assigned to a shard, in order of name."""
        for name in sorted(self.shard(shard).plants):
            full = Name(shard.namespace, name)
            yield full, self.plants[full]

    def _entries(
        self, name: Name, references: References
    ) -> Iterable[tuple[dict[str, set[Name]], str] | tuple[dict[Name, set[Name]], Name]]:
        if references.plant_id:
            yield self._by_plant_id, references.plant_id
        if references.pool:
            yield self._by_pool, Name(name.namespace, references.pool)
        for profile in references.profiles:
            yield self._by_profile, Name(name.namespace, profile)
        for secret in references.secrets:
            yield self._by_secret, Name(name.namespace, secret)
