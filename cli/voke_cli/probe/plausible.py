"""Whether a value can be what its unit and its name say it is. Pure.

Bounds are generous where real plants differ: calling a right value wrong costs more than missing a wrong one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from voke_api.resources.points import Point
from voke_gateway.drivers.base import Value

Range = tuple[float, float]


class Verdict(IntEnum):
    """How well a value fits."""

    IMPOSSIBLE = 0
    POSSIBLE = 1
    TYPICAL = 2


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is measured, in one unit."""

    possible: tuple[Range, ...]
    typical: tuple[Range, ...]
    signed: bool = False
    """Values below zero are everyday."""
    telling: bool = False
    """Hardly anything else looks like it by chance: where it is found, it is."""


_MEDIUM_VOLTAGE: Final[tuple[Range, ...]] = (
    (2_800, 3_600), (5_500, 7_400), (9_000, 12_000), (14_000, 25_000), (30_000, 40_000), (95_000, 130_000),
)  # fmt: skip
_LOW_VOLTAGE: Final[tuple[Range, ...]] = ((85, 140), (190, 280), (330, 500), (10, 60), (500, 1_100))

_QUANTITIES: Final[dict[str, Quantity]] = {
    "V": Quantity(((0, 2_000), *_MEDIUM_VOLTAGE), _LOW_VOLTAGE),
    "V dc": Quantity(((-5, 2_000),), ((10, 60), (100, 1_100))),
    "kV": Quantity(((0, 420),), ((0.1, 0.5), (3, 130))),
    "A": Quantity(((-8_000, 8_000),), ((0.01, 1_500), (-1_500, -0.01)), signed=True),
    "Hz": Quantity(((0, 0), (15.5, 18), (40, 70), (390, 410)), ((45, 65),), telling=True),
    "%": Quantity(((-110, 200),), ((0.5, 100),)),
    "% charge": Quantity(((0, 101),), ((1, 100),)),
    "°C": Quantity(((-60, 150),), ((-30, 90),), signed=True),
    "W": Quantity(((-5e8, 5e8),), ((1, 2e6), (-2e6, -1)), signed=True),
    "kW": Quantity(((-1e6, 1e6),), ((0.01, 20_000), (-20_000, -0.01)), signed=True),
    "MW": Quantity(((-2_000, 2_000),), ((0.01, 500), (-500, -0.01)), signed=True),
    "Wh": Quantity(((0, 1e13),), ((1, 1e10),)),
    "kWh": Quantity(((0, 1e10),), ((0.1, 1e7),)),
    "MWh": Quantity(((0, 1e7),), ((0.01, 1e5),)),
    "cos φ": Quantity(((-1.001, 1.001),), ((0.3, 1), (-1, -0.3)), signed=True),
    "W/m²": Quantity(((-20, 1_700),), ((1, 1_400),)),
    "m/s": Quantity(((0, 90),), ((0.1, 40),)),
}
_UNITS: Final = {
    "v": "V", "kv": "kV", "a": "A", "hz": "Hz", "%": "%", "percent": "%", "pct": "%",
    "°c": "°C", "degc": "°C", "celsius": "°C", "c": "°C",
    "w": "W", "kw": "kW", "mw": "MW", "va": "W", "kva": "kW", "var": "W", "kvar": "kW",
    "wh": "Wh", "kwh": "kWh", "mwh": "MWh", "w/m²": "W/m²", "w/m2": "W/m²", "m/s": "m/s",
}  # fmt: skip
_NAMES: Final = {
    "voltage": "V", "frequency": "Hz", "current": "A", "temperature": "°C", "temp": "°C", "soc": "% charge",
    "soh": "% charge", "irradiance": "W/m²", "cosphi": "cos φ", "powerfactor": "cos φ",
}  # fmt: skip
_DIRECT: Final = {"dc", "pv", "mppt", "string", "battery", "batt", "bat", "cell", "pack", "rack", "bus"}
_DRIVES: Final = {"motor", "fan", "pump", "drive", "spindle", "compressor"}
_LIMITS: Final = {"setpoint", "limit", "max", "min", "nominal", "rated"}
_NO_NUMBER: Final = {
    "mask", "status", "state", "flags", "flag", "bits", "code", "serial", "id", "version", "alarm", "alarms",
    "fault", "faults", "event", "events", "mode", "model", "time", "timestamp", "date", "key", "checksum",
    "counter", "count", "watchdog", "heartbeat", "hash", "address",
}  # fmt: skip
_LETTERS: Final = {"v", "a", "w"}
"""Units of one letter that end a name; voltageA and temperatureC are known by their first word."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_PREFIXED = re.compile(r"[kKM](Wh|W|VAr|Var|VA|V|A)$")

_TINY: Final = 1e-6
_HUGE: Final = 1e10


def quantity(point: Point) -> Quantity | None:
    """What the point's unit, or else its field's name, says it measures."""
    words = _words(point)
    last = words[-1] if words else ""
    unit = _UNITS.get((point.unit or "").strip().lower())
    unit = unit or (_UNITS.get(last) if len(words) > 1 and len(last) > 1 else None)
    unit = unit or next((_NAMES[word] for word in (*words, "".join(words)) if word in _NAMES), None)
    if unit is None and len(words) > 1 and last in _LETTERS and "phase" not in words:
        unit = _UNITS[last]
    if unit is None or (unit == "Hz" and _DRIVES & set(words)):
        return None
    if unit == "V" and _DIRECT & set(words):
        unit = "V dc"
    if unit == "%" and {"soc", "soh", "charge"} & set(words):
        unit = "% charge"
    return _QUANTITIES[unit]


def judge(point: Point, value: Value) -> Verdict:
    """How well a value of the point fits what it measures."""
    if isinstance(value, str):
        return Verdict.TYPICAL if value and value.isprintable() else Verdict.POSSIBLE
    if isinstance(value, bool) or value == 0:
        return Verdict.POSSIBLE
    if isinstance(value, float) and abs(value) < _TINY:
        return Verdict.IMPOSSIBLE
    measured = quantity(point)
    if measured is None:
        return _unmeasured(point, value)
    if _within(value, measured.typical):
        return Verdict.TYPICAL
    limits = set(_words(point)) & _LIMITS
    return Verdict.POSSIBLE if limits or _within(value, measured.possible) else Verdict.IMPOSSIBLE


def is_number(point: Point) -> bool:
    """Whether the name lets one expect a quantity, rather than a code, a mask or an identifier."""
    return point.type not in {"bool", "string"} and point.bits is None and not _NO_NUMBER & set(_words(point))


def as_text(words: Sequence[int]) -> str:
    """Registers in hex, as people compare them with a data sheet."""
    return " ".join(f"{word:04X}" for word in words)


def _unmeasured(point: Point, value: float) -> Verdict:
    """Nothing is known of it: floats are most often neither tiny nor huge, integers mostly small."""
    size = abs(value)
    if not math.isfinite(size):
        return Verdict.IMPOSSIBLE
    if point.type.startswith("float"):
        if size > _HUGE:
            return Verdict.IMPOSSIBLE
        return Verdict.TYPICAL if 1e-3 <= size <= 1e7 else Verdict.POSSIBLE  # noqa: PLR2004 - as said above
    return Verdict.TYPICAL if size <= 1e7 else Verdict.POSSIBLE  # noqa: PLR2004


def _words(point: Point) -> list[str]:
    """``socPercent``: soc, percent; ``voltageL1V``: voltage, l, 1, v; ``energyKWh``: energy, kwh."""
    return [
        word.lower() for word in _WORD.findall(_PREFIXED.sub(lambda unit: unit[0].capitalize(), point.field))
    ]


def _within(value: float, ranges: Sequence[Range]) -> bool:
    return any(low <= value <= high for low, high in ranges)
