"""Time-outs that hardly ever come: thousands begin each second, and nearly all are called off at once.

For an event loop each would be a timer to make, to put in order among all others and to take out again. But those of
one length end in the order in which they begin. So they stand in line, and only the line has a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

_CLOCK_STEP: Final = 0.001
"""Seconds by which a timer may go off early: an event loop's clock may only move so far at a time."""

_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[float, Timeouts]] = (
    WeakKeyDictionary()
)


class Timeouts:
    """All time-outs of one length on one event loop; made by :meth:`of`."""

    __slots__ = ("__weakref__", "_loop", "_timer", "_waiting", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.seconds = seconds
        self._loop = loop
        self._waiting: dict[Callable[[], None], float] = {}
        """When each ends, by the loop's time, soonest first."""
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, seconds: float) -> Timeouts:
        """Those of the running loop that last so long."""
        loop = asyncio.get_running_loop()
        lines = _lines.get(loop)
        if lines is None:
            lines = _lines[loop] = WeakValueDictionary()
        line = lines.get(seconds)
        if line is None:
            line = lines[seconds] = cls(loop, seconds)
        return line

    def begin(self, over: Callable[[], None]) -> float:
        """Call ``over`` when the time is up, which by the loop's time is what is returned.

        One function has one time-out: if it waited already, it now waits from now on.
        """
        waiting = self._waiting
        waiting.pop(over, None)
        waiting[over] = until = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._due)
        return until

    def call_off(self, over: Callable[[], None]) -> None:
        """Do not call ``over`` any more."""
        self._waiting.pop(over, None)

    def _due(self) -> None:
        waiting, now = self._waiting, self._loop.time() + _CLOCK_STEP
        try:
            while waiting:
                over, until = next(iter(waiting.items()))
                if until > now:
                    return
                del waiting[over]
                over()
        finally:
            next_one = next(iter(waiting.values()), None)
            self._timer = None if next_one is None else self._loop.call_at(next_one, self._due)
