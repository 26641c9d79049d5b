"""What is read from a device: points, cabinet masks, and how large a request the device can take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voke_api.resources.common import Duration, FieldName, Model, Order, PointType, Table

Address = Annotated[int, Field(ge=0, le=65535)]


class Limits(Model):
    """What the device's Modbus server can take; keys given on a device replace the profile's one by one."""

    max_registers: Annotated[int, Field(ge=1, le=125)] | None = None
    """Most registers in one request (default 100; the protocol allows 125)."""
    max_gap: Annotated[int, Field(ge=0, le=124)] | None = None
    """Most undeclared addresses that may be read along to save a request (default 8)."""
    pause: Duration | None = None
    """Silence kept on the connection after every request to this device (default 0ms)."""
    write_function: Literal["auto", "single", "multiple"] | None = None
    """FC05/06 (single), FC15/16 (multiple), or by width (auto, the default)."""


class BitRange(Model):
    """Part of a register, read as an unsigned integer."""

    first: Annotated[int, Field(ge=0, le=15)]
    """Lowest bit, 0 = least significant."""
    count: Annotated[int, Field(ge=1, le=16)]
    """Number of bits."""


class Writable(Model):
    """Makes a point writable, within bounds."""

    min: float | None = None
    """Smallest value that may be written, in engineering units."""
    max: float | None = None
    """Largest value that may be written, in engineering units."""


class Point(Model):
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
    """The part of a register that an unsigned integer is."""
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
    invalid: tuple[Annotated[int, Field(ge=0, lt=2**64)], ...] = ()
    """Raw bit patterns (unsigned, after byte and word order) that mean "no value"."""
    writable: Writable | None = None
    """Present: the point may be written."""
    publish: bool = True
    """false: read and usable in alarms and commands, but not sent."""
    unit: Annotated[str, Field(max_length=16)] | None = None
    """For people; not sent."""


class RawBit(Model):
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


class Raw(Model):
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
    bits: tuple[RawBit, ...] | None = Field(default=None, min_length=1, max_length=32)
    """Bit by bit."""
