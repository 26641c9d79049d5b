"""The limit of open files: raised at the start, and said clearly when it is reached after all."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from typing import Final

import structlog

LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether a file can be opened."""

CLEAR_AFTER: Final = 60.0
"""Seconds without trouble after which it is over: at the limit, files come and go."""

log = structlog.get_logger()


def raise_limit() -> int:
    """Allow as many open files as the system lets us: two per PLC and plant are soon a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft


async def watch_limit() -> None:
    """Say once when no file can be opened any more, and once when that is over. Runs until cancelled.

    Whoever needs a socket then fails like on any other trouble, and tries again.
    """
    loop = asyncio.get_running_loop()
    last_seen: float | None = None
    while True:
        problem = _problem()
        if problem:
            if last_seen is None:
                log.error("out of open files", problem=problem)
            last_seen = loop.time()
        elif last_seen is not None and loop.time() - last_seen > CLEAR_AFTER:
            last_seen = None
            log.info("files can be opened again")
        await asyncio.sleep(LOOK_EVERY)


def _problem() -> str:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.EMFILE:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return (
                f"this process may open {limit} files and has: PLCs and plants beyond cannot be connected. "
                "Raise the hard limit (ulimit -Hn, LimitNOFILE= of systemd) or run fewer plants here"
            )
        if error.errno == errno.ENFILE:
            return "this machine may open no more files: raise the sysctl fs.file-max"
    return ""
