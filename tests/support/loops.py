"""Tests that have to hold on asyncio's own event loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
import uvloop

_T = TypeVar("_T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def on_both_loops(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[LoopFactory], None]:
    """Makes a test of a coroutine function without arguments, once for each loop."""

    def run(loop_factory: LoopFactory) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test())

    run.__name__ = test.__name__
    run.__module__ = test.__module__
    factories = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop_factory", factories, ids=["asyncio", "uvloop"])(run)


@asynccontextmanager
async def beside(doing: Coroutine[Any, Any, _T]) -> AsyncIterator[asyncio.Task[_T]]:
    """Inside the block it runs; at the end it is cancelled, unless it has ended."""
    task = asyncio.create_task(doing)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """Wait until ``condition`` holds; fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.005)


async def repeat(
    action: Callable[[], Awaitable[object]], condition: Callable[[], object], *, within: float = 10.0
) -> None:
    """Do ``action`` again and again until ``condition`` holds; fails after ``within`` seconds."""
    async with asyncio.timeout(within):
        while not condition():
            await action()
            await asyncio.sleep(0.005)
