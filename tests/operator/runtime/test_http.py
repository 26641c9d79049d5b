"""The operator's probes and metrics over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from voke_operator.runtime.http import AddressInUseError, Check, HttpServer


@asynccontextmanager
async def serving(*, healthy: tuple[Check, ...] = (), ready: tuple[Check, ...] = ()) -> AsyncIterator[str]:
    server = HttpServer(healthy=healthy, ready=ready, metrics=lambda: b"voke_operator_leader 1.0\n")
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.close()


async def answer(url: str, method: str = "GET") -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status, await response.text()


async def test_all_is_well() -> None:
    async with serving(healthy=(tuple,), ready=(tuple, tuple)) as url:
        assert await answer(f"{url}/healthz") == (200, "ok\n")
        assert await answer(f"{url}/readyz") == (200, "ok\n")
        assert await answer(f"{url}/metrics") == (200, "voke_operator_leader 1.0\n")


async def test_a_probe_says_everything_that_is_wrong() -> None:
    def late() -> list[str]:
        return ["the event loop was late by 12.0 s", "the watch of plants has been silent for 300 s"]

    async with serving(healthy=(tuple, late), ready=(tuple,)) as url:
        assert await answer(f"{url}/healthz") == (
            503,
            "the event loop was late by 12.0 s\nthe watch of plants has been silent for 300 s\n",
        )
        assert (await answer(f"{url}/readyz"))[0] == 200


async def test_nothing_but_reading_is_served() -> None:
    async with serving() as url:
        assert (await answer(f"{url}/healthz", "POST"))[0] == 405
        assert (await answer(f"{url}/"))[0] == 404
        assert (await answer(f"{url}/healthz", "HEAD")) == (200, "")


async def test_an_address_that_is_taken_is_named() -> None:
    async with serving() as url:
        port = int(url.rsplit(":", 1)[1])
        other = HttpServer(healthy=(), ready=(), metrics=bytes)
        with pytest.raises(AddressInUseError, match=f"127.0.0.1:{port}"):
            await other.start("127.0.0.1", port)
