"""What is wrong between plants that run side by side, although each is right in itself."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from voke_api.problems import Path, Problem, Severity
from voke_api.resources.plant import Plant

Endpoint = str
"""Host, in lower case, and port of a PLC, such as ``10.20.3.11:502``."""


def check_fleet(
    plants: Sequence[Plant], holds: Mapping[str, Collection[Endpoint]] = MappingProxyType({})
) -> list[Problem]:
    """Names, plant ids and PLC endpoints that are used more than once; as :func:`endpoint_problems`."""
    return [*_names(plants), *_plant_ids(plants), *endpoint_problems(plants, holds)]


def _names(plants: Iterable[Plant]) -> Iterable[Problem]:
    seen: set[str] = set()
    for plant in plants:
        name = plant.metadata.name
        if name in seen:
            yield _problem(
                plant, ("metadata", "name"), "another Plant has this name; each needs its own", name
            )
        seen.add(name)


def _plant_ids(plants: Iterable[Plant]) -> Iterable[Problem]:
    owners: dict[str, Plant] = {}
    for plant in plants:
        owner = owners.setdefault(plant.spec.plant_id, plant)
        if owner.metadata.name != plant.metadata.name:
            yield duplicate_plant_id(plant, owner)


def duplicate_plant_id(plant: Plant, owner: Plant) -> Problem:
    """That ``owner`` has the plantId of ``plant`` and is in the right."""
    elsewhere = owner.metadata.namespace != plant.metadata.namespace
    who = (
        f"{owner.metadata.name} in the namespace {owner.metadata.namespace}"
        if elsewhere
        else owner.metadata.name
    )
    message = f"Plant {who} has this plantId already; two would take each other's session at Voke"
    return _problem(plant, ("spec", "plantId"), message, plant.spec.plant_id)


def endpoints(plant: Plant) -> tuple[Endpoint, ...]:
    """The PLCs that a plant connects to, each once; a suspended one connects to none."""
    found = (connection.modbus_tcp for connection in plant.spec.connections if not plant.spec.suspend)
    return tuple(dict.fromkeys(endpoint(tcp.host, tcp.port) for tcp in found if tcp is not None))


def endpoint(host: str, port: int) -> Endpoint:
    """A PLC as it is compared: the name is not resolved. Interned, for a fleet has many and each in several places."""
    return sys.intern(f"{host.lower()}:{port}")


def endpoint_taken(place: Endpoint, owner: str) -> str:
    """That the Plant ``owner`` connects to a PLC, so that no other Plant of its gateway may."""
    return (
        f"Plant {owner} connects to {place} already, and a PLC is read and written by one Plant: put the devices of "
        "both into one Plant, or reach those of this one by another address or port"
    )


def endpoint_problems(
    plants: Sequence[Plant], holds: Mapping[str, Collection[Endpoint]] = MappingProxyType({})
) -> Iterator[Problem]:
    """PLCs that two connections lead to.

    Between two Plants of one pool the PLC belongs to the one that has it already, else to the one that comes first. Those
    of different pools may mean different PLCs, in different networks.

    Args:
        plants: In order of who is in the right.
        holds: What each has at this moment, by name.
    """
    owners = {
        (*_pool(plant), place): plant
        for plant in plants
        for place in endpoints(plant)
        if place in holds.get(plant.metadata.name, ())
    }
    anywhere: dict[Endpoint, Plant] = {}
    for plant in plants:
        first = {place: owners.setdefault((*_pool(plant), place), plant) for place in endpoints(plant)}
        taken = {place: owner.metadata.name for place, owner in first.items() if owner is not plant}
        yield from taken_endpoints(plant, taken)
        for path, place in _places(plant):
            other = anywhere.setdefault(place, plant)
            if place not in taken and _pool(other) != _pool(plant):
                message = (
                    f"Plant {other.metadata.name} connects to {place} too, from another pool: if that is the same PLC, put "
                    "the devices of both into one Plant; two plants that write to one PLC undo each other, and a gateway "
                    "that has both, such as voke run, runs one of the two"
                )
                yield _problem(plant, path, message, place.rpartition(":")[0], Severity.WARNING)


def taken_endpoints(plant: Plant, taken: Mapping[Endpoint, str]) -> Iterator[Problem]:
    """PLCs of one Plant that it cannot have: two of its own connections lead there, or another Plant has it.

    Args:
        plant: The Plant.
        taken: Which other Plant has a PLC.
    """
    own: dict[Endpoint, str] = {}
    for index, connection in enumerate(plant.spec.connections):
        tcp = connection.modbus_tcp
        if tcp is None:
            continue
        place = endpoint(tcp.host, tcp.port)
        first = own.setdefault(place, connection.name)
        if first != connection.name:
            message = f"connection {first} goes to {place} already; let its devices share one connection"
        elif place in taken:
            message = endpoint_taken(place, taken[place])
        else:
            continue
        yield _problem(plant, _path(index), message, tcp.host)


def _places(plant: Plant) -> Iterator[tuple[Path, Endpoint]]:
    """Where a plant says that it connects to a PLC, of each the first; a suspended one connects to none."""
    left = set(endpoints(plant))
    for index, connection in enumerate(plant.spec.connections):
        tcp = connection.modbus_tcp
        if tcp is not None and (place := endpoint(tcp.host, tcp.port)) in left:
            left.remove(place)
            yield _path(index), place


def _path(connection: int) -> Path:
    return ("spec", "connections", connection, "modbusTcp", "host")


def _pool(plant: Plant) -> tuple[str, str]:
    """Plants of one pool are in one network."""
    return plant.metadata.namespace, plant.spec.pool


def _problem(
    plant: Plant, path: Path, message: str, value: str, severity: Severity = Severity.ERROR
) -> Problem:
    return Problem(
        path=path,
        message=message,
        value=value,
        severity=severity,
        kind="Plant",
        name=plant.metadata.name,
    )
