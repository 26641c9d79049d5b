"""Requests as they go over the wire, and what counts as their reply. Pure.

Source: Modbus Application Protocol 1.1b3, section 6 (function codes) and 7 (exception codes); Modbus
Messaging on TCP/IP Implementation Guide 1.0b, section 3.1 (MBAP header).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from voke_api.resources.common import Table
from voke_gateway.drivers.base import Fault, FaultKind

HEADER: Final = Struct(">HHHB")
"""Transaction id, protocol id (0), length of what follows, unit id."""
SHORTEST: Final = 3
LONGEST: Final = 254
"""Bounds of the header's length field: unit id, function code and 1 to 252 bytes."""

_TWO: Final = Struct(">HH")
_ERROR_BIT: Final = 0x80
_COIL_ON: Final = 0xFF00


class Function(IntEnum):
    """Function codes in use."""

    READ_COILS = 1
    READ_DISCRETE_INPUTS = 2
    READ_HOLDING_REGISTERS = 3
    READ_INPUT_REGISTERS = 4
    WRITE_SINGLE_COIL = 5
    WRITE_SINGLE_REGISTER = 6
    WRITE_MULTIPLE_COILS = 15
    WRITE_MULTIPLE_REGISTERS = 16


class ExceptionCode(IntEnum):
    """Exception codes that the driver acts on by name."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    NEGATIVE_ACKNOWLEDGE = 7
    MEMORY_PARITY_ERROR = 8
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND = 11


_READ: Final[Mapping[Table, Function]] = {
    "coil": Function.READ_COILS,
    "discrete": Function.READ_DISCRETE_INPUTS,
    "holding": Function.READ_HOLDING_REGISTERS,
    "input": Function.READ_INPUT_REGISTERS,
}
_NAMES: Final = {code.value: code.name.lower().replace("_", " ") for code in ExceptionCode}
_KINDS: Final = {
    ExceptionCode.ACKNOWLEDGE: FaultKind.BUSY,
    ExceptionCode.SERVER_DEVICE_BUSY: FaultKind.BUSY,
    ExceptionCode.GATEWAY_PATH_UNAVAILABLE: FaultKind.NO_UNIT,
    ExceptionCode.GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND: FaultKind.NO_UNIT,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and what its reply has to look like."""

    unit: int
    function: int
    pdu: bytes
    """Function code and data."""
    echo: bytes
    """What the reply's PDU begins with."""
    length: int
    """Bytes of the reply's PDU."""
    about: str
    """For people, such as ``holding 40–43, unit 3``."""
    tail: bytes
    """The frame after its transaction id."""


class ExchangeError(Exception):
    """A request was not answered as it should be. The message is for people."""

    kind = FaultKind.UNREACHABLE

    @property
    def fault(self) -> Fault:
        """The same, as part of a reading."""
        return Fault(self.kind, str(self))


class NotSentError(ExchangeError):
    """There is no connection: the request was certainly not sent."""


class ConnectionLostError(ExchangeError):
    """The connection ended after the request was sent and before its reply.

    Args:
        message: For people.
        answered_before: The connection had carried a reply before, so that it may only have grown stale.
        kind: MALFORMED if we ended it ourselves because what came was not Modbus.
    """

    def __init__(
        self, message: str, *, answered_before: bool, kind: FaultKind = FaultKind.UNREACHABLE
    ) -> None:
        super().__init__(message)
        self.answered_before = answered_before
        self.kind = kind


class NoReplyError(ExchangeError):
    """The request was sent and not answered in time."""

    kind = FaultKind.TIMEOUT


class MalformedReplyError(ExchangeError):
    """The reply carries the request's transaction id but does not fit it."""

    kind = FaultKind.MALFORMED


class ExceptionReplyError(ExchangeError):
    """The device answered with an exception code."""

    def __init__(self, code: int, about: str) -> None:
        name = _NAMES.get(code, "of the manufacturer's own")
        super().__init__(f"exception {code} ({name}) on {about}")
        self.code = code
        self.kind = _KINDS.get(code, FaultKind.REFUSED)  # type: ignore[call-overload]


def span(table: Table, address: int, count: int) -> str:
    """Addresses as people write them: ``holding 40`` or ``holding 40–43``."""
    return f"{table} {address}" if count == 1 else f"{table} {address}–{address + count - 1}"


def read_request(unit: int, table: Table, address: int, count: int) -> Request:
    """Read ``count`` registers, or coils or discrete inputs."""
    function = _READ[table]
    size = count * 2 if table in {"holding", "input"} else (count + 7) // 8
    return _request(
        unit,
        bytes((function,)) + _TWO.pack(address, count),
        echo=bytes((function, size)),
        length=2 + size,
        about=span(table, address, count),
    )


def write_coil_request(unit: int, address: int, *, on: bool, multiple: bool = False) -> Request:
    """Write one coil with FC05, or FC15 if ``multiple``."""
    if multiple:
        pdu = bytes((Function.WRITE_MULTIPLE_COILS,)) + _TWO.pack(address, 1) + bytes((1, int(on)))
    else:
        pdu = bytes((Function.WRITE_SINGLE_COIL,)) + _TWO.pack(address, _COIL_ON if on else 0)
    return _request(unit, pdu, echo=pdu[:5], length=5, about=span("coil", address, 1))


def write_registers_request(
    unit: int, address: int, words: Sequence[int], *, multiple: bool = False
) -> Request:
    """Write registers: one with FC06 (or FC16 if ``multiple``), several always in one FC16."""
    count = len(words)
    if count == 1 and not multiple:
        pdu = bytes((Function.WRITE_SINGLE_REGISTER,)) + _TWO.pack(address, words[0])
    else:
        head = bytes((Function.WRITE_MULTIPLE_REGISTERS,)) + _TWO.pack(address, count)
        pdu = head + bytes((2 * count,)) + Struct(f">{count}H").pack(*words)
    return _request(unit, pdu, echo=pdu[:5], length=5, about=span("holding", address, count))


def payload(request: Request, reply: bytes) -> bytes:
    """What a reply's PDU brings beyond the part that only repeats the request.

    Raises:
        ExceptionReplyError: the device answered with an exception.
        MalformedReplyError: function code, length or echo do not fit the request.
    """
    if len(reply) == request.length and reply.startswith(request.echo):
        return reply[len(request.echo) :]
    function = reply[0]
    if function == request.function | _ERROR_BIT and len(reply) == 2:  # noqa: PLR2004 – code and exception
        raise ExceptionReplyError(reply[1], request.about)
    if function != request.function:
        raise MalformedReplyError(
            f"reply with function code {function} instead of {request.function} on {request.about}"
        )
    if len(reply) != request.length:
        raise MalformedReplyError(
            f"reply of {len(reply)} bytes instead of {request.length} on {request.about}"
        )
    raise MalformedReplyError(f"reply that repeats another request on {request.about}")


def _request(unit: int, pdu: bytes, *, echo: bytes, length: int, about: str) -> Request:
    tail = HEADER.pack(0, 0, len(pdu) + 1, unit)[2:] + pdu
    return Request(unit, pdu[0], pdu, echo, length, f"{about}, unit {unit}", tail)
