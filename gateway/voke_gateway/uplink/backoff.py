"""How long to wait before trying again: exponential, jittered, so that a fleet does not return as one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_MOST_DOUBLINGS = 30


@dataclass(frozen=True, slots=True)
class Pace:
    """How waiting grows."""

    base: float
    """Seconds: the longest first wait."""
    cap: float
    """Seconds: the longest wait ever."""
    floor: float = 0.0
    """Share of the growing wait that is never undercut; 0 is full jitter."""

    def delay(self, attempt: int, random: Random) -> float:
        """Seconds to wait after ``attempt`` earlier failures in a row."""
        longest = min(self.cap, self.base * 2.0 ** min(attempt, _MOST_DOUBLINGS))
        return random.uniform(self.floor * longest, longest)


class Backoff:
    """A :class:`Pace` and where in it we are."""

    __slots__ = ("_attempt", "_pace", "_random")

    def __init__(self, pace: Pace, random: Random) -> None:
        self._pace = pace
        self._random = random
        self._attempt = 0

    def next(self) -> float:
        """Seconds to wait now; the next will be longer."""
        delay = self._pace.delay(self._attempt, self._random)
        self._attempt += 1
        return delay

    def reset(self) -> None:
        """Things went well: start small again."""
        self._attempt = 0
