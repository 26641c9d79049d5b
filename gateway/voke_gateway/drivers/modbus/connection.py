"""One Modbus TCP endpoint behind the driver seam: turns, connecting, and who is tried when.

A pass reads the healthy units first and then probes at most one that was silent. A unit is healthy until it
gives no reply. Two units in a row without a reply end the pass, for then it is more likely the endpoint; a
pass without any reply ends the connection. If every unit was silent, the first reply makes all healthy again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from voke_api.backoff import Backoff, Pace
from voke_api.probe import DeviceProbe
from voke_api.resolved import ResolvedDevice
from voke_api.resources.common import listed
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import (
    ConnectionState,
    DeviceReading,
    DeviceState,
    Fault,
    FaultKind,
    PointWrite,
    WriteRefusedError,
    WriteUnknownError,
    WriteUnreachableError,
)
from voke_gateway.drivers.claims import EndpointClaims, EndpointHeldError
from voke_gateway.drivers.modbus.asked import not_asked, show_device
from voke_gateway.drivers.modbus.client import Client
from voke_gateway.drivers.modbus.encode import EncodeError, write_request
from voke_gateway.drivers.modbus.frames import (
    ConnectionLostError,
    ExceptionCode,
    ExceptionReplyError,
    ExchangeError,
    NotSentError,
    Request,
)
from voke_gateway.drivers.modbus.lane import Lane
from voke_gateway.drivers.modbus.reader import DeviceReader
from voke_gateway.drivers.modbus.rhythm import Rhythm

_RECONNECT: Final = Pace(base=1.0, cap=30.0)
"""Before connecting again."""
_PROBE: Final = Pace(base=1.0, cap=60.0)
"""Before a silent unit is probed."""
_SILENT_UNITS_END_A_PASS: Final = 2
_NOT_DONE: Final = {
    ExceptionCode.ILLEGAL_FUNCTION,
    ExceptionCode.ILLEGAL_DATA_ADDRESS,
    ExceptionCode.ILLEGAL_DATA_VALUE,
    ExceptionCode.SERVER_DEVICE_BUSY,
    ExceptionCode.NEGATIVE_ACKNOWLEDGE,
    ExceptionCode.MEMORY_PARITY_ERROR,
    ExceptionCode.GATEWAY_PATH_UNAVAILABLE,
}
"""Exceptions that say a write did not happen. 4, 5 and 0x0B are raised after work on it began or was passed on."""


@dataclass(slots=True)
class _Unit:
    """One unit id behind the endpoint."""

    back_off: Backoff
    states: list[DeviceState] = field(default_factory=list)
    fault: Fault | None = None
    """Why it is in back-off."""
    probed_at: float = -math.inf
    """Loop time."""
    cut_short: bool = False
    """Its last request was given less than the whole time-out, so that a late reply is a sign of life."""

    def failed(self, fault: Fault, now: float) -> None:
        self.fault = fault
        self.back_off.failed(now)
        for state in self.states:
            state.in_back_off = True

    def succeeded(self) -> None:
        self.fault = None
        self.back_off.reset()
        for state in self.states:
            state.in_back_off = False


@dataclass(slots=True)
class _Device:
    """One device, its unit and what reads it."""

    device: ResolvedDevice
    unit: _Unit
    state: DeviceState
    reader: DeviceReader


class ModbusTcpConnection:
    """Implements :class:`voke_gateway.drivers.base.Connection`.

    Every request gets the connection's ``timeout``, connecting included, except the probe of a silent unit:
    that gives way to the next pass, as far as the rhythm of the passes so far tells when it will come.

    With ``claims``, the endpoint is claimed before the first connecting and given back by :meth:`close`, also
    while it is not connected; held by another, it is unreachable and tried again.
    """

    def __init__(
        self,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],
        *,
        wall_clock: WallClock,
        random: Random,
        claims: EndpointClaims | None = None,
    ) -> None:
        assert spec.modbus_tcp is not None
        self._name = spec.name
        self._spec = spec.modbus_tcp
        self._wall_clock = wall_clock
        self._claims = claims
        self._release: Callable[[], None] | None = None
        self._state = ConnectionState()
        self._lane = Lane()
        self._client: Client | None = None
        self._closed = False
        self._users = 0
        self._endpoint = Backoff(_RECONNECT, random)
        self._tried_at = -math.inf
        self._connect_error = ""
        self._units: dict[int, _Unit] = {}
        self._devices: dict[str, _Device] = {}
        self._silent: set[int] = set()
        """Units that gave no reply in this pass, since the last reply of any."""
        self._answered = False
        """Something has replied in this pass."""
        self._dropped = False
        """In this pass a new connection ended before it had carried a reply."""
        self._rhythm = Rhythm()
        self._random = random
        self.configure(devices)

    def configure(self, devices: Sequence[ResolvedDevice]) -> None:
        """Serve these devices from now on; what is known of units and addresses that stay is kept."""
        before, units = self._devices, self._units
        self._devices, self._units = {}, {}
        for device in devices:
            unit = self._units.get(device.unit_id)
            if unit is None:
                unit = units.get(device.unit_id) or _Unit(Backoff(_PROBE, self._random))
                unit.states = []
                self._units[device.unit_id] = unit
            one = self._renewed(device, unit, before.get(device.external_id))
            unit.states.append(one.state)
            self._devices[device.external_id] = one
        self._state.devices = {name: one.state for name, one in self._devices.items()}

    def _renewed(self, device: ResolvedDevice, unit: _Unit, before: _Device | None) -> _Device:
        """The device, with what was known of it if it is still the same one."""
        if before is not None and before.unit is unit and before.device == device:
            return before
        reader = DeviceReader(
            device,
            ask=partial(self._ask, device, urgent=False),
            ask_now=partial(self._ask, device, urgent=True),
            random=self._random,
        )
        state = DeviceState(in_back_off=unit.back_off.active)
        if before is not None and before.unit is unit:
            reader.inherit(before.reader)
            state.last_success_at = before.state.last_success_at
            state.bad_points = reader.memory.faults
        return _Device(device, unit, state, reader)

    @property
    def name(self) -> str:
        """The name given in the Plant."""
        return self._name

    @property
    def state(self) -> ConnectionState:
        """Live; the caller only reads it."""
        return self._state

    def awaited(self, devices: Iterable[str]) -> frozenset[str]:
        """Those that a snapshot should wait for."""
        if self._endpoint.active:
            return frozenset()
        known = self._devices
        return frozenset([name for name in devices if not known[name].unit.back_off.failures])

    async def poll(self, devices: Sequence[str], deliver: Callable[[DeviceReading], None]) -> None:
        """Read the healthy devices, then probe at most one of the others."""
        clock = asyncio.get_running_loop().time
        now = clock()
        self._rhythm.begin(now)
        self._silent.clear()
        self._answered = self._dropped = False
        healthy: list[_Device] = []
        to_probe: list[_Device] = []
        for name in devices:
            one = self._devices[name]
            if not one.unit.back_off.active:
                healthy.append(one)
            elif one.unit.back_off.due(now):
                to_probe.append(one)
        self._users += 1
        try:
            for one in healthy:
                fault = self._why_not(one)
                if fault is None:
                    await self._read(one, deliver, self._spec.timeout)
                else:
                    self._deliver(one, self._unread(one, fault), deliver)
            if to_probe and not self._silent:
                await self._probe(to_probe, deliver)
            if not self._answered and (self._silent or self._dropped):
                await self._give_up()
        finally:
            self._rhythm.end(clock())
            await self._leave()

    def _why_not(self, one: _Device) -> Fault | None:
        """Why a device is not read that was healthy when the pass began; None: nothing speaks against it."""
        if one.unit.back_off.active:  # since another device of the unit was tried in this pass
            return one.unit.fault
        if len(self._silent) >= _SILENT_UNITS_END_A_PASS:
            units = " and ".join(map(str, sorted(self._silent)))
            return Fault(FaultKind.UNREACHABLE, f"not tried, because units {units} gave no reply")
        return None

    async def _probe(self, candidates: Sequence[_Device], deliver: Callable[[DeviceReading], None]) -> None:
        """Try the device whose unit has waited longest, for as long as does not make the next pass late."""
        now = asyncio.get_running_loop().time()
        if self._client is None and self._endpoint.active and not self._endpoint.due(now):
            return
        one = min(candidates, key=lambda one: one.unit.probed_at)
        one.unit.probed_at = now
        within = min(self._spec.timeout, self._rhythm.left(now))
        one.unit.cut_short = within < self._spec.timeout
        await self._read(one, deliver, within)

    async def _give_up(self) -> None:
        """Nothing replied in this pass: the next one starts with a new connection."""
        if self._dropped:
            self._connect_error = self._state.last_error
            self._endpoint.failed(asyncio.get_running_loop().time())
        await self._hang_up()

    async def _read(
        self,
        one: _Device,
        deliver: Callable[[DeviceReading], None],
        within: float,
    ) -> None:
        reading = DeviceReading(one.device.external_id, 0.0)
        failure = await one.reader.read(reading, within)
        reading.started_at = reading.started_at or self._wall_clock()
        if failure is not None:
            reading.fault = failure.fault
            if not isinstance(failure, NotSentError):
                one.unit.failed(failure.fault, asyncio.get_running_loop().time())
        one.state.bad_points = one.reader.memory.faults
        self._deliver(one, reading, deliver)

    def _unread(self, one: _Device, fault: Fault | None) -> DeviceReading:
        return DeviceReading(one.device.external_id, self._wall_clock(), fault=fault)

    def _deliver(
        self, one: _Device, reading: DeviceReading, deliver: Callable[[DeviceReading], None]
    ) -> None:
        one.state.fault = reading.fault
        if reading.fault is None:
            one.state.last_success_at = self._state.last_success_at = self._wall_clock()
        deliver(reading)

    async def probe(
        self, devices: Sequence[str], deliver: Callable[[DeviceProbe], None], *, until: float
    ) -> None:
        """Read each device once, for a person; implements :class:`voke_gateway.drivers.base.Probed`."""
        clock = asyncio.get_running_loop().time
        silent: dict[int, Fault] = {}
        self._users += 1
        try:
            for one in [self._devices[name] for name in devices if name in self._devices]:
                unit, started = one.device.unit_id, clock()
                fault = one.unit.fault if one.unit.back_off.active else silent.get(unit)
                if started >= until:
                    fault = Fault(FaultKind.TIMEOUT, "not asked, for the probe had taken long enough")
                if fault is None:
                    found, failure = await show_device(one.reader, self._spec.timeout, self._random)
                    if failure is not None and not isinstance(failure, NotSentError):
                        silent[unit] = failure.fault
                else:
                    found = not_asked(one.device, fault)
                deliver(found.model_copy(update={"seconds": round(clock() - started, 4)}))
        finally:
            await self._leave()

    async def read(self, device: str, fields: Sequence[str]) -> DeviceReading:
        """Read some points now."""
        reading = DeviceReading(device, 0.0)
        self._users += 1
        try:
            await self._devices[device].reader.read_fields(fields, reading, self._spec.timeout)
        finally:
            await self._leave()
        reading.started_at = reading.started_at or self._wall_clock()
        return reading

    def check_write(self, write: PointWrite) -> None:
        """See that the value can be sent as it is."""
        self._write_request(write)

    async def write(self, write: PointWrite) -> None:
        """Write one point now; never repeated."""
        request = self._write_request(write)
        self._users += 1
        try:
            device = self._devices[write.device].device
            await self._exchange(device, request, None, self._spec.timeout, urgent=True)
        except NotSentError as error:
            raise WriteUnreachableError(str(error)) from None
        except ExceptionReplyError as error:
            kind = WriteRefusedError if error.code in _NOT_DONE else WriteUnknownError
            raise kind(str(error)) from None
        except ExchangeError as error:
            raise WriteUnknownError(str(error)) from None
        finally:
            await self._leave()

    async def close(self) -> None:
        """Let the request in flight end, then close the socket."""
        self._closed = True
        try:
            await self._hang_up()
        finally:
            if self._release is not None:
                self._release()
                self._release = None

    def _write_request(self, write: PointWrite) -> Request:
        one = self._devices[write.device]
        point = one.device.point(write.field)
        exponent = one.reader.exponents.get(point.scale_from or "")
        try:
            return write_request(one.device.unit_id, point, write.value, one.device.limits, exponent=exponent)
        except EncodeError as error:
            raise WriteRefusedError(str(error)) from None

    async def _ask(
        self,
        device: ResolvedDevice,
        request: Request,
        reading: DeviceReading,
        within: float,
        *,
        urgent: bool,
    ) -> bytes:
        """A read; repeated once if the connection had grown stale."""
        try:
            return await self._exchange(device, request, reading, within, urgent=urgent)
        except ConnectionLostError as error:
            if not error.answered_before:
                raise
        return await self._exchange(device, request, reading, within, urgent=urgent)

    async def _exchange(
        self,
        device: ResolvedDevice,
        request: Request,
        reading: DeviceReading | None,
        within: float,
        *,
        urgent: bool,
    ) -> bytes:
        """Take a turn, connect if need be, and make one request."""
        pause = 0.0
        if not self._lane.acquire_now():
            await self._lane.acquire(urgent=urgent)
        try:
            client = self._client
            if client is None or not client.open:
                client, spent = await self._connect(urgent=urgent)
                within = min(within, max(self._spec.timeout - spent, 0.0))
            if reading is not None and not reading.started_at:
                reading.started_at = self._wall_clock()
            pause = device.limits.pause
            self._state.requests += 1
            data = await client.request(request, within)
        except ExchangeError as error:
            self._note(error, device.unit_id)
            raise
        finally:
            self._lane.release(pause)
        self._replied(device.unit_id)
        return data

    async def _connect(self, *, urgent: bool) -> tuple[Client, float]:
        """A new connection, never a second one, and the seconds that it took."""
        if self._closed:
            raise NotSentError("the connection is closed")
        loop = asyncio.get_running_loop()
        started = loop.time()
        wait = self._endpoint.until - started
        if wait > 0 and not (urgent and started - self._tried_at >= _RECONNECT.base):
            raise NotSentError(f"{self._connect_error}; next try in {math.ceil(wait)} s")
        if self._client is not None:
            await self._client.close()
            self._client = None
        self._tried_at = started
        spec = self._spec
        try:
            if self._claims is not None and self._release is None:
                self._release = await self._claim(self._claims)
            client = await Client.connect(
                spec.host, spec.port, within=spec.timeout, late=self._late, lost=self._lost
            )
        except NotSentError as error:
            self._state.request_errors += 1
            self._connect_error = str(error)
            self._endpoint.failed(loop.time())
            raise
        self._client = client
        self._state.connected = True
        self._state.connects += 1
        spent = loop.time() - started
        if spec.settle_after_connect:
            await asyncio.sleep(spec.settle_after_connect)
        return client, spent

    async def _claim(self, claims: EndpointClaims) -> Callable[[], None]:
        spec = self._spec
        purpose = f"connection {self._name} of {listed(self._devices, at_most=3)}"
        try:
            return await claims.claim(spec.host, spec.port, purpose, within=spec.timeout)
        except EndpointHeldError as error:
            raise NotSentError(str(error)) from None

    def _note(self, error: ExchangeError, unit_id: int) -> None:
        self._state.last_error = str(error)
        if isinstance(error, NotSentError):
            return
        self._state.request_errors += 1
        if isinstance(error, ConnectionLostError):
            self._dropped = self._dropped or not error.answered_before
            self._silent.add(unit_id)
        elif error.kind is FaultKind.TIMEOUT:
            self._silent.add(unit_id)
        elif error.kind is FaultKind.NO_UNIT:
            self._endpoint_lives()
        else:
            self._replied(unit_id)

    def _replied(self, unit_id: int) -> None:
        self._endpoint_lives()
        unit = self._units.get(unit_id)  # a request may outlast its unit
        if unit is not None and unit.back_off.failures:
            self._revive(unit_id)

    def _endpoint_lives(self) -> None:
        self._answered = True
        if self._silent:
            self._silent.clear()
        if self._endpoint.failures:
            self._endpoint.reset()

    def _revive(self, unit_id: int) -> None:
        """End a unit's back-off; that of all units if all were silent, for then it was the endpoint."""
        units = self._units.values()
        everyone = all(unit.back_off.active for unit in units)
        for unit in units if everyone else (self._units[unit_id],):
            unit.succeeded()

    def _late(self, unit_id: int) -> None:
        self._state.late_replies += 1
        unit = self._units.get(unit_id)
        if unit is not None and unit.cut_short and unit.back_off.active:
            self._revive(unit_id)

    def _lost(self) -> None:
        self._state.connected = False

    async def _leave(self) -> None:
        """A poll, read or write has ended."""
        self._users -= 1
        if self._spec.close_after_poll and not self._users:
            await self._hang_up()

    async def _hang_up(self) -> None:
        """Close the connection, if there is one, when the request in flight has ended."""
        await self._lane.acquire(urgent=True)
        try:
            if self._client is not None:
                await self._client.close()
                self._client = None
        finally:
            self._lane.release()


def open_modbus_tcp(
    spec: ConnectionSpec,
    devices: Sequence[ResolvedDevice],
    *,
    wall_clock: WallClock,
    random: Random,
    claims: EndpointClaims | None = None,
) -> ModbusTcpConnection:
    """Implements :class:`voke_gateway.drivers.base.OpenConnection`."""
    return ModbusTcpConnection(spec, devices, wall_clock=wall_clock, random=random, claims=claims)
