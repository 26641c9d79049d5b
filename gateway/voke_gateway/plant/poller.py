"""One PLC connection's turns: one pass at a time, started by the plant's tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from voke_api.resolved import ResolvedDevice
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import Connection, DeviceReading, Fault, FaultKind
from voke_gateway.plant.assemble import Pass
from voke_gateway.plant.schedule import Tick

log = structlog.get_logger()


class Poller(Pass):
    """Polls one connection whenever it is given a turn; a task that lives as long as a version of the plant.

    That is cheaper than a task per pass, and a driver that crashes ends its own poller only. While it is
    restarted the connection counts as busy.
    """

    __slots__ = (
        "_after",
        "_deliver",
        "_devices",
        "_every",
        "_over",
        "_owed",
        "_quiet",
        "_stopping",
        "_turn",
        "_wall_clock",
        "connection",
        "running",
    )

    def __init__(
        self,
        connection: Connection,
        devices: Sequence[ResolvedDevice],
        *,
        deliver: Callable[[Poller, DeviceReading], None],
        over: Callable[[Poller, float], None],
        wall_clock: WallClock,
        after: Poller | None = None,
    ) -> None:
        """``after`` polled the connection until now and was stopped; its last pass is let end first."""
        super().__init__()
        self.connection = connection
        self._devices = tuple(device.external_id for device in devices)
        self._every = {device.external_id: device.every for device in devices if device.every > 1}
        self._deliver = deliver
        self._over = over
        self._wall_clock = wall_clock
        self._after = after
        self._owed: set[str] = set()
        self._turn: asyncio.Future[Sequence[str]] | None = None
        self._stopping = False
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.running = False
        """A pass is under way, or about to begin."""

    def due(self, tick: Tick) -> Sequence[str]:
        """Devices whose turn it is, and those that lost an earlier turn to a busy connection."""
        if not self._every:
            return self._devices
        every, owed = self._every, self._owed
        return [name for name in self._devices if name in owed or tick.is_turn(every.get(name, 1))]

    @property
    def at_every_tick(self) -> bool:
        """It is polled at every tick; a turn that is lost is not made up for."""
        return len(self._every) < len(self._devices)

    @property
    def busy(self) -> bool:
        """A pass is running, or the poller is being restarted or was stopped."""
        return self._turn is None

    def sit_out(self, devices: Sequence[str]) -> None:
        """``devices`` lose this turn. Those that would wait several ticks for the next join the next pass."""
        self._owed.update(name for name in devices if name in self._every)

    def start(self, devices: Sequence[str]) -> None:
        """Begin a pass; only when not busy."""
        assert self._turn is not None
        self._owed.difference_update(devices)
        try:
            self.awaited = set(self.connection.awaited(devices))
        except Exception:
            log.exception("driver failed", connection=self.connection.name)
        self.running = True
        self._quiet.clear()
        self._turn.set_result(devices)
        self._turn = None

    def stop(self) -> None:
        """End :meth:`run` after the pass that is running, if any."""
        self._stopping = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    async def quiet(self) -> None:
        """Return when no pass of this poller is running, nor any that it waits for itself."""
        if self._after is not None:
            await self._after.quiet()
            self._after = None
        await self._quiet.wait()

    async def run(self) -> None:
        """Wait for turns and take them.

        Raises:
            Exception: whatever the driver raised, against its contract. The pass is over then, and what it
                has not delivered counts as failed.
        """
        loop = asyncio.get_running_loop()
        deliver = partial(self._deliver, self)
        await self.quiet()
        while not self._stopping:
            self._turn = turn = loop.create_future()
            try:
                devices = await turn
            except asyncio.CancelledError:
                if self.running:  # broken off in the moment of its start
                    self._end(0.0)
                if self._stopping:
                    return
                raise
            started = loop.time()
            try:
                await self.connection.poll(devices, deliver)
            except Exception:
                fault = Fault(FaultKind.MALFORMED, "the driver failed; its log entry says how")
                for name in sorted(self.awaited):
                    deliver(DeviceReading(name, self._wall_clock(), fault=fault))
                raise
            finally:
                self._end(loop.time() - started)

    def _end(self, lasted: float) -> None:
        self.running = False
        self._quiet.set()
        self._over(self, lasted)
