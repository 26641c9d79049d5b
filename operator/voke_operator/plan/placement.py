"""Which gateway each plant is on: sticky, explained, and never on two at once.

What is true is in the bundles: a gateway runs what its bundle lists. A plant that leaves one is noted there
(:class:`voke_api.bundle.Leaving`), in the same write that takes it out, and starts elsewhere only when its
gateway has been seen without it::

    placed ──pool changed──▶ leaving ──its gateway has let go──▶ placed elsewhere
       ▲                        │
       └────pool changed back───┘

So no crash of the operator lets two gateways have one identity, and none forgets that somebody has to be
waited for. A plant whose newest version cannot be used, or would fit nowhere, stays where it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from voke_api.bundle import Leaving
from voke_api.status import GatewayStatus
from voke_operator import names
from voke_operator.plan.packing import (
    Limits,
    Load,
    Weight,
    first_with_room,
    load_of,
    lowest_free,
    over_limits,
    too_heavy,
)


@dataclass(frozen=True, slots=True, order=True)
class ShardId:
    """One gateway of a pool."""

    pool: str
    number: int

    def __str__(self) -> str:
        return names.gateway(self.pool, self.number)


class Reason(StrEnum):
    """Why a plant is where it is; stable, for conditions."""

    PLACED = "Placed"
    """It was given a place."""
    STAYS = "Stays"
    """It has its place."""
    MOVING = "Moving"
    """It runs nowhere until a gateway has let go of it."""
    UNUSABLE = "Unusable"
    """Its newest version cannot be used; if it ran before it stays where it is."""
    TOO_LARGE = "TooLarge"
    """It is more than one gateway of its pool can carry; if it ran before it stays where it is."""
    DUPLICATE = "DuplicatePlantId"
    """Another Plant has its plantId."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A plant that wants a place."""

    plant: str
    plant_id: str
    pool: str
    weight: Weight = field(default_factory=Weight)
    """Of its newest version, or, if that cannot be used, of the one that runs."""
    unusable: str | None = None
    """Why its newest version cannot be used, for people."""
    duplicate: str | None = None
    """Which other Plant has its plantId and is in the right, for people."""
    released: Collection[str] = ()
    """Gateways of which a person says that they are dead for this plant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a shard that there is."""

    shard: ShardId
    plants: Mapping[str, str] = field(default_factory=dict)
    """What its bundle lists: plant ids by name."""
    leaving: tuple[Leaving, ...] = ()
    """What its bundle notes as leaving."""
    status: GatewayStatus | None = None
    """What its gateway said last; None: it cannot be asked."""
    may_run: bool = True
    """False only if it is certain that no process of it runs, such as without StatefulSet and pod."""
    is_known: bool = True
    """False: its bundle is in a format of another version, so it may run or be leaving any plant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where a plant is to be."""

    plant: str
    shard: ShardId | None
    """Whose bundle is to list it; None: none."""
    reason: Reason
    message: str
    """For people, one sentence."""
    waits_for: tuple[ShardId, ...] = ()
    """Gateways that have to let go of it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """What a shard is to carry."""

    shard: ShardId
    plants: tuple[str, ...]
    """In order of name."""
    load: Load
    over: tuple[str, ...] = ()
    """In what it is beyond its pool's limits, for people."""
    leaving: tuple[Leaving, ...] = ()
    """What its bundle has to note; ``since`` is 0 for what it drops now."""
    remove: bool = False
    """It is empty, and nobody waits for what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where all plants of a namespace are to be."""

    decisions: Mapping[str, Decision]
    """By plant."""
    shards: Mapping[ShardId, ShardPlan]


def has_let_go(seen: Seen, left: Leaving) -> bool:
    """Whether a gateway certainly does not run a plant that its bundle has dropped."""
    if not seen.may_run:
        return True
    status = seen.status
    return status is not None and lets_go(
        left, status.bundle_generation, (plant.plant_id for plant in status.plants)
    )


def lets_go(left: Leaving, applied: int | None, plant_ids: Iterable[str]) -> bool:
    """Whether a gateway that has ``applied`` that bundle and speaks of these plants has let go of one.

    An empty plant id is that of a plant about which it says nothing more.
    """
    if left.since == 0 or (applied or 0) < left.since:
        return False
    return all(left.plant_id != (plant_id or left.plant_id) for plant_id in plant_ids)


def stay(claim: Claim, listed: Sequence[ShardId], limits: Limits | None) -> Decision | None:
    """What can be decided about one plant without looking for a place; None: it needs one.

    Args:
        claim: The plant.
        listed: Shards whose bundles list it, with this plant id.
        limits: Of its pool; None if there is no such pool, and the claim is not usable then.
    """
    here = next((shard for shard in listed if shard.pool == claim.pool), listed[0] if listed else None)
    if claim.duplicate is not None:
        return _decision(claim, None, Reason.DUPLICATE, claim.duplicate)
    if claim.unusable is not None or limits is None:
        why = claim.unusable or f"there is no GatewayPool {claim.pool}"
        return _stays_or_not(claim, here, Reason.UNUSABLE, why)
    if here is not None and here.pool == claim.pool:
        return _decision(claim, here, Reason.STAYS, f"stays on {here}")
    heavy = too_heavy(claim.weight, limits)
    return None if heavy is None else _stays_or_not(claim, here, Reason.TOO_LARGE, heavy)


def search(claim: Claim, holders: Sequence[ShardId], loads: Mapping[int, Load], limits: Limits) -> Decision:
    """Where a plant that needs a place is to be.

    Args:
        claim: The plant.
        holders: Gateways that may run its plant id still, although no bundle lists it.
        loads: What the shards of its pool carry, by number.
        limits: Of its pool.
    """
    waits_for = tuple(shard for shard in holders if str(shard) not in claim.released)
    if len(waits_for) == 1 and waits_for[0].pool == claim.pool:
        message = f"stays on {waits_for[0]}, which has not let go of it"
        return _decision(claim, waits_for[0], Reason.STAYS, message)
    if waits_for:
        who = " and ".join(map(str, waits_for))
        message = f"runs nowhere until {who} has let go of it"
        return _decision(claim, None, Reason.MOVING, message, waits_for)
    number = first_with_room(claim.weight, loads, limits)
    if number is None:
        shard = ShardId(claim.pool, lowest_free(loads))
        why = "a new gateway, as no other has room" if loads else "a new gateway, the first of its pool"
    else:
        shard, why = ShardId(claim.pool, number), "the first gateway with room"
    return _decision(claim, shard, Reason.PLACED, f"placed on {shard}, {why}")


def _stays_or_not(claim: Claim, here: ShardId | None, reason: Reason, why: str) -> Decision:
    message = f"not placed: {why}" if here is None else f"stays on {here} as it was: {why}"
    return _decision(claim, here, reason, message)


def _decision(
    claim: Claim, shard: ShardId | None, reason: Reason, message: str, waits_for: tuple[ShardId, ...] = ()
) -> Decision:
    return Decision(plant=claim.plant, shard=shard, reason=reason, message=message, waits_for=waits_for)


def place(claims: Iterable[Claim], limits: Mapping[str, Limits], seen: Iterable[Seen]) -> Placement:
    """Where every plant of a namespace is to be; the same in whatever order things are given.

    Args:
        claims: Every Plant there is, once.
        limits: Of every pool that a claim which is not unusable names.
        seen: Every shard of which a bundle, a StatefulSet or a pod is there.
    """
    return _Placing(sorted(claims, key=lambda claim: claim.plant), limits, seen).run()


class _Placing:
    def __init__(self, claims: Sequence[Claim], limits: Mapping[str, Limits], seen: Iterable[Seen]) -> None:
        self._claims = claims
        self._limits = limits
        self._seen = {each.shard: each for each in sorted(seen, key=lambda each: each.shard)}
        self._listed: dict[tuple[str, str], list[ShardId]] = defaultdict(list)
        for shard, each in self._seen.items():
            for plant in each.plants.items():
                self._listed[plant].append(shard)
        self._decisions: dict[str, Decision] = {}
        self._plants: dict[ShardId, dict[str, Claim]] = {shard: {} for shard in self._seen}
        self._leaving: dict[ShardId, dict[str, Leaving]] = {}
        self._holders: dict[str, list[ShardId]] = defaultdict(list)
        self._waited_for: set[ShardId] = set()
        self._unknown = [shard for shard, each in self._seen.items() if not each.is_known]

    def run(self) -> Placement:
        homeless = [claim for claim in self._claims if not self._settle(claim)]
        for shard in self._seen:
            self._note_leaving(shard)
        loads: dict[str, dict[int, Load]] = defaultdict(dict)
        for shard, plants in self._plants.items():
            notes = len(self._leaving[shard])
            loads[shard.pool][shard.number] = load_of((c.weight for c in plants.values()), leaving=notes)
        for claim in homeless:
            self._find_place(claim, loads)
        return Placement(
            decisions={claim.plant: self._decisions[claim.plant] for claim in self._claims},
            shards={shard: self._shard(shard, loads) for shard in sorted(self._plants)},
        )

    def _settle(self, claim: Claim) -> bool:
        """Decide what can be decided without looking for a place. Whether that was all."""
        listed = self._listed.get((claim.plant, claim.plant_id), [])
        decision = stay(claim, listed, self._limits.get(claim.pool))
        if decision is not None:
            self._take(claim, decision)
        return decision is not None

    def _note_leaving(self, shard: ShardId) -> None:
        """What the shard's bundle drops now or has dropped before, unless it is known to be gone."""
        seen, kept = self._seen[shard], self._plants[shard]
        dropped = {
            plant_id: Leaving(plant=plant, plant_id=plant_id, since=0)
            for plant, plant_id in seen.plants.items()
            if plant not in kept or kept[plant].plant_id != plant_id
        }
        notes = {left.plant_id: left for left in seen.leaving} | dropped
        self._leaving[shard] = {
            plant_id: left for plant_id, left in sorted(notes.items()) if not has_let_go(seen, left)
        }
        for plant_id in self._leaving[shard]:
            self._holders[plant_id].append(shard)

    def _find_place(self, claim: Claim, loads: dict[str, dict[int, Load]]) -> None:
        holders = sorted({*self._holders.get(claim.plant_id, []), *self._unknown})
        decision = search(claim, holders, loads[claim.pool], self._limits[claim.pool])
        self._take(claim, decision)
        self._waited_for.update(decision.waits_for)
        if decision.shard is not None:
            there = loads[decision.shard.pool]
            number = decision.shard.number
            there[number] = there.get(number, load_of(())).plus(claim.weight)
            self._leaving.get(decision.shard, {}).pop(claim.plant_id, None)

    def _take(self, claim: Claim, decision: Decision) -> None:
        self._decisions[claim.plant] = decision
        if decision.shard is not None:
            self._plants.setdefault(decision.shard, {})[claim.plant] = claim

    def _shard(self, shard: ShardId, loads: Mapping[str, Mapping[int, Load]]) -> ShardPlan:
        load, limits = loads[shard.pool][shard.number], self._limits.get(shard.pool)
        leaving = tuple(self._leaving.get(shard, {}).values())
        return ShardPlan(
            shard=shard,
            plants=tuple(sorted(self._plants[shard])),
            load=load,
            over=() if limits is None else over_limits(load, limits),
            leaving=leaving,
            remove=not self._plants[shard] and not self._is_needed(shard, leaving),
        )

    def _is_needed(self, shard: ShardId, leaving: Sequence[Leaving]) -> bool:
        """Whether an empty shard is still to let go of something in good order, is waited for, or is not known to be empty."""
        seen = self._seen[shard]
        return shard in self._waited_for or not seen.is_known or (bool(leaving) and seen.status is not None)
