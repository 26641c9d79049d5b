"""PLCs in memory, behind the driver seam: scripted latency, values and trouble, on whatever clock runs.

They keep the seam's promises as a real driver does: one pass at a time, healthy devices first, one probe of a
device in back-off per pass, trouble as a fault in the reading and never as an exception (except when a test
wants a driver that breaks its promise: ``crash``).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from voke_api.resolved import ResolvedDevice
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import (
    ConnectionState,
    DeviceReading,
    DeviceState,
    Drivers,
    Fault,
    FaultKind,
    PointWrite,
    Value,
    WriteRefusedError,
    WriteUnknownError,
    WriteUnreachableError,
)

LONGEST_BACK_OFF = 60.0


class SimulatedPlc:
    """One endpoint. Change its attributes at any time; what is running notices at its next request."""

    def __init__(self) -> None:
        self.latency = 0.001
        """Seconds per device."""
        self.latencies: dict[str, float] = {}
        """Seconds, for single devices."""
        self.jitter = 0.0
        """Most seconds that chance adds to a latency."""
        self.timeout = 2.0
        self.silent = False
        """The whole endpoint does not answer."""
        self.dead: set[str] = set()
        """Devices that do not answer behind a live connection."""
        self.refused: dict[str, set[str]] = defaultdict(set)
        """Fields that a device refuses, by device."""
        self.values: dict[str, dict[str, Value]] = defaultdict(dict)
        """What fields hold; others hold the number of the device's pass."""
        self.masks: dict[str, int] = {}
        self.stutter: set[str] = set()
        """Devices whose reading is delivered twice, which no driver may do."""
        self.crash: Exception | None = None
        """Raised out of the next pass, then forgotten."""
        self.undecided: Exception | None = None
        """Raised whenever the connection is asked whom to await."""
        self.passes: list[tuple[float, tuple[str, ...]]] = []
        """Loop time and devices of every pass, for single tests (kept short)."""
        self.reads: Counter[str] = Counter()
        """Successful readings by device."""
        self.writes: list[PointWrite] = []
        self.opened = 0
        self.closed = 0
        self.most_open = 0
        """Connections at once; a PLC must never see two."""
        self.running = 0


class SimulatedConnection:
    """A connection of one plant to a :class:`SimulatedPlc`."""

    def __init__(
        self,
        name: str,
        plc: SimulatedPlc,
        devices: Sequence[ResolvedDevice],
        wall_clock: WallClock,
        random: Random,
    ) -> None:
        self.name = name
        self._random = random
        self.state = ConnectionState(devices={device.external_id: DeviceState() for device in devices})
        self._plc = plc
        self._wall_clock = wall_clock
        self._endpoint_retry = _Retry()
        self._retries: dict[str, _Retry] = {}
        self._polling = False
        self._opened = False
        self._closing = False
        self._devices: dict[str, ResolvedDevice] = {}
        self.configure(devices)

    def configure(self, devices: Sequence[ResolvedDevice]) -> None:
        self._devices = {device.external_id: device for device in devices}
        self._fields = {d.external_id: tuple(point.field for point in d.points) for d in devices}
        known = self.state.devices
        self.state.devices = {name: known.get(name) or DeviceState() for name in self._devices}
        self._retries = {name: retry for name, retry in self._retries.items() if name in self._devices}

    def _open(self) -> None:
        """Connect, unless that has been done."""
        plc = self._plc
        if not self._opened:
            self._opened = True
            plc.opened += 1
            plc.most_open = max(plc.most_open, plc.opened - plc.closed)

    def awaited(self, devices: Iterable[str]) -> frozenset[str]:
        if self._plc.undecided is not None:
            raise self._plc.undecided
        if self._endpoint_retry.failures:
            return frozenset()
        return frozenset(device for device in devices if device not in self._retries)

    async def poll(self, devices: Sequence[str], deliver: Callable[[DeviceReading], None]) -> None:
        plc, loop = self._plc, asyncio.get_running_loop()
        assert not self._polling, "one pass at a time"
        if self._closing:
            return
        self._open()
        self._polling = True
        plc.running += 1
        try:
            if len(plc.passes) < 10_000:
                plc.passes.append((loop.time(), tuple(devices)))
            if plc.crash is not None:
                crash, plc.crash = plc.crash, None
                raise crash
            if self._endpoint_retry.failures and loop.time() < self._endpoint_retry.at:
                return
            await self._pass(devices, deliver)
        finally:
            self._polling = False
            plc.running -= 1

    async def _pass(self, devices: Sequence[str], deliver: Callable[[DeviceReading], None]) -> None:
        plc, loop = self._plc, asyncio.get_running_loop()
        if plc.silent:
            started_at = self._wall_clock()
            await asyncio.sleep(plc.timeout)
            self._endpoint_retry.failed(loop.time())
            self.state.connected = False
            for device in devices:
                self._failed(device, FaultKind.UNREACHABLE, started_at, deliver)
            return
        self._endpoint_retry.failures = 0
        self.state.connected = True
        fields = self._fields  # a pass goes on as it began, whatever is configured meanwhile
        healthy = [device for device in devices if device not in self._retries]
        probes = [d for d in devices if d in self._retries and loop.time() >= self._retries[d].at]
        for device in (*healthy, *probes[:1]):
            if self._closing:
                return
            await self._read_device(device, fields[device], deliver)

    async def _read_device(
        self, device: str, fields: Sequence[str], deliver: Callable[[DeviceReading], None]
    ) -> None:
        plc, loop = self._plc, asyncio.get_running_loop()
        started_at = self._wall_clock()
        if device in plc.dead or plc.silent:
            await asyncio.sleep(plc.timeout)
            self._retries.setdefault(device, _Retry()).failed(loop.time())
            self._failed(device, FaultKind.TIMEOUT, started_at, deliver)
            return
        await asyncio.sleep(plc.latencies.get(device, plc.latency) + plc.jitter * self._random.random())
        self._retries.pop(device, None)
        plc.reads[device] += 1
        self.state.requests += 1
        state = self.state.devices.get(device) or DeviceState()
        state.last_success_at, state.fault, state.in_back_off = self._wall_clock(), None, False
        deliver(self._reading(device, started_at, fields))
        if device in plc.stutter:
            deliver(self._reading(device, started_at, fields))

    def _reading(self, device: str, started_at: float, fields: Sequence[str]) -> DeviceReading:
        plc = self._plc
        if not fields:
            return DeviceReading(device, started_at, mask=plc.masks.get(device, plc.reads[device] % 2**32))
        held, count, refused = plc.values[device], plc.reads[device], plc.refused.get(device, ())
        reading = DeviceReading(device, started_at)
        reading.values = {field: held.get(field, count) for field in fields if field not in refused}
        reading.faults = {field: Fault(FaultKind.REFUSED, "exception 2") for field in refused}
        return reading

    def _failed(
        self, device: str, kind: FaultKind, started_at: float, deliver: Callable[[DeviceReading], None]
    ) -> None:
        self.state.requests += 1
        self.state.request_errors += 1
        state = self.state.devices.get(device) or DeviceState()
        state.fault, state.in_back_off = Fault(kind), True
        deliver(DeviceReading(device, started_at, fault=state.fault))

    async def read(self, device: str, fields: Sequence[str]) -> DeviceReading:
        started_at = self._wall_clock()
        await asyncio.sleep(self._plc.latency)
        if self._plc.silent or device in self._plc.dead:
            return DeviceReading(device, started_at, fault=Fault(FaultKind.TIMEOUT))
        if self._closing:
            return DeviceReading(device, started_at, fault=Fault(FaultKind.UNREACHABLE))
        return self._reading(device, started_at, fields)

    def check_write(self, write: PointWrite) -> None:
        self._devices[write.device].point(write.field)

    async def write(self, write: PointWrite) -> None:
        plc = self._plc
        if plc.silent or self._closing:
            raise WriteUnreachableError("no connection")
        self._open()
        await asyncio.sleep(plc.latency)
        if write.device in plc.dead:
            raise WriteUnknownError("no reply")
        if write.field in plc.refused.get(write.device, ()):
            raise WriteRefusedError("exception 2")
        plc.values[write.device][write.field] = write.value
        plc.writes.append(write)

    async def close(self) -> None:
        self._closing = True
        if self._opened:
            self._opened = False
            self._plc.closed += 1
        self.state.connected = False


class _Retry:
    """When something in back-off is tried again."""

    def __init__(self) -> None:
        self.failures = 0
        self.at = 0.0

    def failed(self, now: float) -> None:
        self.failures += 1
        self.at = now + min(2.0 ** (self.failures - 1), LONGEST_BACK_OFF)


def by_name(spec: ConnectionSpec) -> str:
    """A PLC is called as the connection to it."""
    return spec.name


def by_endpoint(spec: ConnectionSpec) -> str:
    """A PLC is called ``host:port``."""
    assert spec.modbus_tcp is not None
    return f"{spec.modbus_tcp.host}:{spec.modbus_tcp.port}"


class SimulatedPlcs:
    """The PLCs of a test, by connection name or what else ``key`` gives; made when first asked for."""

    def __init__(self, key: Callable[[ConnectionSpec], str] = by_name) -> None:
        self._key = key
        self.plcs: dict[str, SimulatedPlc] = defaultdict(SimulatedPlc)
        self.connections: dict[str, SimulatedConnection] = {}

    def __getitem__(self, key: str) -> SimulatedPlc:
        return self.plcs[key]

    @property
    def drivers(self) -> Drivers:
        """Every protocol leads here."""
        found: Mapping[str, SimulatedPlcs] = {"modbus_tcp": self}
        return found

    def __call__(
        self,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],
        *,
        wall_clock: WallClock,
        random: Random,
    ) -> SimulatedConnection:
        connection = SimulatedConnection(spec.name, self.plcs[self._key(spec)], devices, wall_clock, random)
        self.connections[spec.name] = connection
        return connection
