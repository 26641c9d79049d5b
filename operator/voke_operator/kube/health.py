"""Whether the operator is alive and ready: how late the event loop is, how old what the watches say."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_EVERY: Final = 0.5
_REMEMBERED: Final = 30.0


@dataclass(frozen=True, slots=True)
class Health:
    """An answer to a probe."""

    ok: bool
    reasons: tuple[str, ...] = ()
    """What is wrong, for people."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds beyond which something is wrong."""

    loop_lag: float = 10.0
    """The first list of a large fleet alone stalls the loop for a second or two."""
    watch_age: float = 1500.0
    """Two and a half times what is between two lists: neither watch nor list have been heard of."""


class LoopLag:
    """Measures how late the event loop runs its timers."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque()

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + _EVERY
            await asyncio.sleep(_EVERY)
            now = clock()
            self._late.append((now, now - due))
            while self._late[0][0] < now - _REMEMBERED:
                self._late.popleft()

    @property
    def recent(self) -> float:
        """The largest delay of the last half minute, seconds."""
        return max((late for _, late in self._late), default=0.0)


def liveness(*, lag: float, ages: Mapping[str, float], limits: Limits) -> Health:
    """Whether a restart would help: the loop hangs, or one kind is not heard of while others are.

    When nothing at all is heard the API server is away, and a restart would only add to its load.

    Args:
        lag: of the event loop, seconds.
        ages: seconds since each kind was heard of.
        limits: what is too much.
    """
    reasons = []
    if lag > limits.loop_lag:
        reasons.append(f"the event loop was late by {lag:.1f} s, more than {limits.loop_lag:g} s")
    freshest = min(ages.values(), default=0.0)
    reasons += [
        f"nothing was heard of {kind} for {age:.0f} s, while other kinds were: more than {limits.watch_age:g} s"
        for kind, age in sorted(ages.items())
        if age - freshest > limits.watch_age
    ]
    return Health(not reasons, tuple(reasons))


def readiness(*, synced: bool) -> Health:
    """Whether it can work, or take over: everything has been listed once. A standby is ready."""
    return Health(True) if synced else Health(False, ("not everything has been listed yet",))
