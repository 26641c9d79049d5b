"""What holds for all tests. Nothing waits for ever, not even after its test: who does is shown and ended.

pytest-timeout fails a test once. What fixtures wait for afterwards, and the interpreter at its end, is out of
its reach, and then a run has no summary that would say where it hangs.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)  # whether it is slow or busy, nobody can tell
settings.load_profile("shared machine")

TEARDOWN_WITHIN = 90.0
EXIT_WITHIN = 30.0
"""Seconds."""

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.dup(2)  # during a test standard error is caught, and lost with the process


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    faulthandler.dump_traceback_later(TEARDOWN_WITHIN, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist is idle from now on, and ended by the process that says the summary
    faulthandler.dump_traceback_later(EXIT_WITHIN, exit=True, file=config.stash[_STDERR])
