"""Keeps a part of a plant running: what crashes is logged and started again, and its neighbours go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random

import structlog

FIRST_DELAY = 1.0
"""Seconds before the first restart; doubled each time."""
LONGEST_DELAY = 60.0
"""Seconds; a part that ran longer than this before it crashed starts again from the first delay."""

log = structlog.get_logger()


async def supervise(
    name: str, part: Callable[[], Coroutine[None, None, None]], *, plant: str, random: Random
) -> None:
    """Run ``part`` until it returns. After an exception it is run again, after a growing, jittered delay."""
    loop = asyncio.get_running_loop()
    delay = FIRST_DELAY
    while True:
        started = loop.time()
        try:
            await part()
        except Exception:
            if loop.time() - started > LONGEST_DELAY:
                delay = FIRST_DELAY
            wait = delay * random.uniform(0.5, 1.0)
            delay = min(delay * 2, LONGEST_DELAY)
            log.exception("crashed, will be restarted", part=name, plant=plant, restart_in=round(wait, 3))
            await asyncio.sleep(wait)
        else:
            return
