"""What is wrong between plants that run side by side, although each is right in itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from voke_api.problems import Path, Problem, Severity
from voke_api.resources.plant import Plant


def check_fleet(plants: Sequence[Plant]) -> list[Problem]:
    """Names, plant ids and PLC endpoints that are used more than once."""
    return [*_names(plants), *_plant_ids(plants), *_endpoints(plants)]


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


def _endpoints(plants: Iterable[Plant]) -> Iterable[Problem]:
    users: dict[tuple[str, int], tuple[Plant, str]] = {}
    for plant in plants:
        for index, connection in enumerate(plant.spec.connections):
            tcp = connection.modbus_tcp
            if tcp is None:
                continue
            other, name = users.setdefault((tcp.host.lower(), tcp.port), (plant, connection.name))
            if (other, name) == (plant, connection.name):
                continue
            endpoint = f"{tcp.host}:{tcp.port}"
            path = ("spec", "connections", index, "modbusTcp", "host")
            if other is plant:
                message = (
                    f"connection {name} goes to {endpoint} already; let its devices share one connection"
                )
                yield _problem(plant, path, message, tcp.host)
            else:
                message = (
                    f"Plant {other.metadata.name} connects to {endpoint} too, as {name}; many PLCs take few "
                    "connections, and two plants that write to one PLC undo each other: a gateway runs one of the two"
                )
                yield _problem(plant, path, message, tcp.host, Severity.WARNING)


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
