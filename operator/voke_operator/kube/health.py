"""Whether the operator is alive and ready: how late the event loop is, how old what the watches say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
    watch_age: float = 900.0
    """Longer than the time between two lists: only what no list has cured either."""


class LoopLag:
    """Measures how late the event loop runs its timers."""

    async def run(self) -> None:
        """Measure until cancelled."""

    @property
    def recent(self) -> float:
        """The largest delay of the last half minute, seconds."""
        raise NotImplementedError


def liveness(*, lag: float, ages: Mapping[str, float], limits: Limits) -> Health:
    """Whether a restart would help: the loop hangs, or a watch has died and no list has cured it."""
    raise NotImplementedError


def readiness(*, synced: bool) -> Health:
    """Whether it can take over or go on: everything is listed. A standby is ready."""
    raise NotImplementedError
