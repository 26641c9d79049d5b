"""What a probe found, as rows for people and as JSON for scripts; where in the files a change belongs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from voke_api.blocks import Item
from voke_api.problems import Path, Problem, dotted
from voke_api.resources import DeviceProfile, Plant
from voke_cli.documents import Documents
from voke_cli.probe.facts import Change, Guess
from voke_cli.probe.places import words_of
from voke_cli.probe.plausible import as_text
from voke_cli.probe.run import ConnectionReport, DeviceReport
from voke_gateway.drivers.base import Fault, Value
from voke_gateway.drivers.modbus.frames import span

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One point, or a cabinet's mask."""

    field: str
    address: str
    words: tuple[int, ...] | None
    raw: str
    """Registers in hex, bits as 0 and 1; empty if nothing came."""
    value: Value | None
    unit: str
    fault: Fault | None
    guesses: tuple[Guess, ...]


def rows(report: DeviceReport) -> list[Row]:
    """A device's points in the order of the file; of a cabinet its mask."""
    device = report.device
    if device.mask:
        return [_mask_row(report)]
    return [_point_row(report, item) for item in report.facts.items()]


def yaml_of(change: Change) -> str:
    """The keys to write, as YAML: ``wordOrder: little``."""
    return ", ".join(
        f"(take out {key})" if value is None else f"{key}: {_yaml(value)}"
        for key, value in change.keys.items()
    )


class Places:
    """Where in the files a plant's points and connections are."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._plants: Mapping[str, Plant] = {plant.metadata.name: plant for plant in documents.plants}

    def of(self, plant_name: str, connection: str, device_id: str, change: Change) -> Problem:
        """The place of a change: resource, path, file and line."""
        plant = self._plants[plant_name]
        resource: tuple[str, str] = ("Plant", plant_name)
        names = [device.external_id for device in plant.spec.devices]
        path: Path = ("spec", "devices", names.index(device_id) if device_id else 0)
        if change.target == "connection":
            index = [each.name for each in plant.spec.connections].index(connection)
            path = ("spec", "connections", index, "modbusTcp")
        elif change.target == "point":
            profile, path = self._point(plant, path, change.field)
            resource = ("DeviceProfile", profile.metadata.name) if profile is not None else resource
        elif change.target in {"limits", "raw"}:
            path = (*path, change.target)
        kind, name = resource
        return self._documents.locate(Problem(path=path, message="", kind=kind, name=name))

    def _point(self, plant: Plant, path: Path, field: str) -> tuple[DeviceProfile | None, Path]:
        device = plant.spec.devices[int(path[-1])]
        own = [point.field for point in device.points]
        if field in own:
            return None, (*path, "points", own.index(field))
        profile = self._documents.profiles[device.profile or ""]
        return profile, ("spec", "points", [point.field for point in profile.spec.points].index(field))


def as_document(reports: list[ConnectionReport], places: Places) -> Json:
    """Everything as one object; a contract for scripts, described in docs/probe.md."""
    return {
        "ok": all(one.complete for report in reports for one in report.devices),
        "connections": [_connection(report, places) for report in reports],
    }


def _connection(report: ConnectionReport, places: Places) -> Json:
    tcp = report.spec.modbus_tcp
    assert tcp is not None
    return {
        "plant": report.plant,
        "name": report.spec.name,
        "host": tcp.host,
        "port": tcp.port,
        "requests": report.requests,
        "extraReads": report.extra_reads,
        "guesses": [_guess(each, places, report, "") for each in report.guesses],
        "devices": [_device(one, places, report) for one in report.devices],
    }


def _device(one: DeviceReport, places: Places, report: ConnectionReport) -> Json:
    device = one.device
    return {
        "externalId": device.external_id,
        "type": device.type,
        "unitId": device.unit_id,
        "ok": one.complete,
        "seconds": round(one.seconds, 4),
        "fault": _fault(one.fault),
        "guesses": [_guess(each, places, report, device.external_id) for each in one.guesses.device],
        "points": [
            {
                "field": row.field,
                "address": row.address,
                "words": None if row.words is None else list(row.words),
                "raw": row.raw,
                "value": row.value,
                "unit": row.unit or None,
                "fault": _fault(row.fault),
                "guesses": [_guess(each, places, report, device.external_id) for each in row.guesses],
            }
            for row in rows(one)
        ],
    }


def _fault(fault: Fault | None) -> Json | None:
    return None if fault is None else {"kind": str(fault.kind), "detail": fault.detail}


def _guess(guess: Guess, places: Places, report: ConnectionReport, device: str) -> Json:
    return {
        "kind": guess.kind,
        "evidence": guess.evidence,
        "changes": [
            {
                "file": place.file,
                "line": place.line,
                "kind": place.kind,
                "name": place.name,
                "path": dotted(place.path),
                "set": {key: value for key, value in change.keys.items() if value is not None},
                "remove": [key for key, value in change.keys.items() if value is None],
            }
            for change in guess.changes
            for place in (places.of(report.plant, report.spec.name, device, change),)
        ],
    }


def _point_row(report: DeviceReport, item: Item) -> Row:
    facts = report.facts
    point = facts.point(item.key)
    words = words_of(facts, item)
    registers = item.table in {"holding", "input"}
    raw = "" if words is None else as_text(words) if registers else " ".join(map(str, words))
    bit = "" if point is None or point.register_bit is None else f" bit {point.register_bit}"
    return Row(
        field=item.key,
        address=span(item.table, item.address, item.count) + bit,
        words=words,
        raw=raw,
        value=facts.values.get(item.key),
        unit="" if point is None else point.unit or "",
        fault=facts.faults.get(item.key),
        guesses=report.guesses.points.get(item.key, ()),
    )


def _mask_row(report: DeviceReport) -> Row:
    facts = report.facts
    places = list(_runs(facts.items()))
    words = [words_of(facts, item) for item in places]
    read = None if None in words else tuple(word for each in words if each is not None for word in each)
    registers = places[0].table in {"holding", "input"}
    raw = "" if read is None else as_text(read) if registers else "".join(map(str, read))
    return Row(
        field="mask",
        address=", ".join(span(place.table, place.address, place.count) for place in places),
        words=read,
        raw=raw,
        value=facts.mask,
        unit="",
        fault=next(iter(facts.faults.values()), report.fault),
        guesses=report.guesses.points.get("mask", ()),
    )


def _runs(items: tuple[Item, ...]) -> Iterator[Item]:
    """The addresses of a mask, those that follow each other put together."""
    run: Item | None = None
    for item in sorted({(i.table, i.address) for i in items}):
        table, address = item
        if run is not None and run.table == table and run.end == address:
            run = Item("mask", table, run.address, run.count + 1)
            continue
        if run is not None:
            yield run
        run = Item("mask", table, address, 1)
    if run is not None:
        yield run


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(f'0x{pattern:X}' for pattern in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
