"""Keeps a part of a plant running: what crashes is logged and started again, and its neighbours go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Final

import structlog

from voke_api.backoff import Backoff, Pace

_RESTART: Final = Pace(base=1.0, cap=60.0, floor=0.5)
"""A part that ran longer than its cap before it crashed starts again from its base."""

log = structlog.get_logger()


async def supervise(
    name: str, part: Callable[[], Coroutine[None, None, None]], *, plant: str | None = None, random: Random
) -> None:
    """Run ``part`` until it returns. After an exception it is run again, after a growing, jittered delay.

    ``plant``: whose part it is; None: the gateway's own.
    """
    whose = {} if plant is None else {"plant": plant}
    loop = asyncio.get_running_loop()
    backoff = Backoff(_RESTART, random)
    while True:
        started = loop.time()
        try:
            await part()
        except Exception:
            if loop.time() - started > _RESTART.cap:
                backoff.reset()
            wait = backoff.next()
            log.exception("crashed, will be restarted", part=name, **whose, restart_in=round(wait, 3))
            await asyncio.sleep(wait)
        else:
            return
