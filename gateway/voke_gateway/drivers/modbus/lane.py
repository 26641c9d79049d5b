"""Whose turn it is on a connection: one at a time, the urgent before the patient."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class Lane:
    """A lock with two queues. Writes and their read-backs are urgent, polls are patient.

    A poll takes a turn per request, not per pass, so that a write waits for one request at most.
    """

    __slots__ = ("_busy", "_patient", "_urgent")

    def __init__(self) -> None:
        self._busy = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()

    def acquire_now(self) -> bool:
        """Take a turn if nobody has one; whether that was so."""
        if self._busy:
            return False
        self._busy = True
        return True

    async def acquire(self, *, urgent: bool) -> None:
        """Wait for a turn; first come, first served within each queue."""
        if self.acquire_now():
            return
        queue = self._urgent if urgent else self._patient
        waiter = asyncio.get_running_loop().create_future()
        queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):
                    queue.remove(waiter)
            else:  # the turn had just been given
                self._pass_on()
            raise

    def release(self, pause: float = 0.0) -> None:
        """End the turn; the next one starts after ``pause`` seconds of silence."""
        if pause > 0.0:
            asyncio.get_running_loop().call_later(pause, self._pass_on)
        elif self._urgent or self._patient:
            self._pass_on()
        else:
            self._busy = False

    def _pass_on(self) -> None:
        for queue in (self._urgent, self._patient):
            while queue:
                waiter = queue.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._busy = False
