"""Keeps Python's garbage collector from stopping the event loop.

A gateway's plants are hundreds of thousands of objects that stay, and polling makes no reference cycles. Left
alone, the collector looks through all of them again and again: with 4,000 PLCs that took a third of the CPU
and stopped the loop for a quarter of a second at a time (docs/performance.md). So what is there once the
gateway has settled is never looked at again; what comes later, such as a plant that is changed, is.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

SETTLED: Final = 30.0
"""Seconds after which plants have been read and sessions are up. Nothing is collected until then."""
YOUNG: Final = 10_000
"""More objects made than freed before the young ones are looked through. Python's 700 is soon reached by a tick."""


def spare_what_stays(*, settled: float = SETTLED) -> None:
    """Call once, at the start of the process, inside the running event loop."""
    gc.disable()
    gc.set_threshold(YOUNG, 10, 10)
    asyncio.get_running_loop().call_later(settled, _settle)


def _settle() -> None:
    gc.freeze()
    gc.enable()
