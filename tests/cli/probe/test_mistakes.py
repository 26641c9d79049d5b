"""One mistake at a time, built into a Plant or a device, and what the probe makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cli.probe.meters import (
    FIRST,
    Json,
    declared,
    device,
    document,
    meter,
    never_written,
    probed,
    registers,
    shifted,
)
from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.faults import AcceptThenClose, MaxRegisters, RefusedBlock, Slow
from voke_sim.plc.faults import Fault as SimFault
from voke_sim.plc.server import ModbusServer, Unit


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and the guess that is to be made: about what, of which kind, which keys to write."""

    name: str
    device: Json
    about: str
    kind: str
    keys: Json
    unit: Callable[[], Unit] = meter
    faults: tuple[SimFault, ...] = ()
    connection: Json = field(default_factory=dict)
    at: int = 1
    """The device's real unit id."""
    best: bool = True
    """The guess is the best of its place; else one of the two."""
    others: frozenset[str] = frozenset()
    """What else is wrong."""


def _wrong(name: str, about: str, kind: str, keys: Json, changes: Json, **more: Any) -> Mistake:
    """One point is declared wrongly."""
    points = declared(**{about: changes})
    return Mistake(name, device(points), about, kind, keys, **more)


def _unit(**put: tuple[int, str, float]) -> Callable[[], Unit]:
    """The meter with other numbers in some registers: address, type, number."""

    def make() -> Unit:
        unit = meter()
        assert unit.bank.input is not None
        for address, kind, number in put.values():
            unit.bank.input.put(address, kind, number)  # type: ignore[arg-type]
        return unit

    return make


def _only(**tables: Any) -> Callable[[], Unit]:
    return lambda: Unit(Bank(**{name: make() for name, make in tables.items()}))


def _voltages(word_order: str, by: int = 0) -> list[Json]:
    point = {"table": "input", "type": "float32", "wordOrder": word_order, "unit": "V"}
    return [point | {"field": f"u{n}", "address": 40 + 2 * n + by} for n in range(6)]


def _row() -> Unit:
    table = Registers(13, first=40)
    for n in range(6):
        table.put(40 + 2 * n, "float32", 229.3 + 0.7 * n)
    return Unit(Bank(input=table))


def _swapped_text() -> Unit:
    unit = meter()
    assert unit.bank.input is not None
    unit.bank.input.put_text(50, "ACME-1234", 10, byte_order="little")
    return unit


def _flag_in_register() -> Unit:
    holding = Registers(16)
    holding.put_bit(7, 0, True)
    return Unit(Bank(input=registers(), holding=holding))


def _at_zero() -> Registers:
    table = Registers(200)
    table.put_text(0, "SunS", 4)
    table.put(70, "uint16", 2317)
    table.put(71, "uint16", 5001)
    return table


def _sunspec() -> Registers:
    table = Registers(200, first=40000)
    table.put_text(40000, "SunS", 4)
    for address, word in ((70, 2317), (71, 5001)):
        table.put(40000 + address, "uint16", word)
    return table


SUNSPEC: list[Json] = [
    {"field": "voltageV", "table": "holding", "address": 70, "type": "uint16", "scale": 0.1, "unit": "V"},
    {
        "field": "frequencyHz",
        "table": "holding",
        "address": 71,
        "type": "uint16",
        "scale": 0.01,
        "unit": "Hz",
    },
]
ONE = ("voltageV",)

MISTAKES = [
    _wrong("word order of a float", "voltageV", "word-order", {"wordOrder": "big"}, {"wordOrder": "little"}),
    _wrong("byte order of a float", "voltageV", "byte-order", {"byteOrder": "big"}, {"byteOrder": "little"}),
    _wrong(
        "byte and word order of a float",
        "voltageV",
        "word-and-byte-order",
        {"wordOrder": "big", "byteOrder": "big"},
        {"wordOrder": "little", "byteOrder": "little"},
    ),
    _wrong("word order of an integer", "activePowerW", "word-order", {"wordOrder": "big"}, {"wordOrder": "little"}),
    _wrong("word order of a small counter", "energyKwh", "word-order", {"wordOrder": "big"},
        {"wordOrder": "little"}, unit=_unit(energy=(46, "uint32", 4321))),
    _wrong("an integer that is a float", "voltageV", "type", {"type": "float32"}, {"type": "uint32", "decimals": None}),
    _wrong(
        "a float that is an integer",
        "energyKwh",
        "type",
        {"type": "uint32"},
        {"type": "float32"},
    ),
    _wrong(
        "a signed number declared unsigned",
        "activePowerW",
        "type",
        {"type": "int32"},
        {"type": "uint32"},
    ),
    _wrong(
        "a small negative declared unsigned",
        "currentA",
        "type",
        {"type": "int16"},
        {"type": "uint16"},
        unit=_unit(current=(42, "int16", -2)),
    ),
    _wrong(
        "65535 that is no value",
        "socPercent",
        "no-value",
        {"invalid": [0xFFFF]},
        {},
        unit=_unit(soc=(49, "uint16", 0xFFFF)),
    ),
    _wrong(
        "0x8000 that is no value",
        "temperatureC",
        "no-value",
        {"invalid": [0x8000]},
        {},
        unit=_unit(temperature=(48, "int16", -32768)),
    ),
    _wrong(
        "65535 that is minus one",
        "currentA",
        "type",
        {"type": "int16"},
        {"type": "uint16"},
        unit=_unit(current=(42, "int16", -1)),
        best=False,
    ),
    _wrong("scale off by 100", "frequencyHz", "scale", {"scale": 0.01}, {"scale": None}),
    _wrong("scale off by 10", "socPercent", "scale", {"scale": 0.1}, {"scale": None}),
    _wrong(
        "32 bits declared as 64", "voltageV", "type", {"type": "float32"}, {"type": "float64"}
    ),
    _wrong(
        "64 bits declared as 32",
        "frequencyHz",
        "type",
        {"type": "float64"},
        {"type": "float32", "address": 55, "scale": None},
        unit=_unit(frequency=(55, "float64", 50.02)),
    ),
    _wrong(
        "a byte-swapped string", "serialNumber", "byte-order", {"byteOrder": "little"}, {}, unit=_swapped_text
    ),
    _wrong(
        "a register's bit declared as a coil",
        "running",
        "bit-or-register",
        {"table": "holding", "registerBit": 0},
        {},
        unit=_flag_in_register,
    ),
    _wrong(
        "a coil declared as a register's bit",
        "running",
        "bit-or-register",
        {"table": "coil", "registerBit": None},
        {"table": "holding", "registerBit": 0},
    ),
    _wrong("a discrete input declared as a coil", "running", "table", {"table": "discrete"}, {},
        unit=lambda: Unit(Bank(input=registers(), discrete=_on(7)))),
    _wrong("one address of 40001 style", "currentA", "data-sheet-address", {"address": 42}, {"address": 30043}),
    _wrong("a frequency one address too high", "frequencyHz", "off-by-one", {"address": 43}, {"address": 44}, best=False),
    _wrong("a frequency one address too low", "frequencyHz", "off-by-one", {"address": 43}, {"address": 42}),
    Mistake(
        "a frequency one address too low, known by its unit, beside another mistake",
        device(declared(frequencyHz={"field": "f", "address": 42}, voltageV={"wordOrder": "little"})[::2]),
        "f", "off-by-one", {"address": 43}, others=frozenset({"voltageV"}),
    ),
    Mistake("word order of a whole device, value after value", device(_voltages("little")), "M1", "word-order",
        {"wordOrder": "big"}, unit=_row),
    Mistake("value after value, all addresses one too high", device(_voltages("big", 1)), "M1", "off-by-one",
        {"address": 40}, unit=_row),
    Mistake("all addresses one too high", device(shifted(1)), "M1", "off-by-one", {"address": 40}),
    Mistake("all addresses one too low", device(shifted(-1)), "M1", "off-by-one", {"address": 40}),
    Mistake(
        "all addresses one too high, where most values are plausible or refused",
        device(shifted(1, "energyKwh")),
        "energyKwh",
        "off-by-one",
        {"address": 46},
        unit=_only(input=lambda: _tail(48)),
    ),
    Mistake(
        "addresses of 30001 style",
        device(shifted(30001)),
        "M1",
        "data-sheet-address",
        {"address": 40},
    ),
    Mistake(
        "addresses of 40001 style, in the other table",
        device([point | {"table": "holding", "address": point["address"] + 30001} for point in shifted(0)]),
        "M1",
        "data-sheet-address",
        {"address": 40, "table": "input"},
    ),
    Mistake(
        "holding for input",
        device([point | {"table": "holding"} for point in shifted(0)]),
        "M1",
        "table",
        {"table": "input"},
    ),
    Mistake(
        "holding for input, where both are there and one is all zeros",
        device([point | {"table": "holding"} for point in shifted(0)]),
        "M1",
        "table",
        {"table": "input"},
        unit=_only(input=registers, holding=lambda: Registers(100)),
    ),
    Mistake(
        "a SunSpec map without its base", device(SUNSPEC), "M1", "base-address", {"address": 40070},
        unit=_only(holding=_sunspec),
    ),
    Mistake(
        "a SunSpec map with a base that the device does not have",
        device([point | {"address": point["address"] + 40000} for point in SUNSPEC]),
        "M1",
        "base-address",
        {"address": 70},
        unit=_only(holding=_at_zero),
    ),
    Mistake("a wrong unit id", device(declared(), unitId=7), "M1", "unit-id", {"unitId": 1}),
    Mistake(
        "unit id 1 where the PLC wants 255", device(declared()), "M1", "unit-id", {"unitId": 255}, at=255
    ),
    Mistake("a block that is too long", device(shifted(0)), "M1", "max-registers", {"maxRegisters": 10},
        faults=(MaxRegisters(10),)),
    Mistake("a gap that must not be read", device(declared("voltageV", "socPercent")), "M1", "gap", {"maxGap": 0},
        faults=(RefusedBlock(44, 46),)),
    Mistake("a time-out that is too short", device(declared(*ONE)), "plc1", "timeout", {"timeout": "2s"},
        faults=(Slow(0.6),), connection={"timeout": "300ms"}),
    Mistake("all connections taken", device(declared(*ONE)), "plc1", "slots-taken", {"closeAfterPoll": True},
        faults=(AcceptThenClose(),)),
]  # fmt: skip


def _on(address: int) -> Bits:
    bits = Bits(16)
    bits.put(address, True)
    return bits


def _tail(end: int) -> Registers:
    whole = registers()
    part = Registers(end - FIRST, first=FIRST)
    part.write(FIRST, whole.read(FIRST, end - FIRST))
    return part


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
async def test_a_mistake_is_guessed(mistake: Mistake, tmp_path: Path) -> None:
    async with ModbusServer({mistake.at: mistake.unit()}) as server:
        for fault in mistake.faults:
            server.fail(fault)
        found = await probed(tmp_path, document(server.port, mistake.device, **mistake.connection))
    place = [(kind, keys) for about, kind, keys in found.said() if about == mistake.about]
    expected = (mistake.kind, mistake.keys)
    assert expected in (place[:1] if mistake.best else place), found.said()
    assert len(place) <= 2
    assert never_written(server)
    assert server.stats.connections_peak <= 1
    others = {about for about, _, _ in found.said()} - {mistake.about}
    assert others == mistake.others, "only what is wrong is guessed about"
