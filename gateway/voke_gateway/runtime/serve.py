"""The gateway as a process: real clock, real sockets, signals, and an end within ten seconds."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import structlog

from voke_api.probe import PATH
from voke_gateway.clock import system_clock
from voke_gateway.drivers.base import Drivers
from voke_gateway.drivers.registry import DRIVERS
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Quota
from voke_gateway.plant.supervise import supervise
from voke_gateway.protocol.envelope import new_nonce
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.bundle_source import BundleSource
from voke_gateway.runtime.garbage import spare_what_stays
from voke_gateway.runtime.gateway import VERSION, Gateway
from voke_gateway.runtime.http import AddressInUseError, HttpServer, at_most_a_second_old
from voke_gateway.runtime.large_pages import use_large_pages
from voke_gateway.runtime.open_files import raise_limit, watch_limit
from voke_gateway.runtime.probe import Probes
from voke_gateway.uplink.mqtt import AiomqttConnector

DRAIN: Final = 8.0
"""Seconds for ending passes, closing PLCs and delivering what was read."""

log = structlog.get_logger()

Part = Callable[[], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the process is told beside its plants."""

    name: str
    """Name of the gateway, for status."""
    bundle: Path
    """Directory of the bundle, which is read again whenever it changes."""
    http_host: str
    http_port: int
    """0: a free one, which is logged."""
    local: tuple[str, int] | None = None
    """Host and port of ``/probe``, for whoever may reach this process's loopback; None: none."""
    read_only: str | None = None
    """Why no register may be written, whatever the bundle says; None: what the bundle allows."""
    quota: Quota = field(default_factory=Quota)
    per_plant_metrics: bool = True
    per_connection_metrics: bool = False
    notes_are_logged: bool = False
    """Whoever makes the bundles writes their notes into the same log."""


async def serve(options: Options, *, drivers: Drivers = DRIVERS, beside: Part | None = None) -> None:
    """Run the bundle's plants until SIGTERM or SIGINT, then drain.

    ``beside`` runs along until then.

    Raises:
        AddressInUseError: the HTTP address cannot be listened on; nothing was started.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold every key
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    random = SystemRandom()
    gateway = Gateway(
        options.name,
        drivers=drivers,
        connector=AiomqttConnector(),
        store=MemoryStore(options.quota, system_clock),
        wall_clock=system_clock,
        random=random,
        nonce=new_nonce,
        per_plant_metrics=options.per_plant_metrics,
        per_connection_metrics=options.per_connection_metrics,
        notes_are_logged=options.notes_are_logged,
    )
    source = BundleSource(
        options.bundle,
        BundleReader(read_only=options.read_only),
        take=gateway.apply,
        trouble=gateway.report,
    )
    routes = gateway.routes()
    costly = {path: at_most_a_second_old(routes[path]) for path in ("/metrics", "/status")}
    server = HttpServer({**routes, **costly})
    port = await server.start(options.http_host, options.http_port)
    local = await _serve_local(options.local, gateway)
    log.info("gateway started", version=VERSION, http=f"{options.http_host}:{port}", open_files=raise_limit())
    parts: list[tuple[str, Part]] = [
        ("bundle", source.watch),
        ("open files", watch_limit),
        ("large pages", use_large_pages),
    ]
    if beside is not None:
        parts.append(("files", beside))
    tasks = [loop.create_task(supervise(name, part, random=random), name=name) for name, part in parts]
    try:
        gateway.start()
        await stop.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second signal ends the process at once
        log.info("gateway stopping", within=DRAIN)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await gateway.stop(DRAIN)
        await server.close()
        if local is not None:
            await local.close()
    log.info("gateway stopped")


async def _serve_local(address: tuple[str, int] | None, gateway: Gateway) -> HttpServer | None:
    """What is on no address of the pod. Nothing depends on it, so the gateway runs without if need be."""
    if address is None:
        return None
    server = HttpServer({}, {PATH: Probes(gateway.runner, gateway.status).answer}, by_address=True)
    try:
        port = await server.start(*address, option="--local")
    except AddressInUseError as error:
        log.warning("plants cannot be probed", problem=str(error))
        return None
    log.info("plants can be probed", http=f"{address[0]}:{port}")
    return server


def run_forever(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` as the only thing this process does: on uvloop where there is one, else on asyncio's loop."""

    async def run() -> None:
        spare_what_stays()
        await main

    try:
        import uvloop
    except ImportError:
        asyncio.run(run())
    else:
        uvloop.run(run())
