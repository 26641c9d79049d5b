"""A meter whose registers are right, and Plants that declare it, rightly or not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.plants import PLANT_ID
from voke_api.resolve import resolve
from voke_api.resources import DeviceProfile
from voke_cli.documents import read_documents
from voke_cli.probe.facts import Guess
from voke_cli.probe.report import Places, as_document
from voke_cli.probe.run import ConnectionReport, Probe, probe_once
from voke_gateway.clock import system_clock
from voke_gateway.drivers.claims import EndpointClaims
from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.server import ModbusServer, Unit

Json = dict[str, Any]
FIRST = 40
"""The meter's lowest register."""

POINTS: list[Json] = [
    {"field": "voltageV", "table": "input", "address": 40, "type": "float32", "decimals": 1, "unit": "V"},
    {"field": "currentA", "table": "input", "address": 42, "type": "int16", "scale": 0.1, "unit": "A"},
    {"field": "frequencyHz", "table": "input", "address": 43, "type": "uint16", "scale": 0.01, "unit": "Hz"},
    {"field": "activePowerW", "table": "input", "address": 44, "type": "int32", "unit": "W"},
    {"field": "energyKwh", "table": "input", "address": 46, "type": "uint32", "scale": 0.1, "unit": "kWh"},
    {"field": "temperatureC", "table": "input", "address": 48, "type": "int16", "scale": 0.1, "unit": "°C"},
    {"field": "socPercent", "table": "input", "address": 49, "type": "uint16", "scale": 0.1, "unit": "%"},
    {"field": "serialNumber", "table": "input", "address": 50, "type": "string", "length": 10},
    {"field": "running", "table": "coil", "address": 7, "type": "bool"},
]


def registers(first: int = FIRST, count: int = 20) -> Registers:
    """The registers that the points describe; whatever lies beyond them is not there."""
    table = Registers(count, first=first)
    table.put(first + 0, "float32", 231.7)
    table.put(first + 2, "int16", 123)
    table.put(first + 3, "uint16", 5001)
    table.put(first + 4, "int32", -1500)
    table.put(first + 6, "uint32", 1234567)
    table.put(first + 8, "int16", 235)
    table.put(first + 9, "uint16", 755)
    table.put_text(first + 10, "ACME-12345", 10)
    return table


def meter() -> Unit:
    """The meter: input registers and coils."""
    coils = Bits(16)
    coils.put(7, True)
    return Unit(Bank(input=registers(), coil=coils))


def declared(*only: str, **changes: Json) -> list[Json]:
    """The points, or ``only`` some, with keys changed by field; None takes a key out."""
    points = copy.deepcopy([point for point in POINTS if not only or point["field"] in only])
    for point in points:
        point.update(changes.get(point["field"], {}))
    return [{key: value for key, value in point.items() if value is not None} for point in points]


def shifted(by: int, *only: str) -> list[Json]:
    """The points of the input table with another address."""
    return [
        point | {"address": point["address"] + by} for point in declared(*only) if point["table"] == "input"
    ]


def device(points: list[Json], **more: Any) -> Json:
    """The meter as a device of a Plant."""
    return {"externalId": "M1", "type": "METER", "connection": "plc1", "points": points, **more}


def document(port: int, *devices: Json, **connection: Any) -> Json:
    """A Plant with one connection."""
    tcp = {"host": "127.0.0.1", "port": port, "timeout": "2s", **connection}
    return {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "Plant",
        "metadata": {"name": "site"},
        "spec": {
            "plantId": PLANT_ID,
            "auth": {"method": "MTLS"},
            "telemetry": {"interval": "1s"},
            "connections": [{"name": "plc1", "modbusTcp": tcp}],
            "devices": list(devices),
        },
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe found."""

    reports: list[ConnectionReport]
    json: Json

    @property
    def guesses(self) -> list[tuple[str, Guess]]:
        """All guesses and what each is about: a field, a device or a connection."""
        return list(self._guesses())

    def _guesses(self) -> Iterator[tuple[str, Guess]]:
        for report in self.reports:
            yield from ((report.spec.name, each) for each in report.guesses)
            for one in report.devices:
                yield from ((one.device.external_id, each) for each in one.guesses.device)
                for field, found in one.guesses.points.items():
                    yield from ((field, each) for each in found)

    def said(self) -> list[tuple[str, str, Json]]:
        """About what, which kind, and the keys of the first change."""
        return [(about, each.kind, dict(each.changes[0].keys)) for about, each in self.guesses]

    @property
    def values(self) -> Json:
        """All values that were read."""
        return {
            field: value
            for report in self.reports
            for one in report.devices
            for field, value in one.facts.values.items()
        }

    @property
    def extra_reads(self) -> int:
        return sum(report.extra_reads for report in self.reports)


async def probed(
    directory: Path, *documents: Json, standard_port: int = 1, claims: EndpointClaims | None = None
) -> Outcome:
    """What a probe of these documents finds; they are written to a file and read as a person's."""
    path = directory / "plant.json"
    path.write_text(json.dumps({"kind": "List", "items": documents}))
    found = read_documents([path])
    assert not found.problems, found.problems
    profiles: dict[str, DeviceProfile] = found.profiles
    plants = []
    for plant in found.plants:
        resolved, problems = resolve(plant, profiles, None)
        assert resolved is not None, problems
        plants.append((resolved, frozenset[str]()))
    probe = Probe(
        plants,
        claims=claims or EndpointClaims("voke probe", directory / "locks"),
        wall_clock=system_clock,
        standard_port=standard_port,
    )
    reports = await probe_once(probe)
    return Outcome(reports, as_document(reports, Places(found)))


def never_written(server: ModbusServer) -> bool:
    """Nobody has written, or tried to."""
    return not server.writes and set(server.stats.by_function) <= {1, 2, 3, 4}
