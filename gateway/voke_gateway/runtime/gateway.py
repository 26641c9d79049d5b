"""The gateway: the plants it runs, what it says of them, and an orderly end.

What it is to do comes as :class:`~voke_gateway.runtime.work.Work`, whole, as often as it changes. Each plant
then follows in its own time: one step after the other, always towards the newest version, whatever came in
between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from random import Random
from typing import Final

import structlog

from voke_api.bundle import FORMATS
from voke_api.status import CredentialStatus, GatewayStatus, PlantStatus
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import Drivers
from voke_gateway.outbox.store import Store
from voke_gateway.plant.runner import PlantRunner
from voke_gateway.plant.turns import Turns
from voke_gateway.runtime.http import Response, Routes
from voke_gateway.runtime.leases import Leases
from voke_gateway.runtime.status import credential_status, plant_status
from voke_gateway.runtime.totals import Totals
from voke_gateway.runtime.work import Assignment, Work, without_conflicts
from voke_gateway.stats import GatewayStats
from voke_gateway.uplink.session import Connector, CredentialsError

VERSION: Final = version("voke-fleet")
LAG_EVERY: Final = 0.5
"""Seconds between two looks at the event loop's lag."""
UNHEALTHY_LAG: Final = 10.0
"""Seconds by which the loop may be late before the process is better restarted."""
REMOVE_WITHIN: Final = 8.0
"""Seconds that a plant which is removed gets for ending its passes and delivering what was read."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Place:
    """One plant: what it is to be, and how far it has come."""

    name: str
    wanted: Assignment | None = None
    """None: to be removed."""
    current: Assignment | None = None
    """What its runner was last told."""
    runner: PlantRunner | None = None
    task: asyncio.Task[None] | None = None
    follower: asyncio.Task[None] | None = None
    credentials: tuple[CredentialStatus, ...] = ()
    failure: str = ""
    """Why ``current`` is not in force."""
    stopping: bool = False


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
        notes_are_logged: bool = False,
    ) -> None:
        """``notes_are_logged``: by whoever makes the bundles, into the same log."""
        self._name = name
        self._notes_are_logged = notes_are_logged
        self._drivers = drivers
        self._connector = connector
        self._store = store
        self._wall_clock = wall_clock
        self._random = random
        self._nonce = nonce
        self._started_at = wall_clock()
        self._stats = GatewayStats()
        self._places: dict[str, _Place] = {}
        self._turns = Turns()
        self._leases = Leases()
        self._turn = asyncio.Lock()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._generation: int | None = None
        self._problems: Mapping[str, str] = {}
        """By plant name."""
        self._remarks: tuple[str, ...] = ()
        self._trouble = ""
        self._gone = Totals()
        self._ready = False
        self._stopping = False
        self._lag_watch: asyncio.Task[None] | None = None
        self._per_plant_metrics = per_plant_metrics
        self._per_connection_metrics = per_connection_metrics
        self._exposition: Callable[[], bytes] | None = None

    def start(self) -> None:
        """Begin to watch the event loop. Plants come with :meth:`apply`."""
        self._lag_watch = asyncio.get_running_loop().create_task(self._watch_lag(), name="loop lag")

    def apply(self, work: Work) -> None:
        """Do ``work`` from now on. Returns at once: each plant that differs changes in its own time.

        Where two plants want the same PLC or plant id, the one that has it keeps it; see ``/status``.
        """
        if self._stopping:
            return
        before = {name: each.wanted for name, each in self._places.items() if each.wanted is not None}
        chosen, refused = without_conflicts(before, work.assignments)
        news = work.generation != self._generation
        self._generation = work.generation
        self._tell(work.notes, {**work.problems, **refused}, work.remarks)
        changed = [n for n in chosen.keys() | self._places.keys() if chosen.get(n) is not before.get(n)]
        for name in sorted(changed):
            place = self._places.setdefault(name, _Place(name))
            place.wanted = chosen.get(name)
            if place.follower is None:
                self._quiet.clear()
                place.follower = asyncio.get_running_loop().create_task(
                    self._follow(place), name=f"follow [{name}]"
                )
        self._leases.stir()
        if news:
            log.info(
                "bundle taken in",
                generation=work.generation,
                plants=len(chosen),
                changed=len(changed),
                problems=len(self._sentences()),
            )
        if self._quiet.is_set():
            self._ready = True

    def report(self, trouble: str) -> None:
        """There is no bundle to read, and why; empty: there is. Everything runs on as it is."""
        if trouble != self._trouble and not self._stopping:
            if trouble:
                log.error("bundle unreadable", problem=trouble)
            else:
                log.info("bundle readable again")
        self._trouble = trouble

    async def settled(self) -> None:
        """Return when every plant is what it is to be."""
        await self._quiet.wait()

    async def stop(self, within: float) -> None:
        """Drain all plants at once, then close the store. Returns after about ``within`` seconds at most."""
        self._stopping = True
        followers = [each.follower for each in self._places.values() if each.follower is not None]
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
        running = [each for each in self._places.values() if each.runner is not None]
        await asyncio.gather(*(self._stop(each, within) for each in running), return_exceptions=True)
        for each in running:
            self._log_stopped(each)
        if self._lag_watch is not None:
            self._lag_watch.cancel()
            await asyncio.gather(self._lag_watch, return_exceptions=True)
        await self._store.close()

    def status(self) -> GatewayStatus:
        """Everything that ``/status`` says."""
        return GatewayStatus(
            gateway=self._name,
            version=VERSION,
            bundle_formats=FORMATS,
            started_at=self._started_at,
            bundle_generation=self._generation,
            bundle_problems=self._sentences(),
            plants=tuple(
                self._plant_status(name) for name in sorted(self._places.keys() | self._problems.keys())
            ),
        )

    def runner(self, plant: str) -> PlantRunner | None:
        """What runs a plant; None: it does not run here."""
        place = self._places.get(plant)
        return None if place is None else place.runner

    def routes(self) -> Routes:
        """What the HTTP server serves."""
        return {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/status": lambda: Response(
                self.status().model_dump_json(exclude_none=True).encode(), "application/json"
            ),
        }

    async def _follow(self, place: _Place) -> None:
        """Bring a plant to what it is to be, step by step, until nothing is left to do."""
        try:
            while place.wanted is not place.current or place.wanted is None:
                wanted = place.wanted
                try:
                    if wanted is None:
                        await self._remove(place)
                        if place.wanted is None:
                            del self._places[place.name]
                            return
                    else:
                        await self._bring(place, wanted)
                except Exception as error:  # a fault of ours or of a driver
                    log.exception("plant could not be changed", plant=place.name)
                    place.current, place.failure = wanted, f"could not be put into force: {error!r}"
                    if wanted is None:
                        del self._places[place.name]
                        return
        finally:
            place.follower = None
            if not any(each.follower for each in self._places.values()):
                self._ready = True
                self._quiet.set()

    async def _bring(self, place: _Place, wanted: Assignment) -> None:
        """One step towards ``wanted``. It may be overtaken by a newer one while it waits."""
        plant = wanted.plant
        if place.runner is not None and place.runner.plant.plant_id != plant.plant_id:
            await self._remove(place)  # another identity: nothing of the old one may be sent as the new one
        async with self._turn:  # one plant per turn of the loop: polls go on in between
            await asyncio.sleep(0)
        place.current = None  # from here on neither the old version nor the new one
        if place.runner is not None:
            await place.runner.make_way(plant)
        self._leases.leave(place.name, but=wanted.claims)
        if not await self._leases.take(
            place.name, wanted.claims, superseded=lambda: place.wanted is not wanted
        ):
            return
        async with self._turn:
            if place.runner is None:
                self._start(place, wanted)
            else:
                place.runner.install(plant, wanted.credentials)
                log.info("plant changed", plant=place.name, suspended=plant.suspend)
            place.credentials = _credential_status(wanted)
            place.current, place.failure = wanted, ""
            if plant.read_only is not None:
                log.warning("plant is read-only", plant=place.name, reason=plant.read_only)
            await asyncio.sleep(0)

    def _start(self, place: _Place, wanted: Assignment) -> None:
        plant = wanted.plant
        place.runner = runner = PlantRunner(
            plant,
            wanted.credentials,
            drivers=self._drivers,
            connector=self._connector,
            store=self._store,
            gateway_stats=self._stats,
            turns=self._turns,
            wall_clock=self._wall_clock,
            random=self._random,
            nonce=self._nonce,
        )
        place.task = asyncio.get_running_loop().create_task(runner.run(), name=f"plant [{plant.name}]")
        place.task.add_done_callback(self._plant_ended)
        log.info(
            "plant started",
            plant=plant.name,
            plant_id=plant.plant_id,
            devices=len(plant.devices),
            connections=len(plant.connections),
            interval=plant.interval,
            suspended=plant.suspend,
        )

    async def _remove(self, place: _Place) -> None:
        """Stop a plant and forget it, but not what it counted."""
        place.current = None
        if place.runner is not None:
            await self._stop(place, REMOVE_WITHIN)
            self._log_stopped(place)
            state = self._store.state(place.name)
            self._gone.add(place.runner, state)
            self._gone.dropped[("removed",)] += state.messages
            self._store.forget(place.name)
            place.runner = place.task = None
            place.stopping = False
        self._leases.leave(place.name)

    async def _stop(self, place: _Place, within: float) -> None:
        runner, task = place.runner, place.task
        assert runner is not None
        assert task is not None
        place.stopping = True
        try:
            await runner.stop(within)
        finally:
            await asyncio.wait([task], timeout=1.0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _log_stopped(self, place: _Place) -> None:
        assert place.runner is not None
        delivered = place.runner.stats.delivered.items()
        log.info(
            "plant stopped",
            plant=place.name,
            undelivered=self._store.state(place.name).messages,
            **{f"delivered_{kind}": count for kind, count in delivered},
        )

    def _tell(self, notes: Mapping[str, str], problems: Mapping[str, str], remarks: tuple[str, ...]) -> None:
        """Keep what is wrong with the work, and log what is new of it."""
        news = problems if self._notes_are_logged else {**notes, **problems}
        for name, problem in sorted(news.items()):
            if self._problems.get(name) != problem:
                log.error("plant is not as its bundle says", plant=name, problem=problem)
        problems = {**notes, **problems}
        for name in sorted(self._problems.keys() - problems.keys()):
            log.info("plant is as its bundle says again", plant=name)
        for remark in remarks:
            if remark not in self._remarks:
                log.error("bundle problem", problem=remark)
        self._problems, self._remarks = problems, remarks

    def _sentences(self) -> tuple[str, ...]:
        failures = {each.name: each.failure for each in self._places.values() if each.failure}
        plants = sorted({**failures, **self._problems}.items())
        whole = (self._trouble,) if self._trouble else ()
        return (*whole, *self._remarks, *(f"plant {name}: {problem}" for name, problem in plants))

    def _plant_status(self, name: str) -> PlantStatus:
        place = self._places.get(name)
        problem = self._problems.get(name, "") or (place.failure if place is not None else "")
        if place is not None and place.runner is not None:
            stopping = self._stopping or place.stopping
            return plant_status(
                place.runner, self._store, place.credentials, stopping=stopping, problem=problem
            )
        if problem or place is None or place.wanted is None:
            return PlantStatus(name=name, state="Invalid", message=problem)
        others = self._leases.holders(place.wanted.claims, other_than=name)
        waits = f"waits until {', '.join(sorted(others))} has stopped" if others else "is about to start"
        return PlantStatus(name=name, plant_id=place.wanted.plant.plant_id, message=waits)

    def _healthz(self) -> Response:
        """Alive: the event loop turns. Trouble with PLCs or Voke is no reason for a restart."""
        if self._stats.loop_lag > UNHEALTHY_LAG:
            return Response(f"the event loop is {self._stats.loop_lag:.1f} s late\n".encode(), status=503)
        return Response(b"ok\n")

    def _readyz(self) -> Response:
        """Ready: the plants of its first bundle have been started, and it is not about to stop."""
        if self._stopping:
            return Response(b"stopping\n", status=503)
        return Response(b"ok\n") if self._ready else Response(b"starting\n", status=503)

    def _metrics(self) -> Response:
        """Prometheus' library takes 3 MB, so it is there from the first scrape on."""
        from voke_gateway.runtime import metrics

        if self._exposition is None:
            collector = metrics.GatewayCollector(
                sources=lambda: [
                    metrics.Source(each.runner, each.credentials)
                    for each in self._places.values()
                    if each.runner
                ],
                gone=self._gone,
                bundle=lambda: (self._generation, len(self._sentences())),
                store=self._store,
                stats=self._stats,
                version=VERSION,
                per_plant=self._per_plant_metrics,
                per_connection=self._per_connection_metrics,
            )
            self._exposition = metrics.exposition(collector)
        return Response(self._exposition(), metrics.CONTENT_TYPE)

    def _plant_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("plant ended", task=task.get_name(), error=repr(error), exc_info=error)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self._stats.loop_lag = max(0.0, loop.time() - due)


def _credential_status(assignment: Assignment) -> tuple[CredentialStatus, ...]:
    try:
        return credential_status(assignment.plant, assignment.credentials)
    except (ValueError, CredentialsError):
        return ()  # the uplink says what is wrong with them
