"""A broker for session tests, and the check that a test left nothing behind on its event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.broker import Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A fresh one for each test: nobody else's subscriptions or retained messages."""
    with Broker.running(tmp_path, users=("plant-a", "plant-b")) as running:
        yield running


@pytest.fixture
async def clean_loop() -> AsyncIterator[None]:
    """Nothing reached the loop's exception handler, and no task is left."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    gc.collect()
    for _ in range(3):
        await asyncio.sleep(0)
    assert complaints == []
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}
