"""A Modbus TCP server whose misbehaviour a test writes out: what it sends, when, and how it hangs up."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from voke_sim.ports import free_ports

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    connection: int
    """Which connection it came on, counted from 1."""
    transaction: int
    unit: int
    pdu: bytes

    @property
    def function(self) -> int:
        return self.pdu[0]

    @property
    def address(self) -> int:
        return int.from_bytes(self.pdu[1:3], "big")

    @property
    def count(self) -> int:
        return int.from_bytes(self.pdu[3:5], "big")

    def frame(self, pdu: bytes, *, transaction: int | None = None, unit: int | None = None) -> bytes:
        """A reply's bytes."""
        t = self.transaction if transaction is None else transaction
        return struct.pack(">HHHB", t, 0, len(pdu) + 1, self.unit if unit is None else unit) + pdu

    def right(self) -> bytes:
        """The PDU of an honest reply: register a holds a, coil a is a's lowest bit, writes are echoed."""
        if self.function in (3, 4):
            words = range(self.address, self.address + self.count)
            return bytes((self.function, 2 * self.count)) + struct.pack(f">{self.count}H", *words)
        if self.function in (1, 2):
            packed = sum(((self.address + n) & 1) << n for n in range(self.count))
            size = (self.count + 7) // 8
            return bytes((self.function, size)) + packed.to_bytes(size, "little")
        return self.pdu[:5]

    def exception(self, code: int) -> bytes:
        return bytes((self.function | 0x80, code))


class Peer:
    """The server's end of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def reply(self, asked: Asked, pdu: bytes | None = None) -> None:
        self.send(asked.frame(asked.right() if pdu is None else pdu))

    def hang_up(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


Script = Callable[[Asked, Peer], Awaitable[None] | None]


def honest(asked: Asked, peer: Peer) -> None:
    """Answers everything at once."""
    peer.reply(asked)


class ScriptedServer:
    """Runs a script for every request; tests change :attr:`script` while it runs."""

    def __init__(self, script: Script = honest) -> None:
        self.script = script
        self.greet: Callable[[Peer], None] | None = None
        """Called for every new connection."""
        self.asked: list[Asked] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        if not self.port:
            (self.port,) = free_ports(1)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        number, peer = self.connections, Peer(writer)
        try:
            if self.greet is not None:
                self.greet(peer)
            while True:
                head = await reader.readexactly(7)
                transaction, _, length, unit = struct.unpack(">HHHB", head)
                asked = Asked(number, transaction, unit, await reader.readexactly(length - 1))
                self.asked.append(asked)
                waiting = self.script(asked, peer)
                if waiting is not None:
                    await waiting
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()


def silent_units(*numbers: int) -> ScriptedServer:
    """A server on which these units never reply."""

    def script(asked: Asked, peer: Peer) -> None:
        if asked.unit not in numbers:
            peer.reply(asked)

    return ScriptedServer(script)
