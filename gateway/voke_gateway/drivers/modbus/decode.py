"""What a reply's registers or bits mean: compiled once per block, then run once per reply. Pure.

Values of a block that lie one after the other in plain order are taken with one ``struct.unpack``; those with
swapped bytes or words, those that overlap and those whose raw pattern is wanted besides are taken one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final

from voke_api.blocks import Block
from voke_api.resolved import MaskBit, ResolvedDevice
from voke_api.resources.points import Point
from voke_gateway.drivers.base import Fault, FaultKind, Value
from voke_gateway.drivers.modbus.numbers import (
    BEYOND,
    LARGEST,
    NOT_FINITE,
    Number,
    Scaling,
    decimal_of,
    float32_value,
    float64_value,
    shortest_of_float32,
)

Converter = Callable[[Any], Value | Fault]
"""From what ``struct`` gives for a point to its value."""

_CODES: Final = {
    "bool": "H",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_SAFE: Final = {"int16", "uint16", "int32", "uint32"}
"""Integers that never exceed 2^53."""
_FLOATS: Final = {"float32", "float64"}
_LARGEST_EXPONENT: Final = 18
"""SunSpec's are -10 … 10 and 0x8000 for none; more than this is not a power of ten but some other register."""
_NOT_TEXT: Final = Fault(FaultKind.INVALID, "the bytes are not UTF-8")


@dataclass(slots=True)
class Decoded:
    """What has been read of a device so far. The mappings may be those of the reading itself."""

    values: dict[str, Value]
    faults: dict[str, Fault]
    raw: dict[str, int]
    mask: int = 0
    exponents: dict[str, int] = field(default_factory=dict)
    """Of points that others take their power of ten from."""
    waiting: list[tuple[str, str, Scaling, Number]] = field(default_factory=list)
    """Field, field of its exponent, scaling and number: values whose exponent may be in another block."""

    def finish(self) -> None:
        """Work out the values that waited for their power of ten."""
        for name, source, scaling, (digits, exponent) in self.waiting:
            power = self.exponents.get(source)
            if power is None:
                self.faults[name] = Fault(FaultKind.INVALID, f"{source}, its power of ten, has no value")
                continue
            value = scaling.apply(digits, exponent + power)
            if isinstance(value, Fault):
                self.faults[name] = value
            else:
                self.values[name] = value
        self.waiting.clear()


Step = Callable[[bytes, Decoded], None]


class BlockDecoder:
    """Decodes the replies to one block's request.

    Args:
        block: The request.
        device: Whose points or mask bits its items are.
    """

    __slots__ = ("_converters", "_steps", "_unpack")

    def __init__(self, block: Block, device: ResolvedDevice) -> None:
        registers = block.table in {"holding", "input"}
        points = {point.field: point for point in device.points}
        bits = {f"bit:{bit.bit}": bit for bit in device.mask}
        sources = {point.scale_from for point in device.points}
        layout = ">"
        reached = 0
        converters: list[tuple[str, Converter | None]] = []
        steps: list[Step] = []
        for item in block.items:
            if item.key not in points:
                continue
            point = points[item.key]
            start = item.address - block.address
            if not registers:
                steps.append(_bit_step(point, start, wants_raw=point.field in device.raw_fields))
            elif (
                start >= reached
                and point.type != "string"
                and _in_plain_order(point)
                and not (point.invalid and point.type in _FLOATS)
                and point.scale_from is None
                and point.field not in device.raw_fields
                and point.field not in sources
            ):
                layout += f"{2 * (start - reached)}x{_CODES[point.type]}"
                reached = start + item.count
                converters.append((point.field, _checked(point)))
            else:
                steps.append(
                    _register_step(
                        point,
                        slice(2 * start, 2 * (start + item.count)),
                        wants_raw=point.field in device.raw_fields,
                        is_exponent=point.field in sources,
                    )
                )
        if mask := [bits[item.key] for item in block.items if item.key in bits]:
            steps.append(_mask_step(block, mask))
        if registers:
            layout += f"{2 * (block.count - reached)}x"
        self._unpack = Struct(layout).unpack
        self._converters = tuple(converters)
        self._steps = tuple(steps)

    def decode(self, data: bytes, into: Decoded) -> None:
        """Add what ``data``, a reply's registers or bits, brings."""
        if self._converters:
            values, faults = into.values, into.faults
            for (name, convert), raw in zip(self._converters, self._unpack(data), strict=True):
                if convert is None:
                    values[name] = raw
                    continue
                value = convert(raw)
                if isinstance(value, Fault):
                    faults[name] = value
                else:
                    values[name] = value
        for step in self._steps:
            step(data, into)


def converter(point: Point) -> Converter | None:
    """From a point's raw number (or, for a bool and for bits, its register) to its value.

    None: the number is the value. For points without ``scaleFrom``; ``invalid`` is for the caller.
    """
    scaling = Scaling.of(point.scale, point.offset, point.decimals)
    if point.type == "bool":
        flag = 1 << (point.register_bit or 0)
        return lambda raw: raw & flag != 0
    if point.type in _FLOATS:
        return _float_converter(point, scaling)
    if point.bits is not None:
        first, low = point.bits.first, (1 << point.bits.count) - 1
        scale = scaling.for_integers()
        return lambda raw: scale(raw >> first & low)
    if scaling.trivial:
        return None if point.type in _SAFE else _within_limits
    return scaling.for_integers()


def _float_converter(point: Point, scaling: Scaling) -> Converter:
    if scaling.trivial:
        return float32_value if point.type == "float32" else float64_value
    digits = shortest_of_float32 if point.type == "float32" else decimal_of
    return lambda raw: scaling.apply(*digits(raw)) if math.isfinite(raw) else NOT_FINITE


def _checked(point: Point) -> Converter | None:
    """:func:`converter` for what ``struct`` gives for an integer, invalid patterns included."""
    convert = converter(point)
    if not point.invalid:
        return convert
    code = Struct(">" + _CODES[point.type])
    faults = {
        code.unpack(pattern.to_bytes(code.size, "big"))[0]: fault
        for pattern, fault in _invalid_faults(point).items()
    }

    def checked(raw: int) -> Value | Fault:
        fault = faults.get(raw)
        if fault is not None:
            return fault
        return raw if convert is None else convert(raw)

    return checked


def _invalid_faults(point: Point) -> dict[int, Fault]:
    return {
        pattern: Fault(FaultKind.INVALID, f"the device says 0x{pattern:X}, no value")
        for pattern in point.invalid
    }


def _within_limits(raw: int) -> Value | Fault:
    return raw if -LARGEST <= raw <= LARGEST else BEYOND


def _in_plain_order(point: Point) -> bool:
    return point.byte_order == "big" and (point.word_order == "big" or point.registers == 1)


def in_order(point: Point) -> Callable[[bytes], bytes]:
    """Puts a point's bytes most significant first (for a string: in reading order). Its own inverse."""
    words = point.registers
    big, little = Struct(f">{words}H"), Struct(f"<{words}H")
    reverse = point.word_order == "little" and point.type != "string"
    if point.byte_order == "little":
        if reverse:
            return lambda data: data[::-1]
        return lambda data: big.pack(*little.unpack(data))
    if reverse:
        return lambda data: big.pack(*big.unpack(data)[::-1])
    return bytes


def _register_step(point: Point, where: slice, *, wants_raw: bool, is_exponent: bool) -> Step:
    if point.type == "string":
        return _string_step(point, where)
    name, ordered = point.field, in_order(point)
    unpack = Struct(">" + _CODES[point.type]).unpack
    faults = _invalid_faults(point)
    take_raw = _raw_of(point) if wants_raw else None
    finish = _converting(point, is_exponent=is_exponent) if point.scale_from is None else _waiting(point)

    def step(data: bytes, into: Decoded) -> None:
        chunk = ordered(data[where])
        if take_raw is not None:
            into.raw[name] = take_raw(chunk)
        if faults and (fault := faults.get(int.from_bytes(chunk, "big"))):
            into.faults[name] = fault
        else:
            finish(unpack(chunk)[0], into)

    return step


def _converting(point: Point, *, is_exponent: bool) -> Callable[[Any, Decoded], None]:
    name, convert = point.field, converter(point)

    def finish(raw: Any, into: Decoded) -> None:
        value = raw if convert is None else convert(raw)
        if isinstance(value, Fault):
            into.faults[name] = value
        else:
            into.values[name] = value
        if is_exponent and -_LARGEST_EXPONENT <= raw <= _LARGEST_EXPONENT:
            into.exponents[name] = raw

    return finish


def _waiting(point: Point) -> Callable[[Any, Decoded], None]:
    """For a point whose power of ten comes from elsewhere: keeps its digits until that is known."""
    name, source = point.field, point.scale_from or ""
    scaling = Scaling.of(point.scale, point.offset, point.decimals)
    first, low = (point.bits.first, (1 << point.bits.count) - 1) if point.bits else (0, -1)

    def finish(raw: Any, into: Decoded) -> None:
        if not isinstance(raw, float):
            number = (raw >> first & low, 0)
        elif not math.isfinite(raw):
            into.faults[name] = NOT_FINITE
            return
        else:
            number = shortest_of_float32(raw) if point.type == "float32" else decimal_of(raw)
        into.waiting.append((name, source, scaling, number))

    return finish


def _raw_of(point: Point) -> Callable[[bytes], int]:
    """The unsigned raw value in a point's ordered bytes: of its part of the register, if it is a part."""
    if point.register_bit is not None:
        first, low = point.register_bit, 1
    elif point.bits is not None:
        first, low = point.bits.first, (1 << point.bits.count) - 1
    else:
        first, low = 0, -1
    return lambda chunk: int.from_bytes(chunk, "big") >> first & low


def _string_step(point: Point, where: slice) -> Step:
    name, length, ordered = point.field, point.length or 0, in_order(point)

    def step(data: bytes, into: Decoded) -> None:
        text = ordered(data[where])[:length].partition(b"\0")[0]
        try:
            into.values[name] = text.decode()
        except UnicodeDecodeError:
            into.faults[name] = _NOT_TEXT

    return step


def _bit_step(point: Point, start: int, *, wants_raw: bool) -> Step:
    name, byte, flag = point.field, start // 8, 1 << start % 8

    def step(data: bytes, into: Decoded) -> None:
        on = data[byte] & flag != 0
        into.values[name] = on
        if wants_raw:
            into.raw[name] = int(on)

    return step


def _mask_step(block: Block, mask: Collection[MaskBit]) -> Step:
    """Moves runs of neighbouring bits from the block, taken as one integer, to their place in the mask."""
    registers = block.table in {"holding", "input"}
    order = "big" if registers else "little"

    def place(bit: MaskBit) -> int:
        start = bit.address - block.address
        return 16 * (block.count - 1 - start) + (bit.register_bit or 0) if registers else start

    runs: list[list[int]] = []  # [first bit in the block, first bit in the mask, length]
    for bit in sorted(mask, key=lambda bit: bit.bit):
        position = place(bit)
        if runs and runs[-1][0] + runs[-1][2] == position and runs[-1][1] + runs[-1][2] == bit.bit:
            runs[-1][2] += 1
        else:
            runs.append([position, bit.bit, 1])
    moves = tuple((position, target, (1 << length) - 1) for position, target, length in runs)
    inverted = sum(1 << bit.bit for bit in mask if bit.invert)

    def step(data: bytes, into: Decoded) -> None:
        bits = int.from_bytes(data, order)  # type: ignore[arg-type]
        word = inverted
        for position, target, low in moves:
            word ^= (bits >> position & low) << target
        into.mask |= word

    return step
