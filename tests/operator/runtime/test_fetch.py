"""Fetching from a gateway over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from voke_operator.runtime.fetch import HttpFetch
from voke_operator.status.poll import FetchError

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(behaviour: Behaviour) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await behaviour(reader, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/status"
    finally:
        listening.close()


def replying(text: bytes) -> Behaviour:
    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return reply


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def trickling(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def fetched(behaviour: Behaviour) -> bytes:
    async with HttpFetch(timeout=0.5, max_bytes=1_000_000) as fetch, server(behaviour) as url:
        return await fetch(url)


async def test_the_body_of_a_200() -> None:
    assert await fetched(replying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")) == b"{}"


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        (replying(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"), "it answers HTTP 503"),
        (
            replying(b"HTTP/1.1 302 Found\r\nlocation: http://example.com/\r\ncontent-length: 0\r\n\r\n"),
            "it answers HTTP 302",
        ),
        (silent, "no answer within 0.5 s"),
        (trickling, "no answer within 0.5 s"),
        (endless, "its answer is larger than 1000000 bytes"),
        (replying(b"SSH-2.0-OpenSSH_9.2\r\n"), "it cut the connection, or does not speak HTTP"),
        (replying(b""), "it cut the connection, or does not speak HTTP"),
        (
            replying(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}"),
            "it cut the connection, or does not speak HTTP",
        ),
    ],
)
async def test_anything_else_is_said_in_words_that_stay_the_same(behaviour: Behaviour, problem: str) -> None:
    for _ in range(2):
        with pytest.raises(FetchError) as raised:
            await fetched(behaviour)
        assert str(raised.value) == problem


async def test_a_refused_connection() -> None:
    async with server(silent) as url:
        pass
    async with HttpFetch() as fetch:
        with pytest.raises(FetchError, match=r"^connection refused$"):
            await fetch(url)
