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
    """A :class:`Pace` and where in it we are. It has no clock: times are the caller's."""

    __slots__ = ("_pace", "_random", "failures", "until")

    def __init__(self, pace: Pace, random: Random) -> None:
        self._pace = pace
        self._random = random
        self.failures = 0
        """In a row, without a success."""
        self.until = 0.0
        """Time before which nothing should be tried, for whoever uses :meth:`failed`."""

    @property
    def active(self) -> bool:
        """The last try failed; stays so until one succeeds, also when the next is due."""
        return self.failures > 0

    def due(self, now: float) -> bool:
        """A try is allowed now."""
        return now >= self.until

    def next(self) -> float:
        """A try failed: seconds to wait now; the next time it will be longer."""
        delay = self._pace.delay(self.failures, self._random)
        self.failures += 1
        return delay

    def failed(self, now: float) -> None:
        """A try failed now: the next is due after :meth:`next`."""
        self.until = now + self.next()

    def reset(self) -> None:
        """Things went well: start small again."""
        self.failures = 0
        self.until = 0.0
