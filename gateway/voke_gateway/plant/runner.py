"""One running plant: ticks start passes, readings become alarms and snapshots, commands become writes.

A plant changes while it runs (:meth:`PlantRunner.update`): what the change does not touch goes on as it is.
Heartbeats, the fail-safe and the reversal of commands will be further parts beside the uplink and the
pollers, supervised the same way and with the same connections.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Final

import structlog

from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import Connection, ConnectionState, DeviceReading, Drivers
from voke_gateway.outbox.store import Entry, Kind, Store
from voke_gateway.plant.alarms import Alarms
from voke_gateway.plant.command_journal import MemoryJournal
from voke_gateway.plant.commands import Commands
from voke_gateway.plant.polling import Polling, devices_by_connection
from voke_gateway.plant.schedule import Tick, Ticker
from voke_gateway.plant.silences import Silences
from voke_gateway.plant.snapshot import Reported, SnapshotFormat
from voke_gateway.plant.supervise import supervise
from voke_gateway.plant.turns import Turns
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink.session import Connector
from voke_gateway.uplink.uplink import Uplink

COMMANDS_WITHIN: Final = 10.0
"""Seconds that commands under way are given before the devices they touch are changed."""
PASS_WITHIN: Final = 1.0
"""Seconds that a pass is given before its connection is closed for a change."""
CLOSE_WITHIN: Final = 30.0
"""Seconds that the request in flight may then take: longer than any PLC is waited for."""
SUSPEND_WITHIN: Final = 8.0
"""Seconds for delivering what was read when a plant is suspended."""

log = structlog.get_logger()


class PlantRunner:
    """Everything that one gateway does for one plant. Made inside a running loop, run once."""

    def __init__(
        self,
        plant: ResolvedPlant,
        credentials: PlantCredentials,
        *,
        drivers: Drivers,
        connector: Connector,
        store: Store,
        gateway_stats: GatewayStats,
        turns: Turns,
        wall_clock: WallClock,
        random: Random,
        nonce: Callable[[], str],
    ) -> None:
        """``turns`` are shared by the plants of a process; ``nonce`` gives hex that never repeats, for envelopes and alarm ids.

        Raises:
            KeyError: the plant has a connection whose protocol has no driver.
            ValueError: the HMAC key cannot be one.
        """
        self.plant = plant
        self.stats = PlantStats()
        self._credentials = credentials
        self._drivers = drivers
        self._connector = connector
        self._store = store
        self._gateway_stats = gateway_stats
        self._wall_clock = wall_clock
        self._random = random
        self._nonce = nonce
        self._loop = asyncio.get_running_loop()
        self._journal = MemoryJournal(wall_clock())
        self._read: set[str] = set()
        self._retired: list[Polling] = []
        self._linking: asyncio.Task[None] | None = None
        self._beginning: asyncio.Handle | None = None
        self._started = False
        self._active = False
        """Its parts run; not while it is suspended, or stopped."""
        self._stopped = asyncio.Event()
        self._specs: dict[str, ConnectionSpec] = {}
        self.connections: Mapping[str, Connection] = {}
        """By name; one that is being replaced is missing meanwhile."""
        self.alarms = Alarms(plant, put=self._put, stats=self.stats, new_id=nonce)
        self._ticker = Ticker(plant, self._tick, turns=turns, wall_clock=wall_clock)
        self._silences = Silences(plant)
        self._make(plant, credentials)

    def _make(self, plant: ResolvedPlant, credentials: PlantCredentials) -> None:
        """The parts that a plant has only while it is active, none of them started."""
        signer = Signer(plant.plant_id, credentials.hmac_key)
        self.connections = {}
        self.connections = self._connections_of(plant)
        self._specs = {spec.name: spec for spec in plant.connections}
        self._commands = Commands(
            plant,
            signer,
            self.connections,
            put=self._put,
            stats=self.stats,
            wall_clock=self._wall_clock,
            writes_stopped=lambda: self.uplink.identity_in_use,
            journal=self._journal,
        )
        self.uplink = Uplink(
            plant,
            credentials,
            connector=self._connector,
            store=self._store,
            stats=self.stats,
            gateway_stats=self._gateway_stats,
            receive=self._commands.receive,
            wall_clock=self._wall_clock,
            random=self._random,
            nonce=self._nonce,
        )
        self._polling = self._polling_of(plant, self.connections, before=None)

    async def run(self) -> None:
        """Run until :meth:`stop` has ended, or until cancelled: then without draining anything.

        A suspended plant connects to nothing and waits.
        """
        self._started = True
        try:
            if not self.plant.suspend and not self._stopped.is_set():
                self._activate()
            await self._stopped.wait()
        finally:
            await self._break_off()

    async def stop(self, within: float) -> None:
        """Tick no more, end passes and commands, close the PLCs, deliver what was read; then run() returns.

        The PLCs get at most half of ``within`` seconds, the delivery what is left. What is not delivered by
        then stays in the store.
        """
        await self._deactivate(within)
        self._stopped.set()

    async def update(self, plant: ResolvedPlant, credentials: PlantCredentials) -> None:
        """Do as ``plant`` and ``credentials`` say from now on; what they do not change is not touched.

        Name and plant id must be the same. The two halves may be called one by one, for example to wait in
        between until another plant has let go of a PLC.

        Raises:
            KeyError, ValueError: as the constructor; the plant goes on as it was, but for connections that
                were to be replaced.
        """
        await self.make_way(plant)
        self.install(plant, credentials)

    async def make_way(self, plant: ResolvedPlant) -> None:
        """Let go of what the next version needs no more, or otherwise; the rest goes on as it is.

        Connections that change are closed and commands under way end under the version under which they
        began. Further ones wait for :meth:`install`.
        """
        if not self._active:
            return
        if plant.suspend:
            await self._deactivate(SUSPEND_WITHIN)
            return
        wanted = {spec.name: spec for spec in plant.connections}
        going = [name for name in self.connections if self._specs[name] != wanted.get(name)]
        try:
            if going or plant.devices != self.plant.devices:
                await self._commands.hold(COMMANDS_WITHIN)
            await asyncio.gather(*(self._leave(name) for name in going))
        except BaseException:
            self._commands.release()
            raise

    def install(self, plant: ResolvedPlant, credentials: PlantCredentials) -> None:
        """Go on as the next version, for which way was made. Nothing is awaited, so no tick is missed.

        Raises:
            KeyError, ValueError: as :meth:`update`.
        """
        assert (plant.name, plant.plant_id) == (self.plant.name, self.plant.plant_id)
        try:
            if self._active:
                self._replace(plant, credentials)
            else:
                self._make(plant, credentials)
        finally:
            self._commands.release()
        self.alarms.configure(plant, self._loop.time())
        self._ticker.configure(plant)
        self._silences.configure(plant)
        self.plant, self._credentials = plant, credentials
        if self._started and not self._active and not plant.suspend and not self._stopped.is_set():
            self._activate()

    def _replace(self, plant: ResolvedPlant, credentials: PlantCredentials) -> None:
        """Swap what depends on the version while everything runs. First what may fail, then what changes."""
        signer = Signer(plant.plant_id, credentials.hmac_key)
        connections = self._connections_of(plant)
        polling = self._polling_of(plant, connections, before=self._polling)
        before = {device.external_id: device for device in self.plant.devices}
        for name, devices in devices_by_connection(plant).items():
            if connections[name] is self.connections.get(name):
                connections[name].configure(devices)
        self._polling.retire({d.external_id for d in plant.devices if before.get(d.external_id) == d})
        self._retired.append(self._polling)
        self._polling = polling
        polling.start(self._start)
        self.connections = connections
        self._specs = {spec.name: spec for spec in plant.connections}
        self._commands.configure(plant, connections)
        if credentials.hmac_key != self._credentials.hmac_key:
            self._commands.verify_with(signer)
        self._read.intersection_update(device.external_id for device in plant.devices)
        self.stats.devices_read = len(self._read)
        self.uplink.configure(plant, credentials)

    def _connections_of(self, plant: ResolvedPlant) -> dict[str, Connection]:
        """A connection for each of the plant's: the one there is, or a new one that is not connected yet."""
        devices = devices_by_connection(plant)
        return {
            spec.name: self.connections.get(spec.name)
            or self._drivers[protocol(spec)](
                spec, devices.get(spec.name, ()), wall_clock=self._wall_clock, random=self._random
            )
            for spec in plant.connections
        }

    def _polling_of(
        self, plant: ResolvedPlant, connections: Mapping[str, Connection], before: Polling | None
    ) -> Polling:
        return Polling(
            plant,
            connections,
            observe=self._observe,
            passed=self._gateway_stats.poll_duration.observe,
            send_snapshot=self._send_snapshot,
            send_late=self._send_late,
            wall_clock=self._wall_clock,
            before=before,
        )

    def _activate(self) -> None:
        """Start all parts; the plant ticks when every poller waits for its first turn."""
        self._active = True
        self._linking = self._start("uplink", self._link)
        self._polling.start(self._start)
        self._beginning = self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self.alarms.start(self._loop.time())
        self._ticker.start()

    async def _deactivate(self, within: float) -> None:
        """End all parts in order; connections are closed, and what was read is delivered."""
        if not self._active:
            return
        deadline = self._loop.time() + within
        self._active = False
        self._still()
        self._polling.retire(self._polling.valid)
        share = within / 4
        await asyncio.gather(self._ended("commands", self._commands.stop(share)), self._passes_end(share))
        await asyncio.gather(*(self._close(name, share) for name in tuple(self.connections)))
        await self._passes_end(share)
        for polling in (*self._retired, self._polling):
            polling.flush()
        await self._ended("uplink", self.uplink.stop(max(0.0, deadline - self._loop.time())))
        await self._break_off()
        stats = self.stats
        self._read.clear()
        stats.devices_read = 0
        stats.uplink_reason = stats.uplink_problem = ""

    async def _break_off(self) -> None:
        """End what still runs, now."""
        self._active = False
        self._still()
        tasks = [] if self._linking is None else [self._linking]
        for polling in (*self._retired, self._polling):
            tasks += polling.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._retired.clear()
        await asyncio.gather(*(self._close(name, 1.0) for name in tuple(self.connections)))

    def _still(self) -> None:
        """Tick no more."""
        if self._beginning is not None:
            self._beginning.cancel()
        self._ticker.stop()

    async def _ended(self, name: str, stopping: Coroutine[None, None, None]) -> None:
        """A part that cannot even stop must not keep the others from it."""
        try:
            await stopping
        except Exception:
            log.exception("part did not stop cleanly", part=name, plant=self.plant.name)

    async def _passes_end(self, within: float) -> None:
        """Let passes that are running end."""
        try:
            async with asyncio.timeout(within):
                for polling in (*self._retired, self._polling):
                    await polling.quiet()
        except TimeoutError:
            pass  # they end when their connection is closed, or are broken off

    async def _leave(self, name: str) -> None:
        """Take a connection out of service and close it."""
        try:
            async with asyncio.timeout(PASS_WITHIN):
                await self._polling.leave(name)
        except TimeoutError:
            pass  # closing ends the pass after the request in flight
        await self._close(name, CLOSE_WITHIN)

    async def _close(self, name: str, within: float) -> None:
        """Close a connection for good. A driver that fails or hangs keeps nobody; what it counted is kept."""
        connection = self.connections[name]
        try:
            async with asyncio.timeout(within):
                await connection.close()
        except TimeoutError:
            for polling in (*self._retired, self._polling):
                polling.break_off(name)
            log.warning("connection did not close in time", plant=self.plant.name, connection=name)
            try:
                async with asyncio.timeout(1.0):
                    await connection.close()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                log.warning("connection hangs", plant=self.plant.name, connection=name, error=repr(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are closed
            log.warning("connection did not close", plant=self.plant.name, connection=name, error=repr(error))
        if self.connections.get(name) is connection:
            self.connections = {key: each for key, each in self.connections.items() if key != name}
            add_polls(self.stats.polls_before, self._specs[name], connection.state)
            self.stats.late_replies_before += connection.state.late_replies

    async def _link(self) -> None:
        await self.uplink.run()
        if self._active:
            raise RuntimeError("the uplink ended though nobody stopped it")

    def _start(self, name: str, part: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        supervised = supervise(name, part, plant=self.plant.name, random=self._random)
        return self._loop.create_task(supervised, name=f"{name} [{self.plant.name}]")

    def _tick(self, tick: Tick) -> None:
        stats = self.stats
        stats.ticks += 1
        stats.ticks_missed += tick.missed
        if self._retired:
            for polling in self._retired:
                polling.flush()
            self._retired = [polling for polling in self._retired if not polling.over]
        self._polling.tick(tick, stats.ticks_skipped)
        self.alarms.tick(self._loop.time())

    def _observe(self, polling: Polling, reading: DeviceReading) -> None:
        """Take in a reading. Runs inside the driver's pass, so a fault of ours must not get out."""
        try:
            self._count(reading, known=reading.device in self._polling.valid)
            if polling is self._polling or reading.device in polling.valid:
                now = self._loop.time()
                self.alarms.observe(reading, now)
                self._silences.observe(reading, now)
        except Exception:
            log.exception("reading could not be used", plant=self.plant.name, device=reading.device)

    def _count(self, reading: DeviceReading, *, known: bool) -> None:
        stats = self.stats
        if known and (reading.values or reading.mask is not None):
            self._read.add(reading.device)
        else:
            self._read.discard(reading.device)
        stats.devices_read = len(self._read)
        if reading.fault is not None:
            stats.read_errors[reading.fault.kind] += 1
        for fault in reading.faults.values():
            stats.read_errors[fault.kind] += 1

    def _send_snapshot(self, form: SnapshotFormat, reported: Mapping[int, Reported]) -> None:
        self.stats.snapshots += 1
        self._publish(form, reported)

    def _send_late(self, form: SnapshotFormat, reported: Mapping[int, Reported]) -> None:
        self.stats.late_messages += 1
        self._publish(form, reported)

    def _publish(self, form: SnapshotFormat, reported: Mapping[int, Reported]) -> None:
        """Put a message into the store. Whatever goes wrong concerns this message only."""
        try:
            for body in form.bodies(reported):
                self._store.put(self.plant.name, Kind.TELEMETRY, body)
        except Exception:
            log.exception("snapshot lost", plant=self.plant.name)
            return
        self.uplink.notify()
        self.stats.last_snapshot_at = self._wall_clock()

    def _put(self, kind: Kind, content: bytes) -> Entry:
        entry = self._store.put(self.plant.name, kind, content)
        self.uplink.notify()
        return entry


def protocol(spec: ConnectionSpec) -> str:
    """The name of the one protocol that is filled in, as drivers are registered."""
    return next(key for key, value in spec if key != "name" and value is not None)


def protocol_label(spec: ConnectionSpec) -> str:
    """The same as metrics write it, such as ``modbus-tcp``."""
    return protocol(spec).replace("_", "-")


def add_polls(to: Counter[tuple[str, str]], spec: ConnectionSpec, state: ConnectionState) -> None:
    """Add a connection's requests to those counted by protocol and result."""
    label = protocol_label(spec)
    to[label, "ok"] += state.requests - state.request_errors
    to[label, "error"] += state.request_errors
