"""How heavy plants are, and which shard has room for one.

A shard carries plants up to its pool's limits and up to what a Secret holds. The rule, of which everything
follows: a new plant goes to the first shard, by number, that has room; if none has, to a new one with the
lowest free number. Placed plants never move for the sake of balance (:mod:`voke_operator.plan.placement`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from typing import Final

from voke_api.blocks import requests_per_second
from voke_api.bundle import MAX_BYTES, PackedPlant
from voke_api.resolved import ResolvedPlant
from voke_api.resources.pool import GatewayPoolSpec

ROOM_BYTES: Final = MAX_BYTES * 4 // 5
"""New plants are placed up to here: what is left is for those that are there to grow."""
_FRAME_BYTES: Final = 512
"""Of a bundle without plants."""
_LEAVING_BYTES: Final = 256
"""Most that a note of a plant that left takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a plant costs the shard that carries it."""

    millirequests: int = 0
    """Modbus requests per 1,000 seconds: whole numbers, so that sums do not depend on their order.

    Of a suspended plant too, as it must find its place free when it is resumed.
    """
    bytes: int = 0
    """Of its own in the bundle."""
    parts: frozenset[tuple[str, int]] = frozenset()
    """Names and bytes of what it shares with others in the bundle: profiles and root certificates."""

    @property
    def requests_per_second(self) -> float:
        """Modbus requests per second."""
        return self.millirequests / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one shard of a pool carries."""

    max_plants: int = 500
    max_requests_per_second: int = 3000
    max_bytes: int = MAX_BYTES
    """Most that a bundle may have."""
    room_bytes: int = ROOM_BYTES
    """Up to where new plants are taken in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a shard carries."""

    plants: int = 0
    millirequests: int = 0
    own_bytes: int = _FRAME_BYTES
    parts: frozenset[tuple[str, int]] = field(default=frozenset(), repr=False)
    part_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Of its bundle, about."""
        return self.own_bytes + self.part_bytes

    @property
    def requests_per_second(self) -> float:
        """Modbus requests per second."""
        return self.millirequests / 1000

    def plus(self, weight: Weight) -> Load:
        """With one plant more."""
        new = weight.parts - self.parts
        return Load(
            plants=self.plants + 1,
            millirequests=self.millirequests + weight.millirequests,
            own_bytes=self.own_bytes + weight.bytes,
            parts=self.parts | new if new else self.parts,
            part_bytes=self.part_bytes + sum(size for _, size in new),
        )


def limits_of(pool: GatewayPoolSpec) -> Limits:
    """The limits that a pool sets."""
    return Limits(
        max_plants=pool.shard.max_plants, max_requests_per_second=pool.shard.max_requests_per_second
    )


def weigh(plant: ResolvedPlant | None, packed: PackedPlant, profile_sizes: Mapping[str, int]) -> Weight:
    """The weight of a plant.

    Args:
        plant: What a gateway is to do for it; None: that is not known, so its requests do not count.
        packed: Its file.
        profile_sizes: What each profile adds to a bundle, by name (:func:`voke_api.bundle.profile_size`).
    """
    parts = {(f"profile {name}", profile_sizes.get(name, 0)) for name in packed.profiles}
    if packed.authority is not None:
        parts.add((f"authority {sha256(packed.authority).hexdigest()}", len(packed.authority)))
    return Weight(
        millirequests=0 if plant is None else ceil(1000 * sum(requests_per_second(plant).values())),
        bytes=packed.size,
        parts=frozenset(parts),
    )


def load_of(weights: Iterable[Weight], *, leaving: int = 0) -> Load:
    """What a shard carries with these plants, and with notes of so many that left."""
    load = Load(own_bytes=_FRAME_BYTES + leaving * _LEAVING_BYTES)
    for weight in weights:
        load = load.plus(weight)
    return load


def too_heavy(weight: Weight, limits: Limits) -> str | None:
    """Why a plant fits on no shard of a pool, for people; None if it does."""
    alone = Load().plus(weight)
    if alone.requests_per_second > limits.max_requests_per_second:
        return (
            f"it needs {alone.requests_per_second:.10g} requests per second, and a gateway of this pool takes "
            f"{limits.max_requests_per_second}; read less often (interval, every), or raise "
            "shard.maxRequestsPerSecond of the pool"
        )
    if alone.bytes > limits.max_bytes:
        return (
            f"it takes {alone.bytes} bytes, and a gateway's bundle holds {limits.max_bytes}; put points that "
            "devices have in common into DeviceProfiles, or make two Plants of it"
        )
    return None


def has_room(load: Load, weight: Weight, limits: Limits) -> bool:
    """Whether a shard can take in a new plant. An empty one may be filled by a single large plant."""
    if load.plants >= limits.max_plants:
        return False
    if load.millirequests + weight.millirequests > 1000 * limits.max_requests_per_second:
        return False
    most = limits.room_bytes if load.plants else limits.max_bytes
    return load.bytes + weight.bytes <= most and load.plus(weight).bytes <= most


def first_with_room(weight: Weight, loads: Mapping[int, Load], limits: Limits) -> int | None:
    """The first shard, by number, that can take in a plant; None: a new one is needed."""
    return next((number for number in sorted(loads) if has_room(loads[number], weight, limits)), None)


def lowest_free(numbers: Iterable[int]) -> int:
    """The number of a new shard."""
    taken = set(numbers)
    return next(number for number in range(len(taken) + 1) if number not in taken)


def over_limits(load: Load, limits: Limits) -> tuple[str, ...]:
    """In what a shard is beyond its limits, for people: its plants have grown, or the limits were lowered."""
    found = []
    if load.plants > limits.max_plants:
        found.append(f"{load.plants} plants, of at most {limits.max_plants}")
    if load.requests_per_second > limits.max_requests_per_second:
        found.append(
            f"{load.requests_per_second:.10g} requests per second, of at most {limits.max_requests_per_second}"
        )
    if load.bytes > limits.max_bytes:
        found.append(f"a bundle of {load.bytes} bytes, of at most {limits.max_bytes}")
    return tuple(found)
