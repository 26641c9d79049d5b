"""When to try again what just failed: exponential, capped, with full jitter. Pure state, no clock of its own."""

from __future__ import annotations

from random import Random


class BackOff:
    """Counts failures in a row and says when the next try is due.

    Full jitter – a delay anywhere between none and the bound – keeps a thousand gateways that lost the same
    thing at once from coming back at once.

    Args:
        first: Upper bound of the delay after the first failure, in seconds.
        cap: Upper bound of every delay, in seconds.
        random: Source of the jitter.
    """

    __slots__ = ("_cap", "_first", "_random", "failures", "until")

    def __init__(self, first: float, cap: float, random: Random) -> None:
        self._first = first
        self._cap = cap
        self._random = random
        self.failures = 0
        self.until = 0.0
        """Loop time before which nothing should be tried."""

    @property
    def active(self) -> bool:
        """The last try failed; stays so until one succeeds, also when the next is due."""
        return self.failures > 0

    def due(self, now: float) -> bool:
        """A try is allowed at loop time ``now``."""
        return now >= self.until

    def failed(self, now: float) -> None:
        """A try failed: the next is due after a while that grows."""
        bound = min(self._cap, self._first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        self.until = now + self._random.uniform(0.0, bound)

    def succeeded(self) -> None:
        """A try succeeded: the back-off is over."""
        self.failures = 0
        self.until = 0.0
