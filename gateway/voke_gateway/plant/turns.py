"""Which plants tick in a turn of the event loop: a few at a time, first come, first served.

A tick that starts writes requests; their replies, messages and PUBACKs are the work of the turns after it. If
all ticks that are due started at once, they would all end when the last one does, and with more of them than
the process can carry none would end in time. So a turn starts a few passes only, and what is due beyond that
waits. There is always work, so nothing is lost by it; what was started ends soon, in one message; and since
every plant has one place in the queue, each gets the same number of ticks, however little time there is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

PASSES: Final = 16
"""Passes over PLC connections that a turn starts: a millisecond or two of work, besides which the turn itself
costs nothing. The plant that goes beyond is the last one."""


class Turns:
    """Shares the event loop among the ticks of all plants. One for the whole process."""

    __slots__ = ("_left", "_loop", "_turning", "_waiting")

    def __init__(self) -> None:
        self._left = PASSES
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turning = False
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()

    def take(self, passes: int, start: Callable[[], None]) -> None:
        """Call ``start``, which begins so many passes, at once if there is room, else in its turn.

        ``start`` raises nothing.
        """
        if self._waiting or self._left <= 0:
            self._waiting.append((passes, start))
        else:
            self._left -= passes
            start()
        if not self._turning:
            self._turning = True
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._left = PASSES
        self._turning = bool(self._waiting)
        while self._waiting and self._left > 0:
            passes, start = self._waiting.popleft()
            self._left -= passes
            start()
        if self._turning:
            assert self._loop is not None
            self._loop.call_soon(self._turn)
