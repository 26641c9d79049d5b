"""Where nothing is wrong nothing is guessed, nothing is ever written, and extra reads have an end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.probe.meters import Json, declared, device, document, meter, never_written, probed, registers
from voke_cli.probe.guesses import MOST_QUESTIONS
from voke_sim.plc.bank import Bank, Bits, Order, Registers
from voke_sim.plc.faults import (
    CloseInstead,
    ExceptionReply,
    Garbage,
    MaxRegisters,
    RefusedBlock,
    Reset,
    ShortReply,
    Silent,
    WrongFunction,
)
from voke_sim.plc.faults import Fault as SimFault
from voke_sim.plc.physics import HOUR
from voke_sim.plc.server import ModbusServer, Unit
from voke_sim.plc.site import CabinetForm, Site, SiteOptions


async def test_a_device_that_is_declared_rightly_gives_its_values_and_no_guess(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        found = await probed(tmp_path, document(server.port, device(declared())))
    assert found.guesses == []
    assert found.json["ok"]
    assert found.extra_reads == 0
    assert found.values == {
        "voltageV": 231.7,
        "currentA": 12.3,
        "frequencyHz": 50.01,
        "activePowerW": -1500,
        "energyKwh": 123456.7,
        "temperatureC": 23.5,
        "socPercent": 75.5,
        "serialNumber": "ACME-12345",
        "running": True,
    }
    assert server.stats.requests == 2
    assert server.stats.connections == 1


@pytest.mark.parametrize("hour", [0, 7, 12, 18])
@pytest.mark.parametrize("cabinet", ["discrete", "register", "bits"])
async def test_a_simulated_site_gives_no_guess_at_any_hour(
    hour: int, cabinet: CabinetForm, tmp_path: Path
) -> None:
    options = SiteOptions(
        name="brno", plant_id="3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f", starts_at=hour * HOUR, cabinet=cabinet
    )
    async with Site(options) as site:
        for _ in range(20):
            site.advance(30.0)
        found = await probed(tmp_path, *site.documents())
    assert found.guesses == []


numbers = st.one_of(
    st.tuples(st.just("int16"), st.integers(-9_000, 9_000)),
    st.tuples(st.just("uint16"), st.integers(0, 32_000)),
    st.tuples(st.just("int32"), st.integers(-60_000, 60_000)),
    st.tuples(st.just("uint32"), st.integers(0, 60_000)),
    st.tuples(st.just("float32"), st.floats(0.0625, 1e6, width=32)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(numbers, min_size=1, max_size=12), orders=st.data())
def test_everyday_numbers_of_unknown_meaning_give_no_guess(
    values: list[tuple[Any, float]], orders: st.DataObject, tmp_path: Path
) -> None:
    table = Registers(100)
    points: list[Json] = []
    order: st.SearchStrategy[Order] = st.sampled_from(["big", "little"])
    for index, (kind, value) in enumerate(values):
        word, byte = orders.draw(order), orders.draw(order)
        table.put(8 * index, kind, value, word_order=word, byte_order=byte)
        points.append(
            {"field": f"v{index}", "table": "holding", "address": 8 * index, "type": kind}
            | {"wordOrder": word, "byteOrder": byte}
        )

    async def run() -> None:
        async with ModbusServer({1: Unit(Bank(holding=table))}) as server:
            found = await probed(tmp_path, document(server.port, device(points)))
        assert found.guesses == []

    asyncio.run(run())


FAULTS: list[SimFault] = [
    Silent(),
    ExceptionReply(1),
    ExceptionReply(2),
    ExceptionReply(4),
    ExceptionReply(6),
    ExceptionReply(11),
    MaxRegisters(3),
    RefusedBlock(44, 47),
    Reset(),
    CloseInstead(),
    WrongFunction(),
    ShortReply(),
    Garbage(),
]
point = st.fixed_dictionaries(
    {
        "table": st.sampled_from(["input", "holding"]),
        "address": st.one_of(st.integers(0, 80), st.sampled_from([30041, 40041, 40110, 65000])),
        "type": st.sampled_from(["int16", "uint16", "int32", "uint32", "float32", "int64", "float64"]),
        "unit": st.sampled_from(["V", "A", "Hz", "kW", "°C", "%"]),
    }
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    points=st.lists(point, min_size=1, max_size=20),
    unit=st.sampled_from([1, 3]),
    fault=st.sampled_from([None, *FAULTS]),
    chance=st.sampled_from([1.0, 0.3]),
)
def test_it_never_writes_and_extra_reads_have_an_end(
    points: list[Json], unit: int, fault: SimFault | None, chance: float, tmp_path: Path
) -> None:
    named = [each | {"field": f"v{index}"} for index, each in enumerate(points)]
    one = device(named, unitId=unit)

    async def run() -> None:
        bank = Bank(input=registers(), holding=Registers(60), coil=Bits(8))
        async with ModbusServer({1: Unit(bank)}) as server:
            if fault is not None:
                server.fail(fault, chance=chance)
            found = await probed(tmp_path, document(server.port, one, timeout="20ms"))
        assert never_written(server)
        assert server.stats.connections_peak <= 1
        assert found.extra_reads <= MOST_QUESTIONS
        for about in {about for about, _ in found.guesses}:
            assert sum(each == about for each, _ in found.guesses) <= 2

    asyncio.run(run())
