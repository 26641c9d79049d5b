"""One running plant: ticks start passes, readings become alarms and snapshots, commands become writes.

Heartbeats, the fail-safe and the reversal of commands will be further parts beside the uplink and the
pollers, supervised the same way and with the same connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from random import Random

import structlog

from voke_api.resolved import PlantCredentials, ResolvedDevice, ResolvedPlant
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import Connection, DeviceReading, Drivers
from voke_gateway.outbox.store import Entry, Kind, Store
from voke_gateway.plant.alarms import Alarms
from voke_gateway.plant.assemble import Assembly
from voke_gateway.plant.commands import Commands
from voke_gateway.plant.poller import Poller
from voke_gateway.plant.schedule import Tick, Ticker
from voke_gateway.plant.snapshot import Reported, SnapshotFormat
from voke_gateway.plant.supervise import supervise
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink.session import Connector
from voke_gateway.uplink.uplink import Uplink

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
        wall_clock: WallClock,
        random: Random,
        nonce: Callable[[], str],
    ) -> None:
        """``nonce`` gives hex that never repeats, for envelopes and alarm ids.

        Raises:
            KeyError: the plant has a connection whose protocol has no driver.
        """
        self.plant = plant
        self.stats = PlantStats()
        self._store = store
        self._gateway_stats = gateway_stats
        self._wall_clock = wall_clock
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._hmac_key = credentials.hmac_key
        self.connections = _open_connections(plant, drivers, wall_clock, random)
        self._open = set(self.connections)
        self.alarms = Alarms(plant, put=self._put, stats=self.stats, new_id=nonce)
        self._commands = Commands(
            plant,
            Signer(plant.plant_id, credentials.hmac_key),
            self.connections,
            put=self._put,
            stats=self.stats,
            wall_clock=wall_clock,
            writes_stopped=lambda: self.uplink.identity_in_use,
        )
        self.uplink = Uplink(
            plant,
            credentials,
            connector=connector,
            store=store,
            stats=self.stats,
            gateway_stats=gateway_stats,
            receive=self._commands.receive,
            wall_clock=wall_clock,
            random=random,
            nonce=nonce,
        )
        self._format = SnapshotFormat(plant)
        self._assembly = Assembly(
            self._format,
            within=plant.assemble_within,
            send_snapshot=self._send_snapshot,
            send_late=self._send_late,
        )
        self._ticker = Ticker(plant, self._tick, wall_clock=wall_clock)
        self._pollers = [
            Poller(
                self.connections[name],
                devices,
                deliver=self._observe,
                over=self._pass_over,
                wall_clock=wall_clock,
            )
            for name, devices in _devices_by_connection(plant).items()
        ]
        self._read: set[str] = set()
        self._polling: dict[asyncio.Task[None], Poller] = {}
        self._linking: asyncio.Task[None] | None = None
        self._stopping = False
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Run until :meth:`stop` has ended, or until cancelled: then without draining anything.

        A suspended plant connects to nothing and waits.
        """
        if self.plant.suspend or self._stopped.is_set():
            await self._stopped.wait()
            return
        self._linking = self._start("uplink", self._link)
        for poller in self._pollers:
            self._polling[self._start(f"poller of {poller.connection.name}", poller.run)] = poller
        try:
            await asyncio.sleep(0)  # every poller waits for its first turn now
            self.alarms.start(self._loop.time())
            self._ticker.start()
            await self._stopped.wait()
        finally:
            self._ticker.stop()
            tasks = (self._linking, *self._polling)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close_connections(1.0)

    async def stop(self, within: float) -> None:
        """Tick no more, end passes and commands, close the PLCs, deliver what was read; then run() returns.

        The PLCs get at most half of ``within`` seconds, the delivery what is left. What is not delivered by
        then stays in the store.
        """
        deadline = self._loop.time() + within
        self._stopping = True
        self._ticker.stop()
        for poller in self._pollers:
            poller.stop()
        if self._linking is not None and not self._stopped.is_set():
            share = within / 4
            await asyncio.gather(self._ended("commands", self._commands.stop(share)), self._passes_end(share))
            await asyncio.gather(self._close_connections(share), self._passes_end(share))
            self._assembly.flush()
            await self._ended("uplink", self.uplink.stop(max(0.0, deadline - self._loop.time())))
        self._stopped.set()

    async def _ended(self, name: str, stopping: Coroutine[None, None, None]) -> None:
        """A part that cannot even stop must not keep the others from it."""
        try:
            await stopping
        except Exception:
            log.exception("part did not stop cleanly", part=name, plant=self.plant.name)

    async def renew(self, credentials: PlantCredentials) -> None:
        """Log in with other credentials from now on; connections to PLCs are not touched.

        Returns when the first attempt with them has ended.

        Raises:
            ValueError: another HMAC key, with which commands could not be verified: that takes a new runner.
        """
        if credentials.hmac_key != self._hmac_key:
            raise ValueError(f"plant {self.plant.name}: a new HMAC key takes a restart of the plant")
        await self.uplink.renew(credentials)

    async def _link(self) -> None:
        await self.uplink.run()
        if not self._stopping:
            raise RuntimeError("the uplink ended though nobody stopped it")

    def _start(self, name: str, part: Callable[[], Coroutine[None, None, None]]) -> asyncio.Task[None]:
        supervised = supervise(name, part, plant=self.plant.name, random=self._random)
        return self._loop.create_task(supervised, name=f"{name} [{self.plant.name}]")

    def _tick(self, tick: Tick) -> None:
        stats = self.stats
        stats.ticks += 1
        stats.ticks_missed += tick.missed
        started = []
        for poller in self._pollers:
            devices = poller.due(tick)
            if not devices:
                continue
            if poller.busy:
                poller.sit_out(devices)
                stats.ticks_skipped[poller.connection.name] += 1
            else:
                poller.start(devices)
                started.append(poller)
        self._assembly.begin(started)
        self.alarms.tick(self._loop.time())

    def _observe(self, poller: Poller, reading: DeviceReading) -> None:
        """Take in a reading. Runs inside the driver's pass, so a fault of ours must not get out."""
        try:
            self._count(reading)
            try:
                self.alarms.observe(reading, self._loop.time())
            finally:
                self._assembly.add(poller, reading)
        except Exception:
            log.exception("reading could not be used", plant=self.plant.name, device=reading.device)

    def _count(self, reading: DeviceReading) -> None:
        stats = self.stats
        if reading.values or reading.mask is not None:
            self._read.add(reading.device)
        else:
            self._read.discard(reading.device)
        stats.devices_read = len(self._read)
        if reading.fault is not None:
            stats.read_errors[reading.fault.kind] += 1
        for fault in reading.faults.values():
            stats.read_errors[fault.kind] += 1

    def _pass_over(self, poller: Poller, seconds: float) -> None:
        self._gateway_stats.poll_duration.observe(seconds)
        self._assembly.over(poller)

    def _send_snapshot(self, reported: Mapping[int, Reported]) -> None:
        self.stats.snapshots += 1
        self._publish(reported)

    def _send_late(self, reported: Mapping[int, Reported]) -> None:
        self.stats.late_messages += 1
        self._publish(reported)

    def _publish(self, reported: Mapping[int, Reported]) -> None:
        """Put a message into the store. Whatever goes wrong concerns this message only."""
        try:
            for body in self._format.bodies(reported):
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

    async def _passes_end(self, within: float) -> None:
        """Let passes that are running end."""
        running = [task for task, poller in self._polling.items() if poller.running]
        if running:
            await asyncio.wait(running, timeout=within)

    async def _close_connections(self, within: float) -> None:
        """Close what is still open, all at once; a driver that fails or hangs keeps nobody."""
        names, self._open = sorted(self._open), set()
        await asyncio.gather(*(self._close_connection(name, within) for name in names))

    async def _close_connection(self, name: str, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                await self.connections[name].close()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are closed
            log.warning("connection did not close", plant=self.plant.name, connection=name, error=repr(error))


def _open_connections(
    plant: ResolvedPlant, drivers: Drivers, wall_clock: WallClock, random: Random
) -> Mapping[str, Connection]:
    """A connection object for each connection of the plant, none of them connected yet."""
    devices = _devices_by_connection(plant)
    return {
        spec.name: drivers[_protocol(spec)](
            spec, devices.get(spec.name, ()), wall_clock=wall_clock, random=random
        )
        for spec in plant.connections
    }


def _devices_by_connection(plant: ResolvedPlant) -> Mapping[str, list[ResolvedDevice]]:
    grouped: dict[str, list[ResolvedDevice]] = {}
    for device in plant.devices:
        grouped.setdefault(device.connection, []).append(device)
    return grouped


def _protocol(spec: ConnectionSpec) -> str:
    """The name of the one protocol that is filled in, as drivers are registered."""
    return next(key for key, value in spec if key != "name" and value is not None)
