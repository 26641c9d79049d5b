"""What a value in engineering units is in registers. Pure; the inverse of :mod:`decode`."""

from __future__ import annotations

import math
from fractions import Fraction
from struct import Struct, error
from typing import Final

from voke_api.resolved import DeviceLimits
from voke_api.resources.points import Point
from voke_gateway.drivers.base import Value
from voke_gateway.drivers.modbus.decode import in_order
from voke_gateway.drivers.modbus.frames import Request, write_coil_request, write_registers_request

_BITS: Final = {"int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


class EncodeError(ValueError):
    """The value cannot be written to the point; the message says why."""


def write_request(
    unit: int, point: Point, value: Value, limits: DeviceLimits, *, exponent: int | None = None
) -> Request:
    """The request that writes a value to a point.

    A coil takes FC05 (FC15 with ``writeFunction: multiple``), one register FC06 (FC16), several registers
    always one FC16. Part of a register (``registerBit``, ``bits``) is refused: it would have to be read,
    changed and written back, and what the PLC changed in between would be lost.

    Args:
        unit: Unit id.
        point: Where to.
        value: In engineering units.
        limits: For ``write_function``.
        exponent: Power of ten that the point's ``scaleFrom`` was last read as.

    Raises:
        EncodeError: the value does not fit the point.
    """
    multiple = limits.write_function == "multiple"
    if point.table == "coil":
        if value not in (0, 1):
            raise EncodeError(f"{point.field} is a coil and takes true or false, not {value!r}")
        return write_coil_request(unit, point.address, on=bool(value), multiple=multiple)
    if point.table != "holding":
        raise EncodeError(f"{point.field} is in table {point.table}, which can only be read")
    words = to_words(point, value, exponent=exponent)
    return write_registers_request(unit, point.address, words, multiple=multiple)


def to_words(point: Point, value: Value, *, exponent: int | None = None) -> tuple[int, ...]:
    """Register words, in order of address: raw = (value - offset) / scale, rounded half to even.

    Raises:
        EncodeError: the value does not fit the point.
    """
    if point.bits is not None or point.type == "bool":
        raise EncodeError(f"{point.field} is part of a register; only whole registers are written")
    is_text = point.type == "string"
    data = _text(point, value) if is_text else _pack(point, _raw(point, value, exponent))
    return Struct(f">{len(data) // 2}H").unpack(in_order(point)(data))


def _raw(point: Point, value: Value, exponent: int | None) -> Fraction:
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise EncodeError(f"{point.field} takes a number, not {value!r}")
    if point.scale_from is None:
        power = 0
    elif exponent is None:
        raise EncodeError(f"{point.field} cannot be scaled: {point.scale_from} has not been read")
    else:
        power = exponent
    scale = Fraction(repr(point.scale)) * Fraction(10) ** power
    return (Fraction(repr(value)) - Fraction(repr(point.offset))) / scale


def _pack(point: Point, raw: Fraction) -> bytes:
    bits = _BITS.get(point.type)
    if bits is None:
        code = Struct(">f" if point.type == "float32" else ">d")
        try:
            return code.pack(float(raw))
        except (OverflowError, error):
            raise EncodeError(f"{point.field} is beyond what {point.type} holds") from None
    number = round(raw)
    signed = point.type.startswith("int")
    try:
        return number.to_bytes(bits // 8, "big", signed=signed)
    except OverflowError:
        raise EncodeError(f"{point.field} would be {number} raw, which {point.type} does not hold") from None


def _text(point: Point, value: Value) -> bytes:
    data = value.encode() if isinstance(value, str) else None
    if data is None or len(data) > (point.length or 0):
        raise EncodeError(f"{point.field} takes a text of at most {point.length} bytes, not {value!r}")
    return data.ljust(2 * point.registers, b"\0")
