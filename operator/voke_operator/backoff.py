"""How long to wait before trying again: exponential, with full jitter, so that many do not return as one."""

from __future__ import annotations

from random import Random

_MOST_DOUBLINGS = 30


def full_jitter(failures: int, random: Random, *, first: float, longest: float) -> float:
    """Seconds to wait after so many failures in a row: anything up to ``first``, doubled each time, at most ``longest``.

    None after no failure.
    """
    if failures <= 0:
        return 0.0
    return random.uniform(0.0, min(longest, first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)))
