"""The clock seam: time comes in from outside, so that a day can be simulated in a second.

Monotonic time is the running event loop's ``time()``; sleeping and time-outs are asyncio's. Only the
wall clock needs a seam of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WallClock = Callable[[], float]
"""Seconds since the epoch (UTC)."""

system_clock: WallClock = time.time


def milliseconds(seconds: float) -> int:
    """Whole Unix milliseconds, as ``ts`` wants them (protocol §4)."""
    return int(seconds * 1000)
