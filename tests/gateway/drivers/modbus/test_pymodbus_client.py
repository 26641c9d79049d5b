"""Why the driver has a client of its own: what pymodbus' client does when replies are late.

Each test shows the same server to both. When a new version of pymodbus makes one of them fail, it has become
better, and the decision may be looked at again.
"""

from __future__ import annotations

import asyncio

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusIOException

from tests.support.scripted_modbus import Asked, Peer, Script, ScriptedServer
from tests.support.virtual_network import on_virtual_network
from voke_gateway.drivers.modbus.client import Client
from voke_gateway.drivers.modbus.frames import NoReplyError, read_request

TIMEOUT = 0.2


async def by_pymodbus(server: ScriptedServer, *reads: tuple[int, int]) -> list[list[int] | None]:
    """Registers brought by each read in turn; None where there was no reply."""
    client = AsyncModbusTcpClient(
        "127.0.0.1", port=server.port, retries=0, timeout=TIMEOUT, reconnect_delay=0
    )
    await client.connect()
    brought: list[list[int] | None] = []
    for address, count in reads:
        try:
            reply = await client.read_holding_registers(address, count=count, device_id=1)
            brought.append(list(reply.registers))
        except ModbusIOException:
            brought.append(None)
    client.close()
    return brought


async def by_ours(server: ScriptedServer, *reads: tuple[int, int]) -> list[list[int] | None]:
    client = await Client.connect(
        "127.0.0.1", server.port, within=TIMEOUT, late=lambda _: None, lost=lambda: None
    )
    brought: list[list[int] | None] = []
    for address, count in reads:
        try:
            data = await client.request(read_request(1, "holding", address, count), TIMEOUT)
            brought.append([int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data), 2)])
        except NoReplyError:
            brought.append(None)
    await client.close()
    return brought


def registers(*words: int) -> bytes:
    return bytes((3, 2 * len(words))) + b"".join(word.to_bytes(2, "big") for word in words)


def late_with_transaction_id_0() -> Script:
    """The first reply comes during the second request, from a server that does not repeat transaction ids."""

    def script(asked: Asked, peer: Peer) -> None:
        if asked.address == 10:
            peer.send(asked.frame(registers(0xBAD), transaction=0))
            peer.reply(asked)

    return script


@on_virtual_network
async def test_a_late_reply_with_transaction_id_0_answers_the_next_request() -> None:
    async with ScriptedServer(late_with_transaction_id_0()) as server:
        assert await by_pymodbus(server, (0, 1), (10, 1)) == [None, [0xBAD]]
        assert await by_ours(server, (0, 1), (10, 1)) == [None, [10]]


def late_in_two_pieces() -> Script:
    """The first reply arrives half before, half after the second request; the second half looks like a frame."""

    async def script(asked: Asked, peer: Peer) -> None:
        inner = asked.frame(registers(0xBAD), transaction=2)
        late = asked.frame(bytes((3, 12, 0)) + inner, transaction=1)
        if asked.address == 0:
            peer.send(late[: -len(inner)])
        else:
            peer.send(late[-len(inner) :])
            await asyncio.sleep(0.02)
            peer.reply(asked)

    return script


@on_virtual_network
async def test_a_late_reply_in_two_pieces_answers_the_next_request() -> None:
    async with ScriptedServer(late_in_two_pieces()) as server:
        assert await by_pymodbus(server, (0, 6), (10, 1)) == [None, [0xBAD]]
        assert await by_ours(server, (0, 6), (10, 1)) == [None, [10]]


def all_at_once() -> Script:
    """A server that stalls, then answers everything it was asked in one go."""
    held: list[bytes] = []

    def script(asked: Asked, peer: Peer) -> None:
        held.append(asked.frame(asked.right()))
        if asked.address == 10:
            peer.send(b"".join(held))

    return script


@on_virtual_network
async def test_the_right_reply_is_lost_behind_long_late_ones() -> None:
    async with ScriptedServer(all_at_once()) as server:
        assert await by_pymodbus(server, (100, 120), (300, 120), (10, 1)) == [None, None, None]
        server.script = all_at_once()
        assert await by_ours(server, (100, 120), (300, 120), (10, 1)) == [None, None, [10]]
