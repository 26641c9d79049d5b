"""Register maps: each signal is declared once and serves both sides.

From one :class:`Signal` come the registers that the simulated device shows and the point that a Plant or
DeviceProfile declares for it, so that simulation and Plant files cannot drift apart.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

from voke_sim.plc.bank import Bank, NumberType, Order, Registers, TableName, width
from voke_sim.plc.requests import ILLEGAL_ADDRESS, ILLEGAL_VALUE, Request
from voke_sim.plc.server import Unit

Json = dict[str, Any]
Value = bool | int | float | str
DeviceType = Literal["CABINET", "METER", "INVERTER", "BATTERY"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writable:
    """What a signal does with a value that is written to it."""

    take: Callable[[float], object]
    """Told the value, in engineering units."""
    min: float | None = None
    """A smaller value is refused with exception 3."""
    max: float | None = None
    """A larger value is refused with exception 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One value of a device: where it stands, what it means, where it comes from."""

    field: str
    table: TableName
    address: int
    type: NumberType | Literal["string", "bool"]
    value: Callable[[], Value | None]
    """Engineering units; None: the device says "no value"."""
    length: int = 0
    """Bytes of a string."""
    register_bit: int | None = None
    """Bit of a register that a bool is."""
    byte_order: Order = "big"
    word_order: Order = "big"
    scale: float = 1.0
    offset: float = 0.0
    decimals: int | None = None
    scale_from: str | None = None
    invalid: int | None = None
    """Bit pattern of "no value"; without one a float shows NaN, and anything else always has a value."""
    writable: Writable | None = None
    publish: bool = True
    unit: str | None = None

    @property
    def registers(self) -> int:
        """How many registers it takes."""
        if self.type == "string":
            return (self.length + 1) // 2
        return 1 if self.type == "bool" else width(self.type)

    def point(self) -> Json:
        """The point of a Plant or DeviceProfile that reads this signal."""
        point: Json = {
            "field": self.field,
            "table": self.table,
            "address": self.address,
            "type": self.type,
        }
        optional = {
            "length": self.length or None,
            "registerBit": self.register_bit,
            "byteOrder": None if self.byte_order == "big" else self.byte_order,
            "wordOrder": None if self.word_order == "big" else self.word_order,
            "scale": None if self.scale == 1.0 else self.scale,
            "offset": self.offset or None,
            "decimals": self.decimals,
            "scaleFrom": self.scale_from,
            "invalid": None if self.invalid is None else [self.invalid],
            "publish": None if self.publish else False,
            "unit": self.unit,
        }
        point.update((key, setting) for key, setting in optional.items() if setting is not None)
        if self.writable is not None:
            bounds = {"min": self.writable.min, "max": self.writable.max}
            point["writable"] = {key: bound for key, bound in bounds.items() if bound is not None}
        return point


class DeviceMap:
    """The signals of one device on one unit, and the registers that show them."""

    def __init__(self, external_id: str, kind: DeviceType, signals: Sequence[Signal]) -> None:
        """``signals`` may be empty for a cabinet."""
        self.external_id = external_id
        self.type = kind
        self.signals = tuple(signals)
        self._by_field = {signal.field: signal for signal in self.signals}

    def size(self) -> int:
        """Registers that the tables need."""
        return max((signal.address + signal.registers for signal in self.signals), default=0)

    def unit(self) -> Unit:
        """A unit that shows the signals and takes what is written to the writable ones."""
        size = self.size()
        bank = Bank(holding=Registers(size), input=Registers(size))
        self.store(bank)
        return Unit(bank, check=self._check, written=self._written)

    def store(self, bank: Bank) -> None:
        """Show the present values in the registers."""
        for signal in self.signals:
            self._store(signal, bank.registers(signal.table))

    def truth(self) -> dict[str, Value]:
        """What somebody who reads the registers correctly gets, published fields only."""
        found = {
            signal.field: self._seen(signal, value)
            for signal in self.signals
            if signal.publish and (value := signal.value()) is not None
        }
        return {field: value for field, value in found.items() if value is not None}

    def _exponent(self, signal: Signal) -> int:
        if signal.scale_from is None:
            return 0
        return int(self._by_field[signal.scale_from].value() or 0)

    def _raw(self, signal: Signal, value: Value) -> float:
        """The number in the registers, before word and byte order."""
        if signal.type in ("float32", "float64"):
            return (float(value) - signal.offset) / signal.scale
        factor = Decimal(str(signal.scale)).scaleb(self._exponent(signal))
        number = (Decimal(str(value)) - Decimal(str(signal.offset))) / factor
        return int(number.to_integral_value(ROUND_HALF_EVEN))

    def _store(self, signal: Signal, table: Registers) -> None:
        value = signal.value()
        if signal.type == "string":
            table.put_text(signal.address, str(value or ""), signal.length, byte_order=signal.byte_order)
        elif signal.type == "bool":
            table.put_bit(signal.address, signal.register_bit or 0, bool(value))
        elif value is None and signal.invalid is not None:
            table.put_pattern(
                signal.address,
                signal.registers,
                signal.invalid,
                word_order=signal.word_order,
                byte_order=signal.byte_order,
            )
        else:
            table.put(
                signal.address,
                signal.type,
                math.nan if value is None else self._raw(signal, value),
                word_order=signal.word_order,
                byte_order=signal.byte_order,
            )

    def _seen(self, signal: Signal, value: Value) -> Value | None:
        if signal.type in ("string", "bool"):
            return value
        raw = self._raw(signal, value)
        seen = _shortest_float32(raw) if signal.type == "float32" else Decimal(repr(raw))
        seen = seen.scaleb(self._exponent(signal)) * Decimal(str(signal.scale)) + Decimal(str(signal.offset))
        if signal.decimals is not None:
            seen = seen.quantize(Decimal(1).scaleb(-signal.decimals), ROUND_HALF_EVEN)
        return int(seen) if seen == seen.to_integral_value() else float(seen)

    def _touched(self, request: Request) -> list[Signal]:
        """The writable signals that a write covers whole; empty if it also touches anything else."""
        found = [
            signal
            for signal in self.signals
            if signal.writable is not None
            and signal.table == request.table
            and request.address <= signal.address
            and signal.address + signal.registers - 1 <= request.last
        ]
        return found if sum(signal.registers for signal in found) == request.quantity else []

    def _wanted(self, signal: Signal, request: Request) -> float:
        """The value that a write asks for, in engineering units."""
        if signal.type == "string" or signal.type == "bool":  # noqa: PLR1714 - mypy narrows by == only
            raise TypeError(f"{signal.field} is a {signal.type}: only numbers are writable here")
        written = Registers(request.quantity, first=request.address)
        written.write(request.address, request.data)
        raw = written.get(
            signal.address, signal.type, word_order=signal.word_order, byte_order=signal.byte_order
        )
        return raw * signal.scale * 10.0 ** self._exponent(signal) + signal.offset

    def _check(self, request: Request) -> int:
        signals = self._touched(request)
        if not signals:
            return ILLEGAL_ADDRESS
        for signal in signals:
            bounds = signal.writable
            wanted = self._wanted(signal, request)
            low = bounds is not None and bounds.min is not None and wanted < bounds.min
            high = bounds is not None and bounds.max is not None and wanted > bounds.max
            if low or high:
                return ILLEGAL_VALUE
        return 0

    def _written(self, request: Request) -> None:
        for signal in self._touched(request):
            if signal.writable is not None:
                signal.writable.take(self._wanted(signal, request))


def _shortest_float32(value: float) -> Decimal:
    """The shortest decimal that is still the same float32."""
    packed = struct.pack(">f", value)
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if struct.pack(">f", float(text)) == packed:
            return Decimal(text)
    return Decimal(repr(value))
