"""Names that nobody answers for hold up neither other names nor the end of the process."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from tests.support.loops import on_both_loops
from voke_gateway.names import resolve

REAL = socket.getaddrinfo


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Names that end in .silent are never answered until the test ends; how often each was asked for."""
    over = threading.Event()
    asked: list[str] = []

    def ask(host: str, port: Any, *, flags: int = 0, **more: Any) -> Any:
        if not flags:
            asked.append(host)
            if host.endswith(".silent"):
                over.wait(30)
                raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return REAL(host, port, flags=flags, **more)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    yield asked
    over.set()


async def test_silent_names_do_not_delay_others(silent_resolver: list[str]) -> None:
    waiting = [asyncio.create_task(resolve(f"plc{number}.silent")) for number in range(100)]
    async with asyncio.timeout(10):
        assert "127.0.0.1" in {address[0] for _, address in await resolve("localhost")}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_name_that_is_asked_for_already_is_not_asked_for_again(silent_resolver: list[str]) -> None:
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await resolve("plc.silent")
    assert silent_resolver == ["plc.silent"]


def test_a_loop_ends_while_a_name_is_asked_for(silent_resolver: list[str]) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await resolve("plc.silent")

    asyncio.run(main())


@on_both_loops
async def test_an_address_is_its_own_answer() -> None:
    assert await resolve("127.0.0.1") == [(socket.AF_INET, ("127.0.0.1", 0))]
    assert [family for family, _ in await resolve("::1")] == [socket.AF_INET6]


@on_both_loops
async def test_what_is_no_name_does_not_resolve() -> None:
    for host in ("a" * 70 + ".example", "no.such.host.invalid"):
        with pytest.raises(socket.gaierror):
            await resolve(host)


async def test_a_name_that_no_thread_is_left_for_is_asked_for_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", none_left)
        with pytest.raises(socket.gaierror, match="too many other names"):
            await resolve("localhost")
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await resolve("localhost")
