"""From an empty directory to a summary: everything that has to run for the demo, in its order."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voke_cli.demo.documents import write_documents
from voke_cli.demo.gateway import GatewayError, GatewayProcess
from voke_cli.demo.view import View
from voke_cli.state import State, StateError
from voke_sim.demo import Demo
from voke_sim.node import NodeMissingError
from voke_sim.voke import BrokerError, JudgeError, LocalVoke, PluginBuildError

Json = dict[str, Any]

LOOK_EVERY = 0.25
"""Seconds between two looks at what Voke and the gateway say."""
ENDING = 3.0
"""Seconds before the end at which the last command is sent, if there is time for that."""
_ARRIVE_WITHIN = 3.0
"""Seconds that what was sent may still take to the judge."""


class DemoError(Exception):
    """The demo could not be given; the message says why and what to do."""


async def perform(directory: Path, seconds: float | None, view: View) -> Json:
    """Give the demo until the time is over or somebody interrupts it, and sum it up.

    Raises:
        DemoError: something that it needs is missing or failed.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    try:
        with view:
            async with (
                LocalVoke.start(directory / "voke") as voke,
                Demo.start(voke, tell=view.tell) as demo,
            ):
                return await _with_gateway(directory, seconds, view, demo, interrupted)
    except (BrokerError, PluginBuildError, NodeMissingError, JudgeError, StateError, GatewayError) as error:
        raise DemoError(str(error)) from error
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _with_gateway(
    directory: Path, seconds: float | None, view: View, demo: Demo, interrupted: asyncio.Event
) -> Json:
    loop = asyncio.get_running_loop()
    state = directory / "state"
    await write_documents(demo, directory / "plants", State(state))
    started = loop.time()
    async with GatewayProcess.start(
        directory / "plants", state=state, log=directory / "gateway.log", hear=view.hear
    ) as gateway:
        demo.command()
        end = math.inf if seconds is None else started + seconds

        def over(early: float = 0.0) -> bool:
            return interrupted.is_set() or loop.time() >= end - early

        await _watch(demo, gateway, view, lambda: over(early=ENDING))
        hush = asyncio.create_task(demo.hush(), name="hush")
        await _watch(demo, gateway, view, hush.done)
        await hush
        await _watch(demo, gateway, view, over)
        status = await gateway.status()
        if await gateway.stop():
            raise gateway.failure()
        sent = gateway.delivered_snapshots
        with contextlib.suppress(TimeoutError):
            counters = demo.voke.counters
            await demo.voke.wait_for(
                lambda: (
                    counters.total_accepted(kind="telemetry") + counters.total_refused(kind="telemetry")
                    >= sent
                ),
                _ARRIVE_WITHIN,
            )
        demo.look()
        view.update(demo, status)
    return {**demo.summary(), "snapshots_sent": sent, "seconds": round(loop.time() - started, 1)}


async def _watch(demo: Demo, gateway: GatewayProcess, view: View, done: Callable[[], bool]) -> None:
    """Show what happens until it is done.

    Raises:
        GatewayError: the gateway ended by itself.
    """
    while not done():
        if gateway.ended:
            raise gateway.failure()
        demo.look()
        view.update(demo, await gateway.status())
        await asyncio.sleep(LOOK_EVERY)
