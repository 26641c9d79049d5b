"""Puts what a large gateway holds on large pages of memory.

A poll touches a little of all that a plant is made of, and a second passes until it does so again. With thousands of
plants and pages of 4 KiB the processor then looks up nearly every page anew, which takes a tenth of the time. Linux
has pages of 2 MiB as well and puts memory on them for whoever asks; Python does not ask (docs/decisions/0018).
"""

from __future__ import annotations

import asyncio
import errno
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

LARGE_PAGE: Final = 2 * 1024 * 1024
LOOK_EVERY: Final = 2.0
"""Seconds between two looks at how much memory is in use."""
WORTH_IT: Final = 96 * 1024 * 1024
"""Bytes in use from which on it is done: below, the processor keeps up."""
GROWN: Final = 16 * 1024 * 1024
"""Bytes that are in use beyond those of the last time before it is done again."""
IN_USE: Final = 0.9
"""Share of a mapping that has to be in use: what is not would be from then on."""

_COLLAPSE: Final = 25  # MADV_COLLAPSE, madvise(2); since Linux 6.1
_PAUSE: Final = 0.005  # seconds after each page, which takes as long: others want the core, too
_MEMORY: Final = Path("/proc/self")
_PAGE: Final = 4096
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 +(?:\[heap\])?\n", re.ASCII)
_FIGURE: Final = re.compile(r"(Rss|AnonHugePages): +([0-9]+) kB\n", re.ASCII)

log = structlog.get_logger()


async def use_large_pages() -> None:
    """Ask for large pages whenever the process has grown. Returns if this system has none to give."""
    done = WORTH_IT - GROWN
    while (used := _used()) is not None:
        if used >= done + GROWN:
            done = used
            if not await asyncio.to_thread(collapse):
                return
        await asyncio.sleep(LOOK_EVERY)


def collapse() -> bool:
    """Put this process's own memory on large pages, as far as there are any. False: this system does not do that."""
    import ctypes  # half a megabyte that a small gateway goes without

    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    try:
        smaps = (_MEMORY / "smaps").read_text()
    except OSError:
        return False
    for start, end in small_pages(smaps):
        for place in range(start, end, LARGE_PAGE):
            if madvise(place, LARGE_PAGE, _COLLAPSE) and ctypes.get_errno() == errno.EINVAL:
                log.debug("no large pages", reason="the kernel is older than 6.1, or they are switched off")
                return False
            time.sleep(_PAUSE)
    return True


def small_pages(smaps: str) -> Iterator[tuple[int, int]]:
    """From ``/proc/self/smaps``: where memory of our own is that is in use and mostly on small pages.

    Start and end of each stretch of whole large pages.
    """
    lines = iter(smaps.splitlines(keepends=True))
    where: tuple[int, int] | None = None
    used = 0
    for line in lines:
        if line[0] in "0123456789abcdef":
            mapping = _MAPPING.fullmatch(line)
            where = (int(mapping[1], 16), int(mapping[2], 16)) if mapping else None
        elif where is not None and (figure := _FIGURE.fullmatch(line)):
            size = 1024 * int(figure[2])
            if figure[1] == "Rss":
                used = size
                continue
            start, end = where
            first, last = -(-start // LARGE_PAGE) * LARGE_PAGE, end // LARGE_PAGE * LARGE_PAGE
            if first < last and used >= IN_USE * (end - start) and size < IN_USE * (last - first):
                yield first, last


def _used() -> int | None:
    """Bytes in use; None: this system does not tell."""
    try:
        return int((_MEMORY / "statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None
