"""Modbus requests and the replies to them: pure functions on bytes and a :class:`Bank`.

Facts from the Modbus Application Protocol Specification V1.1b3, section 6.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from voke_sim.plc.bank import Bank, Bits, Registers, TableName

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
DEVICE_BUSY: Final = 6
NO_REPLY_FROM_TARGET: Final = 0x0B

READ_COILS: Final = 1
READ_DISCRETE: Final = 2
READ_HOLDING: Final = 3
READ_INPUT: Final = 4
WRITE_COIL: Final = 5
WRITE_REGISTER: Final = 6
WRITE_COILS: Final = 15
WRITE_REGISTERS: Final = 16

_TABLES: dict[int, TableName] = {
    READ_COILS: "coil",
    READ_DISCRETE: "discrete",
    READ_HOLDING: "holding",
    READ_INPUT: "input",
    WRITE_COIL: "coil",
    WRITE_REGISTER: "holding",
    WRITE_COILS: "coil",
    WRITE_REGISTERS: "holding",
}
_MOST: dict[int, int] = {
    READ_COILS: 2000,
    READ_DISCRETE: 2000,
    READ_HOLDING: 125,
    READ_INPUT: 125,
    WRITE_COILS: 1968,
    WRITE_REGISTERS: 123,
}
_TWO_WORDS = Struct(">xHH")
_SHORT = 5
"""Bytes of a request that is a function code and two words."""
_COIL_VALUES = {0x0000: b"\x00", 0xFF00: b"\x01"}


class RequestError(Exception):
    """The request gets an exception reply."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Request(NamedTuple):
    """A request that is well-formed; whether its addresses exist is another question."""

    unit: int
    function: int
    table: TableName
    address: int
    quantity: int
    data: bytes
    """What is to be written: registers as on the wire, bits packed; empty for reads."""

    @property
    def is_write(self) -> bool:
        """Whether registers or coils are to change."""
        return self.function >= WRITE_COIL

    @property
    def last(self) -> int:
        """The highest address asked for."""
        return self.address + self.quantity - 1


def parse(unit: int, pdu: bytes) -> Request:
    """Read a request's PDU; RequestError if the function is unknown or lengths do not fit together."""
    function = pdu[0]
    table = _TABLES.get(function)
    if table is None:
        raise RequestError(ILLEGAL_FUNCTION)
    if len(pdu) < _SHORT:
        raise RequestError(ILLEGAL_VALUE)
    address, second = _TWO_WORDS.unpack_from(pdu)
    if function in (WRITE_COIL, WRITE_REGISTER):
        data = pdu[3:5] if function == WRITE_REGISTER else _COIL_VALUES.get(second)
        if data is None or len(pdu) != _SHORT:
            raise RequestError(ILLEGAL_VALUE)
        return Request(unit, function, table, address, 1, data)
    if not 1 <= second <= _MOST[function]:
        raise RequestError(ILLEGAL_VALUE)
    if function <= READ_INPUT:
        if len(pdu) != _SHORT:
            raise RequestError(ILLEGAL_VALUE)
        return Request(unit, function, table, address, second, b"")
    size = 2 * second if function == WRITE_REGISTERS else (second + 7) // 8
    if len(pdu) != _SHORT + 1 + size or pdu[_SHORT] != size:
        raise RequestError(ILLEGAL_VALUE)
    return Request(unit, function, table, address, second, pdu[_SHORT + 1 :])


def execute(request: Request, bank: Bank) -> bytes:
    """Do what the request asks and return the reply's PDU; RequestError if the bank cannot."""
    table: Registers | Bits | None = getattr(bank, request.table)
    if table is None:
        raise RequestError(ILLEGAL_FUNCTION)
    if not table.covers(request.address, request.quantity):
        raise RequestError(ILLEGAL_ADDRESS)
    function = request.function
    if function <= READ_INPUT:
        content = table.read(request.address, request.quantity)
        return bytes((function, len(content))) + content
    if isinstance(table, Registers):
        table.write(request.address, request.data)
    else:
        table.write(request.address, request.quantity, request.data)
    if function == WRITE_REGISTER:
        second = int.from_bytes(request.data)
    elif function == WRITE_COIL:
        second = 0xFF00 if request.data[0] else 0
    else:
        second = request.quantity
    return bytes((function,)) + request.address.to_bytes(2) + second.to_bytes(2)


def exception_reply(function: int, code: int) -> bytes:
    """The PDU that tells the client why not."""
    return bytes((function | 0x80, code))
