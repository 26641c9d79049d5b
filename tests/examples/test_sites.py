"""The example sites, each read by the real driver from simulated PLCs that hold known raw values."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.modbus_connections import Soonest, poll
from voke_api.problems import Severity
from voke_api.resolve import resolve
from voke_api.resolved import ResolvedPlant
from voke_cli.documents import read_documents
from voke_cli.judgement import judge
from voke_gateway.drivers.base import DeviceReading
from voke_gateway.drivers.registry import DRIVERS
from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.server import ModbusServer, Unit

EXAMPLES = Path(__file__).parents[2] / "examples"

SUNSPEC_103: dict[tuple[str, int], tuple[str, Any]] = {
    ("holding", 40052): ("text", "SN-7E1042"),
    ("holding", 40072): ("uint16", 1234),  # 12.34 A, currentSf -2
    ("holding", 40073): ("uint16", 1230),
    ("holding", 40074): ("uint16", 0xFFFF),  # not implemented
    ("holding", 40075): ("int16", -2),
    ("holding", 40079): ("uint16", 2304),
    ("holding", 40080): ("uint16", 2310),
    ("holding", 40081): ("uint16", 2297),
    ("holding", 40082): ("int16", -1),
    ("holding", 40083): ("int16", 817),  # 8170 W, powerSf 1
    ("holding", 40084): ("int16", 1),
    ("holding", 40085): ("uint16", 5002),
    ("holding", 40086): ("int16", -2),
    ("holding", 40093): ("uint32", 12_345_678),
    ("holding", 40095): ("int16", 0),
    ("holding", 40100): ("int16", 8330),
    ("holding", 40101): ("int16", 0),
    ("holding", 40102): ("int16", -55),
    ("holding", 40106): ("int16", -1),
    ("holding", 40107): ("uint16", 4),
    ("holding", 40109): ("uint32", 3),
}
INVERTER = {
    "serialNumber": "SN-7E1042",
    "currentL1A": 12.34,
    "currentL2A": 12.3,
    "currentSf": -2,
    "voltageL1V": 230.4,
    "voltageL2V": 231,
    "voltageL3V": 229.7,
    "voltageSf": -1,
    "activePowerKw": 8.17,
    "powerSf": 1,
    "frequencyHz": 50.02,
    "frequencySf": -2,
    "energyKwh": 12345.678,
    "energySf": 0,
    "dcPowerKw": 8.33,
    "dcPowerSf": 0,
    "cabinetTemperatureC": -5.5,
    "temperatureSf": -1,
    "operatingState": 4,
    "events": 3,
}
SUNSPEC_203: dict[tuple[str, int], tuple[str, Any]] = {
    ("holding", 40078): ("int16", 23010),
    ("holding", 40079): ("int16", 22990),
    ("holding", 40080): ("int16", 23100),
    ("holding", 40085): ("int16", -2),
    ("holding", 40086): ("int16", 4998),
    ("holding", 40087): ("int16", -2),
    ("holding", 40088): ("int16", -4321),
    ("holding", 40092): ("int16", 0),
    ("holding", 40108): ("uint32", 3_000_000_001),
    ("holding", 40116): ("uint32", 70),
    ("holding", 40124): ("int16", 1),
}
METER = {
    "voltageL1V": 230.1,
    "voltageL2V": 229.9,
    "voltageL3V": 231,
    "voltageSf": -2,
    "frequencyHz": 49.98,
    "frequencySf": -2,
    "activePowerKw": -4.321,
    "powerSf": 0,
    "energyExportKwh": 30000000.01,
    "energyImportKwh": 0.7,
    "energySf": 1,
}
STOREBOX: dict[tuple[str, int], tuple[str, Any]] = {
    ("input", 100): ("uint16", 873),
    ("input", 101): ("uint16", 0xFFFF),
    ("input", 102): ("uint16", 0xF0D8),  # -3880 = 0xFFFFF0D8, low word first
    ("input", 103): ("uint16", 0xFFFF),
    ("input", 104): ("int16", 253),
    ("input", 110): ("uint16", 0b0010_0001),
    ("input", 111): ("uint16", 7),
    ("holding", 200): ("uint16", 0x1388),
    ("holding", 201): ("uint16", 0),
}
BATTERY = {
    "socPercent": 87.3,
    "batteryPowerW": -3880,
    "cellTemperatureC": 25.3,
    "contactorClosed": True,
    "operatingMode": 2,
    "faultCode": 7,
    "setpointW": 5000,
}


def string_inverter(number: int) -> dict[tuple[str, int], tuple[str, Any]]:
    """An inverter of the park, as its map says: 32- and 64-bit values with the low word first."""
    power, energy = 1000 * number + 1, 5_000_000_000 + number
    return {
        ("input", 3): ("uint16", power & 0xFFFF),
        ("input", 4): ("uint16", power >> 16),
        ("input", 5): ("uint16", 0xFFFF - number),  # -(number + 1)
        ("input", 6): ("uint16", 0xFFFF),
        ("input", 7): ("uint16", 4995),
        ("input", 8): ("uint16", 400 + number),
        ("input", 10): ("int16", 10 * number),
        ("input", 11): ("int16", -1),
        **{("input", 16 + word): ("uint16", energy >> 16 * word & 0xFFFF) for word in range(4)},
        ("holding", 500): ("uint16", number % 2),
    }


def string_values(number: int) -> dict[str, Any]:
    return {
        "activePowerKw": round(number + 0.001, 3),
        "reactivePowerKvar": round(-(number + 1) / 1000, 3),
        "frequencyHz": 49.95,
        "temperatureC": round(number / 10, 1),
        "string1A": round(number / 10, 1),
        "string2A": -0.01,
        "energyKwh": round(5_000_000 + number / 1000, 3),
        "faultCode": number % 2,
    }


PARK_METER: dict[tuple[str, int], tuple[str, Any]] = {
    ("holding", 0): ("float32", 612.3456),
    ("holding", 2): ("float32", -0.0625),
    ("holding", 10): ("float64", 98765432.25),
}
# Each register's bytes are swapped: 1.5 is 0x3FC00000, so the registers read C03F 0000.
FEEDER: dict[tuple[str, int], tuple[str, Any]] = {
    ("input", 0): ("uint16", 0xC03F),
    ("input", 1): ("uint16", 0x0000),
    ("input", 2): ("uint16", 0x80BF),  # -1.0 is 0xBF800000
    ("input", 3): ("uint16", 0x0000),
    ("input", 8): ("int64", -12345),
    ("discrete", 5): ("bool", True),
}
FEEDER_VALUES = {"activePowerKw": 1.5, "reactivePowerKvar": -1, "energyKwh": -1234.5, "breakerClosed": True}
CABINETS: dict[tuple[str, int], tuple[str, Any]] = {
    **{("discrete", address): ("bool", address in {0, 2, 23}) for address in range(24)},
    ("holding", 70): ("uint16", 0x0001),  # low word first: 0x80020001
    ("holding", 71): ("uint16", 0x8002),
    ("holding", 80): ("uint16", 1 << 7),
    ("holding", 81): ("uint16", 1 << 15),
    ("input", 12): ("uint16", 1 << 8),
    ("coil", 3): ("bool", True),
    ("discrete", 40): ("bool", False),
}
R3 = 1 << 1 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 31
"""Mains gone, charger faulty, door not closed, no fire, water, lights on, telephone line dead."""

Content = dict[tuple[str, int], tuple[str, Any]]
SITES: dict[str, tuple[dict[tuple[str, int], Content], dict[str, Any]]] = {
    "hybrid-site": (
        {("inverter", 1): SUNSPEC_103, ("inverter", 2): STOREBOX, ("meter", 1): SUNSPEC_203},
        {"INV1": INVERTER, "BAT1": BATTERY, "M1": METER},
    ),
    "pv-park": (
        {("meter", 1): PARK_METER, **{("logger", n): string_inverter(n) for n in range(1, 25)}},
        {
            "M1": {"activePowerKw": 612.346, "reactivePowerKvar": -0.062, "energyExportKwh": 98765432.2},
            **{f"INV{n:02}": string_values(n) for n in range(1, 25)},
        },
    ),
    "substation": (
        {("rtu", 1): CABINETS, ("rtu", 2): FEEDER, ("rtu", 3): FEEDER},
        {
            "R1": 1 << 0 | 1 << 2 | 1 << 23,
            "R2": 0x80020001,
            "R3": R3,
            "GRID-E1": FEEDER_VALUES,
            "GRID-E2": FEEDER_VALUES,
        },
    ),
}
"""For each site: what its PLCs hold, by connection and unit id, and what has to come out, by device."""
UNREAD = {"INV1": {"currentL3A"}, "BAT1": {"sohPercent"}}
"""Fields for which the device says that it has no value."""


def bank(content: Content) -> Bank:
    """Tables that reach exactly from the first to the last address that is used."""
    tables: dict[str, Any] = {}
    for name in ("holding", "input", "coil", "discrete"):
        addresses = [address for table, address in content if table == name]
        if addresses:
            room = max(addresses) - min(addresses) + (32 if name in {"holding", "input"} else 1)
            tables[name] = (Registers if name in {"holding", "input"} else Bits)(room, min(addresses))
    for (table, address), (kind, value) in content.items():
        if kind == "bool":
            tables[table].put(address, value)
        elif kind == "text":
            tables[table].put_text(address, value, 32)
        else:
            tables[table].put(address, kind, value)
    return Bank(**tables)


@asynccontextmanager
async def opened(site: str) -> AsyncIterator[tuple[ResolvedPlant, dict[str, ModbusServer]]]:
    """The site's plant with its connections led to simulated PLCs on this machine."""
    documents = read_documents([EXAMPLES / site])
    plant, _ = resolve(documents.plants[0], documents.profiles, None)
    assert plant is not None
    contents = SITES[site][0]
    async with AsyncExitStack() as stack:
        servers = {
            connection.name: await stack.enter_async_context(
                ModbusServer(
                    {
                        unit: Unit(bank(each))
                        for (name, unit), each in contents.items()
                        if name == connection.name
                    },
                    max_connections=1,
                )
            )
            for connection in plant.connections
        }
        here = []
        for connection in plant.connections:
            assert connection.modbus_tcp is not None
            place = {"host": servers[connection.name].host, "port": servers[connection.name].port}
            settings = connection.modbus_tcp.model_copy(update=place)
            here.append(connection.model_copy(update={"modbus_tcp": settings}))
        yield replace(plant, connections=tuple(here)), servers


async def read(plant: ResolvedPlant) -> dict[str, DeviceReading]:
    """One pass over every connection."""
    readings: dict[str, DeviceReading] = {}
    for spec in plant.connections:
        devices = [device for device in plant.devices if device.connection == spec.name]
        connection = DRIVERS["modbus_tcp"](spec, devices, wall_clock=time.time, random=Soonest())
        try:
            readings |= await poll(connection, *(device.external_id for device in devices))
        finally:
            await connection.close()
    return readings


@pytest.mark.parametrize("site", SITES)
async def test_every_point_of_the_site_comes_out_as_its_device_means_it(site: str) -> None:
    expected = SITES[site][1]
    async with opened(site) as (plant, servers):
        readings = await read(plant)
        assert set(readings) == {device.external_id for device in plant.devices} == set(expected)
        for device in plant.devices:
            name, reading = device.external_id, readings[device.external_id]
            assert reading.fault is None, (name, reading.fault)
            if isinstance(expected[name], int):
                assert reading.mask == expected[name], name
                continue
            assert reading.values == expected[name], name
            assert set(reading.faults) == UNREAD.get(name, set()), name
            declared = {point.field for point in device.points}
            assert declared == set(expected[name]) | UNREAD.get(name, set()), name
        assert not any(server.stats.exceptions for server in servers.values())


@pytest.mark.parametrize("site", SITES)
def test_the_site_passes_the_check_with_explained_warnings_only(site: str) -> None:
    judgement = judge([EXAMPLES / site], now=datetime.now(UTC))
    errors = [problem for problem in judgement.problems if problem.severity is Severity.ERROR]
    warnings = {problem.name for problem in judgement.problems if problem.severity is Severity.WARNING}
    assert judgement.ok, errors
    # SunSpec's addresses begin at 40000 on the wire; the site's README says so.
    assert warnings == ({"sunspec-inverter-103", "sunspec-meter-203"} if site == "hybrid-site" else set())
    assert all("did you mean" in problem.message for problem in judgement.problems)


def test_there_is_no_example_that_is_not_tested() -> None:
    cluster = {"cluster"}  # test_cluster.py
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == set(SITES) | cluster


async def test_a_scale_factor_that_changes_is_followed() -> None:
    async with opened("hybrid-site") as (plant, servers):
        holding = servers["inverter"].units[1].bank.holding
        assert holding is not None
        holding.put(40084, "int16", -1)
        assert (await read(plant))["INV1"].values["activePowerKw"] == 0.0817
        holding.put(40084, "int16", -0x8000)
        reading = (await read(plant))["INV1"]
        assert "activePowerKw" not in reading.values
        assert "activePowerKw" in reading.faults


async def test_one_dead_inverter_of_the_park_costs_the_others_nothing() -> None:
    async with opened("pv-park") as (plant, servers):
        del servers["logger"].units[7]
        readings = await read(plant)
        assert readings["INV07"].fault is not None
        assert sum(reading.fault is None for reading in readings.values()) == 24


async def test_a_cabinet_with_an_unread_bit_is_left_out_whole() -> None:
    async with opened("substation") as (plant, servers):
        servers["rtu"].units[1].bank.coil = None
        readings = await read(plant)
        assert readings["R3"].mask is None
        assert readings["R1"].mask == SITES["substation"][1]["R1"]
