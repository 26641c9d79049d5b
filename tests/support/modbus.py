"""A bare Modbus TCP client for tests that care about single bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from struct import Struct
from typing import Protocol

HEADER = Struct(">HHHB")
DEADLINE = 5.0


class Endpoint(Protocol):
    host: str
    port: int


def request(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A request frame."""
    return HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu


def read_request(
    transaction: int, *, unit: int = 1, function: int = 3, address: int = 0, count: int = 1
) -> bytes:
    """A frame that asks for registers."""
    return request(transaction, unit, bytes((function,)) + address.to_bytes(2) + count.to_bytes(2))


async def eventually(condition: Callable[[], object], *, within: float = DEADLINE) -> None:
    """Wait until the condition holds; fails when it does not in time."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


class Raw:
    """One connection; every wait has a deadline."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, server: Endpoint) -> AsyncIterator[Raw]:
        """Connect, and close at the end of the block."""
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def send(self, content: bytes) -> None:
        """Send bytes."""
        self._writer.write(content)

    def abort(self) -> None:
        """Drop the connection."""
        self._writer.transport.abort()

    async def reply(self, *, within: float = DEADLINE) -> bytes:
        """The next whole frame; TimeoutError if it does not come."""
        async with asyncio.timeout(within):
            header = await self._reader.readexactly(6)
            return header + await self._reader.readexactly(int.from_bytes(header[4:6]))

    async def ask(self, content: bytes, *, within: float = DEADLINE) -> bytes:
        """Send a frame and wait for the next one."""
        self.send(content)
        return await self.reply(within=within)

    async def silence(self, seconds: float = 0.15) -> None:
        """Nothing arrives for so long, and the connection stays open."""
        try:
            async with asyncio.timeout(seconds):
                got = await self._reader.read(1)
        except TimeoutError:
            return
        raise AssertionError(f"expected silence, got {got!r}")

    async def read_something(self) -> None:
        """Whatever comes within a moment, or the end."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.01):
                await self._reader.read(4096)

    async def rest(self, *, within: float = DEADLINE) -> bytes:
        """Everything until the other side closes."""
        async with asyncio.timeout(within):
            return await self._reader.read()
