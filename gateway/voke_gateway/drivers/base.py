"""The driver seam: what the plant core asks of a PLC connection, whatever the protocol.

A driver package offers one function of type :data:`OpenConnection`; ``voke_gateway.drivers.registry``
names it. Nothing above this seam knows about registers, frames or sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Protocol, runtime_checkable

from voke_api.probe import DeviceProbe
from voke_api.resolved import ResolvedDevice
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock

Value = bool | int | float | str
"""A value in engineering units. A float that is a whole number within ±2^53 is given as an int."""


class FaultKind(StrEnum):
    """Why a value or a device was not read. Stable: shown in metrics and status."""

    UNREACHABLE = "unreachable"
    """No connection to the endpoint."""
    TIMEOUT = "timeout"
    """Connected, no reply in time."""
    REFUSED = "refused"
    """The device answered with an exception that concerns this address or table."""
    BUSY = "busy"
    """The device answered that it cannot now (exceptions 5 and 6)."""
    NO_UNIT = "no-unit"
    """A Modbus gateway answered that the unit is not there (exceptions 0x0A and 0x0B)."""
    MALFORMED = "malformed"
    """The reply does not fit the request, or cannot be decoded."""
    INVALID = "invalid"
    """The device says "no value", or the value cannot be represented (NaN, infinity, beyond 2^53)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something was not read."""

    kind: FaultKind
    detail: str = ""
    """For people, for example ``exception 2 on holding 40–43``."""


@dataclass(slots=True)
class DeviceReading:
    """What one pass over one device brought."""

    device: str
    """externalId."""
    started_at: float
    """Wall clock (epoch seconds) just before the first request of this reading was sent."""
    values: dict[str, Value] = field(default_factory=dict)
    """What was read, by field, unpublished points included."""
    mask: int | None = None
    """A cabinet's mask, 0 … 2^32-1."""
    raw: dict[str, int] = field(default_factory=dict)
    """Raw unsigned values of ``ResolvedDevice.raw_fields``."""
    faults: dict[str, Fault] = field(default_factory=dict)
    """Why a field has no value."""
    fault: Fault | None = None
    """Why the whole device has none; then values is empty and mask is None."""


@dataclass(frozen=True, slots=True)
class PointWrite:
    """One value for one point, already validated by the caller against all bounds."""

    device: str
    field: str
    value: Value
    """Engineering units; converted to raw by the driver (rounded half to even)."""


class WriteRefusedError(Exception):
    """The device certainly did not take the value (exception reply, or it could not be encoded)."""


class WriteUnreachableError(Exception):
    """No connection: the write was certainly not sent."""


class WriteUnknownError(Exception):
    """The write was sent and not answered: it may or may not have happened."""


@dataclass(slots=True)
class DeviceState:
    """What a connection remembers about one of its devices."""

    last_success_at: float | None = None
    """Wall clock of the last reading with at least one value."""
    fault: Fault | None = None
    """Of the last pass; None if the last pass brought a value."""
    bad_points: dict[str, Fault] = field(default_factory=dict)
    """Points that the device refuses, tried again slowly."""
    in_back_off: bool = False


@dataclass(slots=True)
class ConnectionState:
    """What a connection says about itself, for status and metrics. Counters only ever grow."""

    connected: bool = False
    last_success_at: float | None = None
    last_error: str = ""
    connects: int = 0
    requests: int = 0
    request_errors: int = 0
    late_replies: int = 0
    devices: dict[str, DeviceState] = field(default_factory=dict)


class Connection(Protocol):
    """One PLC endpoint. Requests on it are serial; waiting writes go before waiting reads."""

    @property
    def name(self) -> str:
        """The name given in the Plant."""

    @property
    def state(self) -> ConnectionState:
        """Live; the caller only reads it."""

    def configure(self, devices: Sequence[ResolvedDevice]) -> None:
        """Serve these devices from now on, over the same connection; what is under way ends as it began.

        What was learnt about a device stays as far as it still applies: points that it refuses if they are
        asked for in the same way, the back-off of units that stay.
        """

    def awaited(self, devices: Iterable[str]) -> frozenset[str]:
        """Those of ``devices`` that a snapshot should wait for: not in back-off, endpoint not in back-off."""

    async def poll(self, devices: Sequence[str], deliver: Callable[[DeviceReading], None]) -> None:
        """Read each device once and hand over its reading as soon as it is complete.

        Healthy devices come first, then at most one probe of a device in back-off. ``deliver`` is called
        exactly once per device that was tried, failed ones included (with ``fault`` set); devices in
        back-off that were not probed get no call. Connects if need be. Trouble with the device or the
        network is a fault in the reading, never an exception. Not called again before it has returned.
        """

    async def read(self, device: str, fields: Sequence[str]) -> DeviceReading:
        """Read some points of one device now, ahead of waiting polls (used to confirm a write)."""

    def check_write(self, write: PointWrite) -> None:
        """See, without touching the network, that the value can be sent as it is.

        Raises:
            WriteRefusedError: the point's raw type cannot hold it, or the point cannot be written at all.
        """

    async def write(self, write: PointWrite) -> None:
        """Write one point, ahead of waiting polls.

        Raises:
            WriteRefusedError: the device certainly did not take it.
            WriteUnreachableError: it was certainly not sent.
            WriteUnknownError: sent, not answered in time.
        """

    async def close(self) -> None:
        """Finish the request in flight (or give up after its time-out), then close the socket."""


@runtime_checkable
class Probed(Protocol):
    """What a connection offers besides, if its protocol has something to show that a person can compare."""

    async def probe(
        self, devices: Sequence[str], deliver: Callable[[DeviceProbe], None], *, until: float
    ) -> None:
        """Read each device once beside the polls, by their rules and behind them, and show what came over the wire.

        Every request takes its turn among those of the polls. What is in back-off is not asked, nor is anything
        after ``until`` (loop time). ``deliver`` is called exactly once per device that is known. Polls
        learn nothing from it, and no reading of it is published.
        """


class OpenConnection(Protocol):
    """Makes a connection object; does not connect yet."""

    def __call__(
        self,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],
        *,
        wall_clock: WallClock,
        random: Random,
    ) -> Connection:
        """``devices`` are those of the plant on this connection."""


Drivers = Mapping[str, OpenConnection]
"""By the name of the key in a Plant's connection, in snake case: ``{"modbus_tcp": …}``."""
