"""The gateway as a process: real clock, real sockets, signals, and an end within ten seconds."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, Final

import structlog

from voke_gateway.clock import system_clock
from voke_gateway.drivers.registry import DRIVERS
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Quota
from voke_gateway.protocol.envelope import new_nonce
from voke_gateway.runtime.gateway import VERSION, Assignment, Gateway
from voke_gateway.runtime.http import HttpServer
from voke_gateway.uplink.mqtt import AiomqttConnector

DRAIN: Final = 8.0
"""Seconds for ending passes, closing PLCs and delivering what was read."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the process is told beside its plants."""

    name: str
    """Name of the gateway, for status."""
    http_host: str
    http_port: int
    """0: a free one, which is logged."""
    quota: Quota = field(default_factory=Quota)
    per_plant_metrics: bool = True
    per_connection_metrics: bool = False


async def serve(assignments: Iterable[Assignment], options: Options) -> None:
    """Run the plants until SIGTERM or SIGINT, then drain.

    Raises:
        AddressInUseError: the HTTP address cannot be listened on; nothing was started.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(
        options.name,
        drivers=DRIVERS,
        connector=AiomqttConnector(),
        store=MemoryStore(options.quota, system_clock),
        wall_clock=system_clock,
        random=SystemRandom(),
        nonce=new_nonce,
        per_plant_metrics=options.per_plant_metrics,
        per_connection_metrics=options.per_connection_metrics,
    )
    server = HttpServer(gateway.routes())
    port = await server.start(options.http_host, options.http_port)
    log.info(
        "gateway started", version=VERSION, http=f"{options.http_host}:{port}", open_files=_raise_limit()
    )
    try:
        gateway.start(assignments)
        await stop.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second signal ends the process at once
        log.info("gateway stopping", within=DRAIN)
    finally:
        await gateway.stop(DRAIN)
        await server.close()
    log.info("gateway stopped")


def run_forever(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` on uvloop where there is one, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def _raise_limit() -> int:
    """Allow as many open files as the system lets us: two per PLC and plant are soon a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
