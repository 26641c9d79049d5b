"""Long work in slices, so that polls and messages are served in between."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Final, TypeVar

SLICE: Final = 0.004
"""Seconds that may pass until the event loop gets a turn."""

T = TypeVar("T")


class Pacer:
    """Counts the time since the event loop last had a turn."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + SLICE

    async def pace(self) -> None:
        """Let the event loop turn if it is time."""
        if self._loop.time() >= self._until:
            await asyncio.sleep(0)
            self._until = self._loop.time() + SLICE


async def in_slices(steps: Generator[None, None, T]) -> T:
    """Go through ``steps`` to the end; what they return."""
    pacer = Pacer()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        await pacer.pace()
