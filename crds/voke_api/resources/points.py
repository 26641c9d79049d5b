"""What is read from a device: points, cabinet masks, and how large a request the device can take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

from voke_api.resources.common import (
    Duration,
    FieldName,
    KeyedBy,
    Model,
    Order,
    PointType,
    Ruled,
    Table,
    Violation,
    at_most,
)

REGISTER_TABLES: Final = frozenset({"holding", "input"})
_ADDRESSES: Final = 65536
_REGISTER_BITS: Final = 16
_DATA_SHEET: Final[dict[int, Table]] = {1: "discrete", 3: "input", 4: "holding"}
_REGISTERS: Final = {
    "bool": 1,
    "int16": 1,
    "uint16": 1,
    "int32": 2,
    "uint32": 2,
    "float32": 2,
    "int64": 4,
    "uint64": 4,
    "float64": 4,
}

Address = Annotated[int, Field(ge=0, le=65535)]

_LARGEST_NUMBER: Final = 2**63 - 1
_HEXADECIMAL: Final = r"^0x(0|[1-9A-Fa-f][0-9A-Fa-f]{0,15})$"


def _bit_pattern(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        if not re.fullmatch(_HEXADECIMAL, value):
            raise ValueError('a bit pattern is a number, or text such as "0xFFFFFFFFFFFFFFFF" (for 64 bits)')
        return int(value, 16)
    if info.mode == "json" and isinstance(value, int) and value > _LARGEST_NUMBER:
        raise ValueError(
            f'a number beyond {_LARGEST_NUMBER} does not survive a cluster; write it as text: "0x{value:X}"'
        )
    return value


def written_pattern(value: int) -> int | str:
    """A bit pattern as files have it: one beyond 63 bits as text, because JSON numbers in a cluster end there."""
    return value if value <= _LARGEST_NUMBER else f"0x{value:X}"


BitPattern = Annotated[
    int,
    Field(ge=0, lt=2**64),
    BeforeValidator(_bit_pattern),
    PlainSerializer(written_pattern),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _HEXADECIMAL, "minimum": 0}),
]
"""Content of up to four registers, unsigned; beyond 63 bits as hexadecimal text."""


def from_data_sheet(address: int) -> tuple[Table, int] | None:
    """Table and address on the wire, if this looks like a data sheet's number (40011: holding 10)."""
    for digits in (10_000, 100_000):
        table = _DATA_SHEET.get(address // digits)
        if table is not None and 0 < address % digits <= _ADDRESSES:
            return table, address % digits - 1
    return None


class Limits(Model):
    """What the device's Modbus server can take; keys given on a device replace the profile's one by one."""

    max_registers: Annotated[int, Field(ge=1, le=125)] | None = None
    """Most registers in one request (default 100; the protocol allows 125)."""
    max_gap: Annotated[int, Field(ge=0, le=124)] | None = None
    """Most undeclared addresses that may be read along to save a request (default 8)."""
    pause: Annotated[Duration, Field(le=60.0)] | None = None
    """Silence kept on the connection after every request to this device (default 0ms)."""
    write_function: Literal["auto", "single", "multiple"] | None = None
    """FC05/06 (single), FC15/16 (multiple), or by width (auto, the default)."""


class BitRange(Ruled):
    """Part of a register, read as an unsigned integer."""

    first: Annotated[int, Field(ge=0, le=15)]
    """Lowest bit, 0 = least significant."""
    count: Annotated[int, Field(ge=1, le=16)]
    """Number of bits."""

    def violations(self) -> Iterator[Violation]:
        """The range must lie inside one register."""
        if self.first + self.count > _REGISTER_BITS:
            yield Violation(
                ("count",),
                f"a register has 16 bits; from bit {self.first} there are {16 - self.first}",
                self.count,
            )


class Writable(Ruled):
    """Makes the point writable, within bounds; {} without bounds."""

    min: float | None = None
    """Smallest value that may be written, in engineering units."""
    max: float | None = None
    """Largest value that may be written, in engineering units."""

    def violations(self) -> Iterator[Violation]:
        """Bounds in order."""
        if not at_most(self.min, self.max):
            yield Violation(("min",), f"min must be at most max, {self.max:g}", self.min)


class Point(Ruled):
    """One value of a device: where it is and what it means."""

    field: FieldName
    """Key of the value in the snapshot."""
    table: Table
    """Modbus table."""
    address: Address
    """Zero-based address as on the wire (40011 in many data sheets is holding 10)."""
    type: PointType
    """How the registers are read."""
    length: Annotated[int, Field(ge=1, le=250)] | None = None
    """Length of a string in bytes."""
    register_bit: Annotated[int, Field(ge=0, le=15)] | None = None
    """The bit of a register that a bool is, 0 = least significant."""
    bits: BitRange | None = None
    """Part of a register, read as an unsigned integer."""
    byte_order: Order = "big"
    """Order of the bytes within a register."""
    word_order: Order = "big"
    """Order of the registers of a value."""
    scale: float = 1.0
    """value = raw × scale + offset, computed in decimal: 3 × 0.1 is 0.3."""
    offset: float = 0.0
    """Added after scaling."""
    decimals: Annotated[int, Field(ge=0, le=15)] | None = None
    """Digits after the decimal point, rounded half to even."""
    scale_from: FieldName | None = None
    """Field of the same device, an int16 that holds a power of ten (SunSpec)."""
    invalid: tuple[BitPattern, ...] = Field(default=(), max_length=8)
    """Raw bit patterns (unsigned, after byte and word order) that mean "no value".

    Of 64 bits as text: "0xFFFFFFFFFFFFFFFF".
    """
    writable: Writable | None = None
    """Makes the point writable, within bounds; {} without bounds."""
    publish: bool = True
    """false: read and usable in alarms and commands, but not sent."""
    unit: Annotated[str, Field(max_length=16)] | None = None
    """For people; not sent."""

    @property
    def registers(self) -> int:
        """Registers (or coils) that the point occupies."""
        return ((self.length or 0) + 1) // 2 if self.type == "string" else _REGISTERS[self.type]

    def violations(self) -> Iterator[Violation]:
        """What table, type and the other fields say about each other."""
        yield from self._place()
        yield from self._part()
        yield from self._number()
        yield from self._writing()

    def _place(self) -> Iterator[Violation]:
        if self.address + self.registers > _ADDRESSES:
            yield Violation(
                ("address",), "the point goes beyond 65535, the last address there is", self.address
            )
        if (self.type == "string") != (self.length is not None):
            if self.type == "string":
                yield Violation(("length",), "a string needs length, its size in bytes")
            else:
                yield Violation(("length",), f"length is for strings; {self.type} has its own", self.length)
        if self.table in REGISTER_TABLES:
            if self.type == "string" and self.word_order == "little":
                yield Violation(
                    ("wordOrder",), "a string's registers are in order; take wordOrder out", "little"
                )
            return
        if self.type != "bool":
            yield Violation(
                ("type",), f"a {self.table} is a bool; registers are in holding or input", self.type
            )
        for name, order in (("byteOrder", self.byte_order), ("wordOrder", self.word_order)):
            if order == "little":
                yield Violation((name,), f"{name} is for registers; take it out for a {self.table}", order)

    def _part(self) -> Iterator[Violation]:
        in_register = self.table in REGISTER_TABLES
        if self.type == "bool" and in_register and self.register_bit is None:
            yield Violation(
                ("registerBit",),
                f"a bool in {self.table} needs registerBit, 0 (least significant) to 15",
            )
        elif self.register_bit is not None and not (self.type == "bool" and in_register):
            yield Violation(
                ("registerBit",),
                "registerBit is for a bool in holding or input; take it out",
                self.register_bit,
            )
        if self.bits is not None and not (self.type == "uint16" and in_register):
            yield Violation(("bits",), "bits is for uint16 in holding or input, one register")

    def _number(self) -> Iterator[Violation]:
        if self.type in {"bool", "string"}:
            given = {
                "scale": None if self.scale == 1 else self.scale,
                "offset": None if self.offset == 0 else self.offset,
                "decimals": self.decimals,
                "scaleFrom": self.scale_from,
            }
            for name, value in given.items():
                if value is not None:
                    yield Violation((name,), f"{name} is for numbers; a {self.type} has none", value)
        if self.scale == 0:
            yield Violation(("scale",), "scale must not be 0: every value would be the offset", 0)
        if self.scale_from == self.field:
            yield Violation(("scaleFrom",), "scaleFrom names another field of the device", self.scale_from)
        if self.invalid and (self.type == "string" or self.table not in REGISTER_TABLES):
            yield Violation(
                ("invalid",), "invalid lists bit patterns of registers; strings and coils have none"
            )
            return
        for index, pattern in enumerate(self.invalid):
            if pattern >= 1 << 16 * self.registers:
                yield Violation(
                    ("invalid", index),
                    f"a bit pattern of {self.type} is at most 0x{'FFFF' * self.registers}",
                    pattern,
                )

    def _writing(self) -> Iterator[Violation]:
        if self.writable is None:
            return
        if self.table not in {"holding", "coil"}:
            yield Violation(("writable",), f"{self.table} can only be read; writable is for holding and coil")
        elif self.register_bit is not None or self.bits is not None:
            yield Violation(("writable",), "part of a register cannot be written; declare the whole register")
        elif self.type == "string":
            yield Violation(("writable",), "a string cannot be written; writable is for numbers and coils")
        elif self.type == "bool" and not (self.writable.min is None and self.writable.max is None):
            yield Violation(("writable",), "a coil takes true or false; min and max have no meaning")


class RawBit(Ruled):
    """One bit of a cabinet's mask."""

    bit: Annotated[int, Field(ge=0, le=31)]
    """Bit of the mask, 0 = least significant."""
    table: Table
    """Modbus table."""
    address: Address
    """Zero-based address."""
    register_bit: Annotated[int, Field(ge=0, le=15)] | None = None
    """The bit of the register, for holding and input."""
    invert: bool = False
    """true: the mask's bit is the opposite of what is read."""

    def violations(self) -> Iterator[Violation]:
        """A register's bit has to be named, a coil is one."""
        if self.table in REGISTER_TABLES and self.register_bit is None:
            yield Violation(
                ("registerBit",), f"a bit in {self.table} needs registerBit, 0 (least significant) to 15"
            )
        elif self.table not in REGISTER_TABLES and self.register_bit is not None:
            yield Violation(
                ("registerBit",),
                f"registerBit is for holding and input; a {self.table} is one bit",
                self.register_bit,
            )


class Raw(Ruled):
    """Where a cabinet's unsigned 32-bit mask comes from. Exactly one of three forms.

    ``{table, address, count}``: bit k is address + k. ``{table, address, type}``: one register value.
    ``{bits: [...]}``: bit by bit; bits not listed are 0.
    """

    table: Table | None = None
    """Modbus table."""
    address: Address | None = None
    """Zero-based address of bit 0, or of the register."""
    count: Annotated[int, Field(ge=1, le=32)] | None = None
    """Number of coils or discrete inputs, bit k = address + k."""
    type: Literal["uint16", "uint32"] | None = None
    """How the registers are read."""
    byte_order: Order = "big"
    """Order of the bytes within a register."""
    word_order: Order = "big"
    """Order of the two registers of a uint32."""
    bits: Annotated[tuple[RawBit, ...], KeyedBy(("bit",))] | None = Field(
        default=None, min_length=1, max_length=32
    )
    """Bit by bit."""

    def violations(self) -> Iterator[Violation]:
        """Exactly one form, and each on its tables."""
        forms = "one of {table, address, count}, {table, address, type} or {bits: [...]}"
        if self.bits is not None:
            if {self.table, self.address, self.count, self.type} != {None}:
                yield Violation((), f"raw is {forms}; with bits, take the others out")
        elif self.table is None or self.address is None or (self.count is None) == (self.type is None):
            yield Violation((), f"raw is {forms}")
        elif self.count is not None and self.table in REGISTER_TABLES:
            yield Violation(
                ("count",),
                f"count is for coil and discrete; for {self.table} give type: uint16 or uint32",
                self.count,
            )
        elif self.type is not None and self.table not in REGISTER_TABLES:
            yield Violation(
                ("type",), f"type is for holding and input; for {self.table} give count", self.type
            )
        elif self.address + (self.count or (2 if self.type == "uint32" else 1)) > _ADDRESSES:
            yield Violation(
                ("address",), "the mask goes beyond 65535, the last address there is", self.address
            )
        if self.type is None:
            for name, order in (("byteOrder", self.byte_order), ("wordOrder", self.word_order)):
                if order == "little":
                    yield Violation((name,), f"{name} goes with type: uint16 or uint32; take it out", order)
