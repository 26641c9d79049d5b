"""The gateway: the plants it runs, what it says of them, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from random import Random
from typing import Final

import structlog

from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_api.status import CredentialStatus, GatewayStatus
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import Drivers
from voke_gateway.outbox.store import Store
from voke_gateway.plant.runner import PlantRunner
from voke_gateway.runtime.http import Response, Routes
from voke_gateway.runtime.metrics import CONTENT_TYPE, GatewayCollector, Source, exposition
from voke_gateway.runtime.status import credential_status, plant_status
from voke_gateway.stats import GatewayStats
from voke_gateway.uplink.session import Connector

VERSION: Final = version("voke-fleet")
LAG_EVERY: Final = 0.5
"""Seconds between two looks at the event loop's lag."""
UNHEALTHY_LAG: Final = 10.0
"""Seconds by which the loop may be late before the process is better restarted."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Assignment:
    """One plant to run."""

    plant: ResolvedPlant
    credentials: PlantCredentials


@dataclass(slots=True)
class _Running:
    runner: PlantRunner
    task: asyncio.Task[None]
    credentials: tuple[CredentialStatus, ...]


class Gateway:
    """Runs plants. Made inside a running event loop."""

    def __init__(
        self,
        name: str,
        *,
        drivers: Drivers,
        connector: Connector,
        store: Store,
        wall_clock: WallClock,
        random: Random,
        nonce: Callable[[], str],
        per_plant_metrics: bool = True,
        per_connection_metrics: bool = False,
    ) -> None:
        self._name = name
        self._drivers = drivers
        self._connector = connector
        self._store = store
        self._wall_clock = wall_clock
        self._random = random
        self._nonce = nonce
        self._started_at = wall_clock()
        self._stats = GatewayStats()
        self._plants: dict[str, _Running] = {}
        self._ready = False
        self._stopping = False
        self._lag_watch: asyncio.Task[None] | None = None
        self._metrics = exposition(
            GatewayCollector(
                sources=lambda: [Source(each.runner, each.credentials) for each in self._plants.values()],
                store=store,
                stats=self._stats,
                version=VERSION,
                per_plant=per_plant_metrics,
                per_connection=per_connection_metrics,
            )
        )

    def start(self, assignments: Iterable[Assignment]) -> None:
        """Start the plants. They connect in their own time."""
        loop = asyncio.get_running_loop()
        self._lag_watch = loop.create_task(self._watch_lag(), name="loop lag")
        for assignment in assignments:
            plant = assignment.plant
            runner = PlantRunner(
                plant,
                assignment.credentials,
                drivers=self._drivers,
                connector=self._connector,
                store=self._store,
                gateway_stats=self._stats,
                wall_clock=self._wall_clock,
                random=self._random,
                nonce=self._nonce,
            )
            task = loop.create_task(runner.run(), name=f"plant [{plant.name}]")
            task.add_done_callback(self._plant_ended)
            self._plants[plant.name] = _Running(
                runner, task, credential_status(plant, assignment.credentials)
            )
            log.info(
                "plant started",
                plant=plant.name,
                plant_id=plant.plant_id,
                devices=len(plant.devices),
                connections=len(plant.connections),
                interval=plant.interval,
                suspended=plant.suspend,
            )
            if plant.read_only is not None:
                log.warning("plant is read-only", plant=plant.name, reason=plant.read_only)
        self._ready = True

    async def stop(self, within: float) -> None:
        """Drain all plants at once, then close the store. Returns after about ``within`` seconds at most."""
        self._stopping = True
        running = list(self._plants.values())
        await asyncio.gather(*(each.runner.stop(within) for each in running), return_exceptions=True)
        if running:
            _, late = await asyncio.wait([each.task for each in running], timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for each in running:
            plant = each.runner.plant.name
            log.info(
                "plant stopped",
                plant=plant,
                undelivered=self._store.state(plant).messages,
                **{f"delivered_{kind}": count for kind, count in each.runner.stats.delivered.items()},
            )
        if self._lag_watch is not None:
            self._lag_watch.cancel()
            await asyncio.gather(self._lag_watch, return_exceptions=True)
        await self._store.close()

    def status(self) -> GatewayStatus:
        """Everything that ``/status`` says."""
        return GatewayStatus(
            gateway=self._name,
            version=VERSION,
            started_at=self._started_at,
            plants=tuple(
                plant_status(each.runner, self._store, each.credentials, stopping=self._stopping)
                for _, each in sorted(self._plants.items())
            ),
        )

    def routes(self) -> Routes:
        """What the HTTP server serves."""
        return {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": lambda: Response(self._metrics(), CONTENT_TYPE),
            "/status": lambda: Response(
                self.status().model_dump_json(exclude_none=True).encode(), "application/json"
            ),
        }

    def _healthz(self) -> Response:
        """Alive: the event loop turns. Trouble with PLCs or Voke is no reason for a restart."""
        if self._stats.loop_lag > UNHEALTHY_LAG:
            return Response(f"the event loop is {self._stats.loop_lag:.1f} s late\n".encode(), status=503)
        return Response(b"ok\n")

    def _readyz(self) -> Response:
        """Ready: the plants have been started, and the gateway is not about to stop."""
        if self._stopping:
            return Response(b"stopping\n", status=503)
        return Response(b"ok\n") if self._ready else Response(b"starting\n", status=503)

    def _plant_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("plant ended", task=task.get_name(), error=repr(error), exc_info=error)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self._stats.loop_lag = max(0.0, loop.time() - due)
