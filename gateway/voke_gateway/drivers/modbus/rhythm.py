"""How often passes over a connection come, as far as they tell, and how long a probe may last before the next."""

from __future__ import annotations

import math
from typing import Final

_SHARE: Final = 0.8
_LEAST_SHARE: Final = 0.2
"""A probe may last until this much of the time between two passes is over, but always this much of it."""
_LEAST: Final = 0.05
"""Seconds that a probe may always last."""
_AS_EXPECTED: Final = 1.5


class Rhythm:
    """Of one connection; times are the loop's."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._between = math.inf
        """Seconds from one pass to the next, as far as is known."""
        self._lasted = 0.0
        """Seconds that the last pass took."""

    def begin(self, now: float) -> None:
        """A pass begins.

        One that lasts longer than the time between two makes the next ones be left out. None was if it lasted less
        than half the time until this one, or if this one came when expected; otherwise all that is known is that
        passes are further apart than the end of the last one and this one.
        """
        gap = now - self._began
        if self._lasted < gap / 2 or gap < _AS_EXPECTED * self._between < math.inf:
            self._between = min(gap, 2 * self._between)
        else:
            self._between = min(self._between, max(gap - self._lasted, _LEAST))
        self._began = now

    def end(self, now: float) -> None:
        """The pass has ended."""
        self._lasted = now - self._began

    def left(self, now: float) -> float:
        """Seconds that a probe may last which begins now."""
        left = _SHARE * self._between - (now - self._began)
        return max(left, _LEAST_SHARE * self._between, _LEAST)
