"""Each fault does on the wire what its name says, to whom it was meant for, and is gone when switched off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

import pytest

from tests.support.modbus import Raw, eventually, read_request, request
from voke_sim.plc import faults
from voke_sim.plc.bank import Bank, Registers
from voke_sim.plc.requests import Request, parse
from voke_sim.plc.server import ModbusServer, Unit

WRITE = bytes.fromhex("0600050001")
GOOD = bytes.fromhex("0001 0000 0007 01 03 04 0000 0001")
ASK = read_request(1, unit=1, address=0, count=2)
ASK_3 = read_request(2, unit=3, address=0, count=1)


def counting_bank() -> Bank:
    made = Bank(holding=Registers(100), input=Registers(100))
    for address in range(100):
        made.registers("holding").put(address, "uint16", address)
    return made


@pytest.fixture
async def server() -> AsyncIterator[ModbusServer]:
    async with ModbusServer({1: Unit(counting_bank()), 3: Unit(counting_bank())}) as running:
        yield running


@pytest.fixture
async def raw(server: ModbusServer) -> AsyncIterator[Raw]:
    async with Raw.connect(server) as connection:
        yield connection


async def test_without_faults_it_answers(raw: Raw) -> None:
    assert await raw.ask(ASK) == GOOD


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (faults.ExceptionReply(4), "0001 0000 0003 01 83 04"),
        (faults.BUSY, "0001 0000 0003 01 83 06"),
        (faults.RefusedBlock(1, 1), "0001 0000 0003 01 83 02"),
        (faults.RefusedBlock(0, 5, table="holding"), "0001 0000 0003 01 83 02"),
        (faults.MaxRegisters(1), "0001 0000 0003 01 83 03"),
        (faults.WrongFunction(), "0001 0000 0007 01 04 04 0000 0001"),
        (faults.WrongTransaction(), "0000 0000 0007 01 03 04 0000 0001"),
        (faults.WrongUnit(9), "0001 0000 0007 09 03 04 0000 0001"),
        (faults.ShortReply(), "0001 0000 0005 01 03 02 0000"),
        (faults.InPieces(), GOOD.hex()),
        (faults.Slow(0.02), GOOD.hex()),
        (faults.Late(0.02), GOOD.hex()),
    ],
    ids=repr,
)
async def test_the_reply_under_a_fault_and_after_it(
    server: ModbusServer, raw: Raw, fault: faults.Fault, reply: str
) -> None:
    undo = server.fail(fault)
    assert await raw.ask(ASK) == bytes.fromhex(reply)
    undo()
    undo()
    assert await raw.ask(ASK) == GOOD


@pytest.mark.parametrize(
    "fault",
    [faults.RefusedBlock(2, 9), faults.RefusedBlock(0, 9, table="input"), faults.MaxRegisters(2)],
    ids=repr,
)
async def test_requests_that_a_fault_does_not_concern_are_answered(
    server: ModbusServer, raw: Raw, fault: faults.Fault
) -> None:
    server.fail(fault, times=1)
    assert await raw.ask(ASK) == GOOD
    assert len(server.faults.active) == 1


async def test_a_silent_plc_takes_the_request_and_does_nothing(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.Silent())
    raw.send(ASK + request(2, 1, WRITE))
    await raw.silence()
    assert server.stats.requests == 2
    assert not server.writes
    server.faults.clear()
    assert await raw.ask(ASK) == GOOD


async def test_a_dead_unit_is_silent_while_its_neighbour_answers(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.Silent(), unit=3)
    raw.send(ASK_3)
    assert await raw.ask(ASK) == GOOD
    assert server.stats.by_unit == {1: 1, 3: 1}


async def test_a_lost_reply_was_a_write_all_the_same(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.LostReply())
    raw.send(request(1, 1, WRITE))
    await raw.silence()
    assert [write.address for write in server.writes] == [5]


async def test_a_refused_write_was_none(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.RefusedBlock(5, 5))
    assert (await raw.ask(request(1, 1, WRITE)))[-2:] == bytes.fromhex("8602")
    assert not server.writes


async def test_a_slow_plc_answers_one_request_after_the_other(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.Slow(0.1))
    loop = asyncio.get_running_loop()
    started = loop.time()
    raw.send(ASK + ASK_3)
    assert await raw.reply() == GOOD
    first = loop.time() - started
    assert int.from_bytes((await raw.reply())[:2]) == 2
    assert first >= 0.09
    assert loop.time() - started >= 0.19


async def test_a_late_reply_comes_after_that_of_a_newer_request(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.Late(0.1), times=1)
    raw.send(ASK)
    assert (await raw.ask(ASK_3))[:2] == b"\0\2"
    assert await raw.reply() == GOOD


async def test_a_reset_cuts_the_reply(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.Reset(after=4))
    raw.send(ASK)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)) as cut:
        await raw.reply()
    if isinstance(cut.value, asyncio.IncompleteReadError):  # the bytes came before the reset did
        assert cut.value.partial == GOOD[:4]
    await eventually(lambda: server.stats.connections_open == 0)


async def test_a_truncated_reply_never_ends(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.TruncatedReply(missing=2))
    raw.send(ASK)
    with pytest.raises(TimeoutError):
        await raw.reply(within=0.1)


async def test_garbage_is_the_same_for_the_same_seed() -> None:
    seen = []
    for _ in range(2):
        async with ModbusServer({1: Unit(counting_bank())}, random=Random(7)) as server:
            server.fail(faults.Garbage(12))
            async with Raw.connect(server) as raw:
                raw.send(ASK)
                await eventually(lambda: server.stats.requests == 1)
                server.drop_connections(reset=False)
                seen.append(await raw.rest())
    assert len(seen[0]) == 12
    assert seen[0] == seen[1] != GOOD[:12]


async def test_a_connection_may_be_closed_in_place_of_an_answer(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.CloseInstead())
    raw.send(ASK)
    assert await raw.rest() == b""


async def test_new_connections_may_be_closed_at_once_while_old_ones_live(
    server: ModbusServer, raw: Raw
) -> None:
    await raw.ask(ASK)
    server.fail(faults.AcceptThenClose(), times=2)
    for _ in range(2):
        async with Raw.connect(server) as other:
            assert await other.rest() == b""
        assert await raw.ask(ASK) == GOOD
    async with Raw.connect(server) as other:
        assert await other.ask(ASK) == GOOD
    assert server.stats.connections_turned_away == 2


async def test_faults_combine_and_the_first_exception_stands(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.ExceptionReply(4))
    server.fail(faults.ExceptionReply(6))
    server.fail(faults.InPieces(2))
    server.fail(faults.WrongUnit(5))
    assert await raw.ask(ASK) == bytes.fromhex("0001 0000 0003 05 83 04")


async def test_pipelined_replies_in_pieces_do_not_mix(server: ModbusServer, raw: Raw) -> None:
    server.fail(faults.InPieces(3))
    raw.send(ASK + ASK_3 + ASK)
    assert await raw.reply() == GOOD
    assert (await raw.reply())[:2] == b"\0\2"
    assert await raw.reply() == GOOD


async def test_a_connection_that_goes_away_while_a_reply_is_due_leaves_nothing(server: ModbusServer) -> None:
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    for fault in (faults.Slow(0.05), faults.Late(0.05), faults.InPieces(1), faults.Reset(0)):
        undo = server.fail(fault)
        async with Raw.connect(server) as raw:
            raw.send(ASK)
            await eventually(lambda: server.stats.requests)
            raw.abort()
        await eventually(lambda: server.stats.connections_open == 0)
        undo()
    await asyncio.sleep(0.1)
    assert not troubles


def wanted(unit: int = 1) -> Request:
    return parse(unit, bytes.fromhex("0300000001"))


def test_a_fault_ends_after_its_time() -> None:
    now = [100.0]
    table = faults.Faults(clock=lambda: now[0], random=Random(1))
    table.add(faults.BUSY, lasting=5.0)
    assert table.plan(wanted()).exception == 6
    now[0] = 104.9
    assert table.plan(wanted()).exception == 6
    now[0] = 105.0
    assert table.plan(wanted()).exception == 0
    assert not table.active


def test_a_fault_strikes_so_many_times() -> None:
    table = faults.Faults(clock=lambda: 0.0, random=Random(1))
    active = table.add(faults.BUSY, times=3, unit=1)
    table.plan(wanted(unit=2))
    assert [table.plan(wanted()).exception for _ in range(5)] == [6, 6, 6, 0, 0]
    assert active.struck == 3


def test_chance_is_fair_and_repeatable() -> None:
    runs = []
    for _ in range(2):
        table = faults.Faults(clock=lambda: 0.0, random=Random(42))
        table.add(faults.BUSY, chance=0.3)
        runs.append([table.plan(wanted()).exception for _ in range(2000)])
    assert runs[0] == runs[1]
    assert 450 < sum(bool(code) for code in runs[0]) < 750


@pytest.mark.parametrize(
    "fault",
    [
        faults.Silent(),
        faults.LostReply(),
        faults.Slow(0.01),
        faults.Late(0.01),
        faults.BUSY,
        faults.Reset(),
        faults.CloseInstead(),
        faults.WrongFunction(),
        faults.ShortReply(300),
        faults.TruncatedReply(300),
        faults.Garbage(500),
        faults.InPieces(7),
    ],
    ids=repr,
)
async def test_no_fault_breaks_the_server_for_later(server: ModbusServer, fault: faults.Fault) -> None:
    server.fail(fault, lasting=0.05)
    for content in (ASK, ASK_3, request(3, 1, WRITE), request(4, 1, b"\x2b")):
        with contextlib.suppress(ConnectionError):
            async with Raw.connect(server) as raw:
                raw.send(content)
                await raw.read_something()
    await eventually(lambda: server.faults.plan(wanted()).reply and not server.faults.active)
    async with Raw.connect(server) as raw:
        assert await raw.ask(ASK) == GOOD
