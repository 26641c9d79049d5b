"""What a gateway is to do: plants with their credentials, and what of that may not be done by two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from voke_api.fleet import Endpoint, endpoint, endpoint_taken
from voke_api.resolved import PlantCredentials, ResolvedPlant


@dataclass(frozen=True, slots=True)
class Assignment:
    """One plant to run."""

    plant: ResolvedPlant
    credentials: PlantCredentials
    claims: frozenset[str] = field(init=False, compare=False)
    """What no other plant of this gateway may use at the same time: its plant id, its PLCs' endpoints."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", frozenset(_claims(self.plant)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """All that a gateway is to do."""

    generation: int
    assignments: Mapping[str, Assignment]
    """By plant name; of a plant whose newest version cannot be used, the last that could."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a plant is not what its owner wrote, as whoever planned the work says it, by plant name."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a plant is not as it was planned, by plant name."""
    remarks: tuple[str, ...] = ()
    """What else could not be used, one sentence each."""


def without_conflicts(
    before: Mapping[str, Assignment], wanted: Mapping[str, Assignment]
) -> tuple[dict[str, Assignment], dict[str, str]]:
    """What of ``wanted`` can run side by side, and why the rest cannot, by plant.

    Where two plants claim the same, the one that has it already keeps it, else the one whose name comes first.
    The other one stays what it was ``before``, if it was anything.
    """
    chosen = dict(wanted)
    refused: dict[str, str] = {}
    for name, assignment in wanted.items():
        twice = _twice(assignment.plant)
        if twice:
            refused[name] = twice
            _fall_back(chosen, name, before)
    while True:
        conflict = _conflict(before, chosen)
        if conflict is None:
            return chosen, refused
        loser, winner, claim = conflict
        places = _endpoints(chosen[loser].plant)
        refused[loser] = (
            endpoint_taken(places[claim], winner)
            if claim in places
            else f"plant {winner} uses {claim} already, and only one plant may use it"
        )
        _fall_back(chosen, loser, before)


def _fall_back(chosen: dict[str, Assignment], name: str, before: Mapping[str, Assignment]) -> None:
    if name in before:
        chosen[name] = before[name]
    else:
        del chosen[name]


def _conflict(
    before: Mapping[str, Assignment], chosen: Mapping[str, Assignment]
) -> tuple[str, str, str] | None:
    """Loser, winner and what both claim."""
    owners = {
        claim: name
        for name, assignment in before.items()
        if name in chosen
        for claim in assignment.claims & chosen[name].claims
    }
    for name, assignment in sorted(chosen.items()):
        for claim in sorted(assignment.claims):
            owner = owners.setdefault(claim, name)
            if owner != name:
                return name, owner, claim
    return None


def _claims(plant: ResolvedPlant) -> set[str]:
    """A suspended plant uses nothing."""
    if plant.suspend:
        return set()
    return {f"plant id {plant.plant_id}", *_endpoints(plant)}


def _endpoints(plant: ResolvedPlant) -> dict[str, Endpoint]:
    """The PLCs of a plant, by claim."""
    found = (connection.modbus_tcp for connection in plant.connections)
    places = [endpoint(tcp.host, tcp.port) for tcp in found if tcp is not None]
    return {f"PLC {place}": place for place in places}


def _twice(plant: ResolvedPlant) -> str:
    """Why the plant gets in its own way; empty if it does not."""
    found = (connection.modbus_tcp for connection in plant.connections)
    counts = Counter(endpoint(tcp.host, tcp.port) for tcp in found if tcp is not None)
    place, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    return f"two connections lead to PLC {place}; let its devices share one" if count > 1 else ""
