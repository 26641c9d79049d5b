"""The simulated server speaks Modbus TCP as a stranger's client understands it, and survives strangers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from tests.support.modbus import Raw, eventually, read_request, request
from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.requests import RequestError, execute, parse
from voke_sim.plc.server import ModbusServer, Unit


def bank() -> Bank:
    made = Bank.of(200, 2000)
    for address in range(200):
        made.registers("holding").put(address, "uint16", 1000 + address)
        made.registers("input").put(address, "uint16", 2000 + address)
    made.bits("discrete").put(0, *(k % 3 == 0 for k in range(2000)))
    return made


@pytest.fixture
async def server() -> AsyncIterator[ModbusServer]:
    async with ModbusServer({1: Unit(bank()), 7: Unit(Bank(holding=Registers(5)))}) as running:
        yield running


@pytest.fixture
async def client(server: ModbusServer) -> AsyncIterator[AsyncModbusTcpClient]:
    made = AsyncModbusTcpClient(server.host, port=server.port, timeout=2, retries=0, reconnect_delay=0)
    assert await made.connect()
    yield made
    made.close()


async def test_pymodbus_reads_all_four_tables(client: AsyncModbusTcpClient) -> None:
    holding = await client.read_holding_registers(10, count=125, device_id=1)
    assert holding.registers == list(range(1010, 1135))
    inputs = await client.read_input_registers(199, count=1, device_id=1)
    assert inputs.registers == [2199]
    discrete = await client.read_discrete_inputs(0, count=2000, device_id=1)
    assert discrete.bits[:2000] == [k % 3 == 0 for k in range(2000)]
    coils = await client.read_coils(3, count=5, device_id=1)
    assert coils.bits[:5] == [False] * 5


async def test_pymodbus_writes_registers_and_coils_one_by_one_and_many_at_once(
    server: ModbusServer, client: AsyncModbusTcpClient
) -> None:
    await client.write_register(5, 0xBEEF, device_id=1)
    await client.write_registers(100, [1, 2, 3], device_id=1)
    await client.write_coil(8, True, device_id=1)
    await client.write_coils(20, [True, False, True], device_id=1)
    await client.write_coil(20, False, device_id=1)
    assert (await client.read_holding_registers(5, count=1, device_id=1)).registers == [0xBEEF]
    assert (await client.read_holding_registers(100, count=3, device_id=1)).registers == [1, 2, 3]
    coils = await client.read_coils(8, count=15, device_id=1)
    assert [k for k in range(15) if coils.bits[k]] == [0, 14]
    log = [(write.table, write.address, write.values) for write in server.writes]
    assert log == [
        ("holding", 5, (0xBEEF,)),
        ("holding", 100, (1, 2, 3)),
        ("coil", 8, (1,)),
        ("coil", 20, (1, 0, 1)),
        ("coil", 20, (0,)),
    ]
    assert all(
        first.time <= second.time
        for first, second in zip(server.writes, list(server.writes)[1:], strict=False)
    )
    assert server.stats.by_function == {6: 1, 16: 1, 5: 2, 15: 1, 3: 2, 1: 1}


@pytest.mark.parametrize(
    ("unit", "pdu", "code"),
    [
        (1, "2b0e0100", 1),  # a function that nobody here knows
        (1, "00", 1),
        (7, "0400000001", 1),  # a table that the unit does not have
        (1, "0300c80001", 2),  # one register behind the end
        (1, "0300c70002", 2),
        (1, "03ffff0002", 2),
        (1, "0307d00001", 2),
        (1, "1000c70002040001" + "0002", 2),
        (1, "0300000000", 3),  # no registers
        (1, "030000007e", 3),  # 126 registers
        (1, "01000007d1", 3),  # 2001 coils
        (1, "0500001234", 3),  # neither on nor off
        (1, "03000000", 3),  # too short
        (1, "030000000100", 3),  # too long
        (1, "060000000100", 3),
        (1, "100000000204" + "0001", 3),  # the byte count promises more
        (1, "100000000205" + "00010002" + "00", 3),
        (1, "0f0000000902" + "01", 3),
        (1, "10000000" + "7c" + "00", 3),
        (9, "0300000001", 0x0B),  # nobody there
    ],
)
async def test_what_cannot_be_done_gets_the_exception_of_the_specification(
    server: ModbusServer, unit: int, pdu: str, code: int
) -> None:
    async with Raw.connect(server) as raw:
        content = bytes.fromhex(pdu)
        reply = await raw.ask(request(77, unit, content))
        assert reply == bytes.fromhex("004d 0000 0003") + bytes((unit, content[0] | 0x80, code))
        assert server.stats.exceptions == {code: 1}
        assert not server.writes


async def test_a_request_may_arrive_byte_by_byte_and_several_in_one_segment(server: ModbusServer) -> None:
    async with Raw.connect(server) as raw:
        one = read_request(1, unit=1, address=3, count=2)
        for byte in one:
            raw.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert await raw.reply() == bytes.fromhex("0001 0000 0007 01 03 04 03eb 03ec")
        many = b"".join(read_request(tid, unit=1, address=tid, count=1) for tid in range(150))
        cut = len(many) // 2 + 5
        raw.send(many[:cut])
        await asyncio.sleep(0)
        raw.send(many[cut:])
        for tid in range(150):
            reply = await raw.reply()
            assert int.from_bytes(reply[:2]) == tid
            assert int.from_bytes(reply[-2:]) == 1000 + tid


@pytest.mark.parametrize(
    "header",
    ["0001 0001 0006 01", "0001 0000 0000 01", "0001 0000 0001 01", "0001 0000 00ff 01", "4745 5420 2f20 48"],
    ids=["another protocol", "no length", "no function", "too long", "a browser"],
)
async def test_a_stream_that_is_not_modbus_is_closed(server: ModbusServer, header: str) -> None:
    async with Raw.connect(server) as raw:
        raw.send(bytes.fromhex(header) + bytes(5))
        assert await raw.rest() == b""
        assert server.stats.malformed == 1
    await eventually(lambda: server.stats.connections_open == 0)


async def test_more_connections_than_slots_are_turned_away_and_counted() -> None:
    async with ModbusServer({1: Unit(bank())}, max_connections=2) as server:
        async with Raw.connect(server) as first, Raw.connect(server) as second:
            for raw in (first, second):
                await raw.ask(read_request(1))
            async with Raw.connect(server) as third:
                assert await third.rest() == b""
        await eventually(lambda: server.stats.connections_open == 0)
        async with Raw.connect(server) as fourth:
            await fourth.ask(read_request(1))
        assert server.stats.connections == 3
        assert server.stats.connections_peak == 2
        assert server.stats.connections_turned_away == 1


async def test_a_closed_port_refuses_and_opens_again_as_the_same_port(server: ModbusServer) -> None:
    port = server.port
    async with Raw.connect(server) as raw:
        await raw.ask(read_request(1))
        server.refuse_connections()
        with contextlib.suppress(ConnectionResetError):
            assert await raw.rest() == b""
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(server.host, port)
    await server.accept_connections()
    assert server.port == port
    async with Raw.connect(server) as raw:
        assert await raw.ask(read_request(1))


async def test_open_connections_may_outlive_the_port(server: ModbusServer) -> None:
    async with Raw.connect(server) as raw:
        await raw.ask(read_request(1))
        server.refuse_connections(drop=False)
        assert await raw.ask(read_request(2))
        server.drop_connections(reset=False)
        assert await raw.rest() == b""


async def test_a_write_can_be_refused_and_is_told_when_it_was_done() -> None:
    told: list[int] = []
    unit = Unit(
        bank(),
        check=lambda asked: 4 if asked.address == 10 else 0,
        written=lambda done: told.append(done.address),
    )
    async with ModbusServer({1: unit}) as server, Raw.connect(server) as raw:
        assert (await raw.ask(request(1, 1, bytes.fromhex("06000a0001"))))[-2:] == bytes((0x86, 4))
        assert (await raw.ask(request(1, 1, bytes.fromhex("06000b0001"))))[-5:] == bytes.fromhex("06000b0001")
        assert told == [11]
        assert [write.address for write in server.writes] == [11]


async def test_a_plc_without_sub_units_answers_to_every_unit_id() -> None:
    async with ModbusServer({1: Unit(bank())}, any_unit=True) as server, Raw.connect(server) as raw:
        reply = await raw.ask(read_request(1, unit=255))
        assert reply[6] == 255
        assert len(reply) == 11


async def test_requests_can_be_recorded() -> None:
    async with ModbusServer({1: Unit(bank())}, record_requests=True) as server, Raw.connect(server) as raw:
        await raw.ask(read_request(1, address=5, count=7))
        assert server.requests is not None
        ((_, recorded),) = server.requests
        assert (recorded.table, recorded.address, recorded.last) == ("holding", 5, 11)


async def test_a_client_that_does_not_read_its_replies_is_not_read_either(server: ModbusServer) -> None:
    many = 60_000
    async with Raw.connect(server) as raw:
        raw.send(read_request(1, unit=1, address=0, count=125) * many)
        await eventually(lambda: server.stats.requests)
        served = -1
        while served != server.stats.requests:
            served = server.stats.requests
            await asyncio.sleep(0.1)
        assert 0 < served < many
        for _ in range(many):
            assert len(await raw.reply()) == 259
    assert server.stats.requests == many


FUZZED = bank()


@settings(max_examples=300)
@given(pdu=st.binary(min_size=1, max_size=253))
def test_any_pdu_gets_a_reply_or_an_exception(pdu: bytes) -> None:
    codes = []
    reply = pdu[:1]
    try:
        reply = execute(parse(1, pdu), FUZZED)
    except RequestError as refused:
        codes.append(refused.code)
    assert set(codes) <= {1, 2, 3}
    assert reply[0] == pdu[0]
    assert len(reply) <= 253


async def test_random_bytes_neither_crash_the_server_nor_leak_connections(server: ModbusServer) -> None:
    random = Random(20_240_501)
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    for round_ in range(200):
        async with Raw.connect(server) as raw:
            noise = random.randbytes(random.randrange(1, 600))
            if round_ % 2:  # plausible headers, so that the noise gets further
                noise = b"".join(
                    request(k, random.choice((0, 1, 7, 9)), random.randbytes(random.randrange(1, 40)))
                    for k in range(10)
                )
            raw.send(noise)
            if round_ % 3 == 0:
                raw.abort()
            elif round_ % 3 == 1:
                await raw.read_something()
    await eventually(lambda: server.stats.connections_open == 0)
    gc.collect()
    assert not troubles
    async with Raw.connect(server) as raw:
        assert len(await raw.ask(read_request(1))) == 11


async def test_many_servers_in_one_process_have_ports_of_their_own() -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for number in range(50):
            made = ModbusServer({1: Unit(Bank(holding=Registers(1), coil=Bits(1)))})
            made.units[1].bank.registers("holding").put(0, "uint16", number)
            servers.append(await stack.enter_async_context(made))
        assert len({server.port for server in servers}) == 50
        for number, server in enumerate(servers):
            async with Raw.connect(server) as raw:
                assert int.from_bytes((await raw.ask(read_request(1)))[-2:]) == number
