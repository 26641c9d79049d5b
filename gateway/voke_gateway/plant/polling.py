"""Reads one version of a plant: a poller per connection, and what they read gathered into messages.

When the plant changes, another one takes over from the next tick on. A pass that is running then ends under
the version under which it began, and its readings are reported in that version's form: nothing is ever
published in a form that it was not read for.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial

import structlog

from voke_api.resolved import ResolvedDevice, ResolvedPlant
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import Connection, DeviceReading
from voke_gateway.plant.assemble import Assembly
from voke_gateway.plant.poller import Poller
from voke_gateway.plant.schedule import Tick
from voke_gateway.plant.snapshot import Reported, SnapshotFormat

log = structlog.get_logger()

Send = Callable[[SnapshotFormat, Mapping[int, Reported]], None]
"""Takes the reports of one message and what puts them into form. Raises nothing."""


class Polling:
    """The pollers of one version of a plant, and its assembly."""

    def __init__(
        self,
        plant: ResolvedPlant,
        connections: Mapping[str, Connection],
        *,
        observe: Callable[[Polling, DeviceReading], None],
        passed: Callable[[float], None],
        send_snapshot: Send,
        send_late: Send,
        wall_clock: WallClock,
        before: Polling | None = None,
    ) -> None:
        """``observe`` is told each reading, ``passed`` how long each pass took; they raise nothing.

        ``before`` polled the same connections until now and has been retired.
        """
        snapshot_format = SnapshotFormat(plant)
        self._observe = observe
        self._passed = passed
        self._assembly = Assembly(
            snapshot_format,
            within=plant.assemble_within,
            send_snapshot=partial(send_snapshot, snapshot_format),
            send_late=partial(send_late, snapshot_format),
        )
        self._pollers = {
            name: Poller(
                connections[name],
                devices,
                deliver=self._deliver,
                over=self._pass_over,
                wall_clock=wall_clock,
                after=before.poller(connections[name]) if before is not None else None,
            )
            for name, devices in devices_by_connection(plant).items()
        }
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.valid: Collection[str] = frozenset(device.external_id for device in plant.devices)
        """Devices whose readings mean what the newest version of the plant says."""

    def poller(self, connection: Connection) -> Poller | None:
        """The one that polls ``connection``, if any does."""
        found = self._pollers.get(connection.name)
        return found if found is not None and found.connection is connection else None

    def start(
        self, run: Callable[[str, Callable[[], Coroutine[None, None, None]]], asyncio.Task[None]]
    ) -> None:
        """Let ``run`` make a task of each poller, by name; a turn of the loop later they take turns."""
        for name, poller in self._pollers.items():
            self._tasks[name] = run(f"poller of {name}", poller.run)

    def tick(self, tick: Tick, skipped: Counter[str]) -> None:
        """Start the passes that are due; turns that connections lose are counted in ``skipped``."""
        started = []
        for name, poller in self._pollers.items():
            if tick.missed and poller.at_every_tick:
                skipped[name] += tick.missed
            devices = poller.due(tick)
            if not devices:
                continue
            if poller.busy:
                poller.sit_out(devices)
                skipped[name] += 1
            else:
                poller.start(devices)
                started.append(poller)
        self._assembly.begin(started)

    def flush(self) -> None:
        """Send what has been gathered so far."""
        self._assembly.flush()

    def retire(self, valid: Collection[str] = ()) -> None:
        """Start no pass any more. Those that run end and are reported; ``valid`` is of the next version."""
        self.valid = valid
        for name, poller in self._pollers.items():
            poller.stop()
            if not poller.running and name in self._tasks:
                self._tasks[name].cancel()

    async def leave(self, name: str) -> None:
        """Poll that connection no more; returns when the pass that is running has ended."""
        poller = self._pollers.get(name)
        if poller is not None:
            poller.stop()
            await poller.quiet()

    def break_off(self, name: str) -> None:
        """End the pass over that connection where it is."""
        if name in self._tasks:
            self._tasks[name].cancel()

    async def quiet(self) -> None:
        """Return when no pass is running any more."""
        for poller in self._pollers.values():
            await poller.quiet()

    @property
    def over(self) -> bool:
        """Once it is retired: nothing of it is left to wait for."""
        return not self._assembly.open and all(task.done() for task in self._tasks.values())

    def cancel(self) -> Collection[asyncio.Task[None]]:
        """Break off everything; the tasks that end."""
        for task in self._tasks.values():
            task.cancel()
        return self._tasks.values()

    def _deliver(self, poller: Poller, reading: DeviceReading) -> None:
        """Runs inside the driver's pass, so a fault of ours must not get out."""
        self._observe(self, reading)
        try:
            self._assembly.add(poller, reading)
        except Exception:
            log.exception("reading could not be used", device=reading.device)

    def _pass_over(self, poller: Poller, seconds: float) -> None:
        self._passed(seconds)
        self._assembly.over(poller)


def devices_by_connection(plant: ResolvedPlant) -> Mapping[str, list[ResolvedDevice]]:
    """The plant's devices under the names of their connections."""
    grouped: dict[str, list[ResolvedDevice]] = {}
    for device in plant.devices:
        grouped.setdefault(device.connection, []).append(device)
    return grouped
