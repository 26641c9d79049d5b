"""The virtual clock itself: what simulations rest on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from tests.support.virtual_time import (
    EPOCH,
    DeadlockError,
    LivelockError,
    UnhandledError,
    VirtualTimeLoop,
    run,
    wall_clock,
)


def test_a_year_of_sleep_takes_no_time_and_ends_on_the_second() -> None:
    async def main() -> tuple[float, float]:
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time() - before, wall_clock()

    started = time.perf_counter()
    elapsed, wall = run(main())
    assert elapsed == 365 * 86_400
    assert wall == EPOCH + 365 * 86_400
    assert time.perf_counter() - started < 5


def test_timers_fire_in_order_and_at_their_own_times() -> None:
    async def main() -> list[tuple[float, int]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        seen: list[tuple[float, int]] = []

        def note(n: int) -> None:
            seen.append((loop.elapsed(), n))

        for n in (3, 1, 2):
            loop.call_later(n, note, n)
        await asyncio.sleep(4)
        return seen

    assert run(main()) == [(1, 1), (2, 2), (3, 3)]


def test_timeouts_are_virtual_too() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()

    run(main())


def test_setting_the_wall_clock_leaves_monotonic_time_alone() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        before = loop.time()
        loop.wall_offset = -3600
        assert wall_clock() == EPOCH - 3600
        assert loop.time() == before

    run(main())


def test_waiting_for_nothing_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run(main())


def test_spinning_is_an_error() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        again()
        await asyncio.sleep(1)

    with pytest.raises(LivelockError):
        run(main())


def test_a_failure_nobody_looked_at_is_an_error() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    with pytest.raises(UnhandledError):
        run(main())


async def _thread() -> None:
    await asyncio.to_thread(time.time)


async def _socket() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _process() -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize("escape", [_thread, _socket, _process])
def test_threads_sockets_and_processes_are_refused(escape: Callable[[], Coroutine[None, None, None]]) -> None:
    with pytest.raises(RuntimeError, match="virtual clock"):
        run(escape())
