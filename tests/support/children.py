"""Child processes that do not keep a test waiting."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DEADLINE = 60.0
"""Seconds; generous, because tests share their machine."""


@contextmanager
def ending(process: subprocess.Popen[Any], *, within: float = DEADLINE) -> Iterator[None]:
    """Kill the child if the block, which listens to it or waits for it, takes too long; fails then."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(within, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if late.is_set():
            raise AssertionError(f"{process.args!r} was not done within {within:g} s, and was killed")
