"""From a command's parameters to the writes it means, or to the reason why it is refused.

Pure: everything that can be known before the first write is checked here, so that a command is either
carried out from the first write on or touches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from voke_api.resolved import ResolvedPlant
from voke_api.resources.plant import Command, CommandWrite, ReadBack
from voke_api.resources.points import Point
from voke_gateway.drivers.base import PointWrite, Value


class Err(StrEnum):
    """``err`` of a FAILED acknowledgement. Stable; documented in docs/commands.md."""

    MALFORMED = "MALFORMED"
    """``p`` is not an object."""
    STALE = "STALE"
    """Older than commandMaxAge, or older than this gateway's memory of past commands."""
    NOT_YET_VALID = "NOT_YET_VALID"
    """From the future, by more than Voke's replay window: one of the two clocks is wrong."""
    UNKNOWN_COMMAND = "UNKNOWN_COMMAND"
    """The Plant declares no such command."""
    WRITES_DISABLED = "WRITES_DISABLED"
    """This plant is read-only."""
    IDENTITY_IN_USE = "IDENTITY_IN_USE"
    """Another client logs in as this plant; until that is settled nothing is written."""
    MISSING_PARAMETER = "MISSING_PARAMETER"
    """A parameter that the command needs is absent."""
    BAD_PARAMETER = "BAD_PARAMETER"
    """A parameter is not a finite number (for a coil: not a boolean)."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A value is outside its bounds; nothing is ever clamped."""
    PLC_UNREACHABLE = "PLC_UNREACHABLE"
    """The write was certainly not sent."""
    WRITE_REFUSED = "WRITE_REFUSED"
    """The PLC certainly did not take the value."""
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    """The write, or its confirmation, went unanswered: the value may or may not be in force."""
    NOT_CONFIRMED = "NOT_CONFIRMED"
    """The PLC took the write, and then showed another value."""
    SUPERSEDED = "SUPERSEDED"
    """A newer command wrote the same point before this one was confirmed."""
    BUSY = "BUSY"
    """Too many commands are under way."""
    RECONFIGURED = "RECONFIGURED"
    """The Plant was changed before the first write."""
    SHUTTING_DOWN = "SHUTTING_DOWN"
    """The gateway stopped before the first write."""
    INTERNAL = "INTERNAL"
    """A fault of the gateway; its log says more."""


class CommandRefusedError(Exception):
    """The command is answered with FAILED, and nothing (more) is written."""

    def __init__(self, err: Err, message: str) -> None:
        super().__init__(f"{err}: {message}")
        self.err = err
        self.message = message


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How one write is confirmed."""

    device: str
    field: str
    expected: Value
    tolerance: float
    """Largest difference, in engineering units, rounding to the raw type included."""
    within: float
    """Seconds that the value may take to appear; 0: it is read once."""


@dataclass(frozen=True, slots=True)
class Step:
    """One write and its confirmation; None: the register cannot be read back."""

    write: PointWrite
    confirmation: Confirmation | None


def plan(plant: ResolvedPlant, command: Command, parameters: Mapping[str, Any]) -> tuple[Step, ...]:
    """The command's writes in order, each within all bounds.

    Raises:
        CommandRefusedError: a parameter is missing, is not a finite number, or leads out of bounds.
    """
    return tuple(_step(plant, write, parameters) for write in command.writes)


def _step(plant: ResolvedPlant, write: CommandWrite, parameters: Mapping[str, Any]) -> Step:
    device = plant.device(write.device)
    point = device.point(write.field)
    value = _value(write, point, parameters)
    confirmation = None
    if isinstance(write.read_back, ReadBack):
        seen = device.point(write.read_back.field) if write.read_back.field else point
        confirmation = Confirmation(
            write.device,
            seen.field,
            value,
            write.read_back.tolerance + rounding(point, value),
            write.read_back.within,
        )
    return Step(PointWrite(write.device, write.field, value), confirmation)


def _value(write: CommandWrite, point: Point, parameters: Mapping[str, Any]) -> Value:
    where = f"{write.device}.{write.field}"
    value: Any = write.value
    if write.parameter is not None:
        if write.parameter not in parameters:
            raise CommandRefusedError(Err.MISSING_PARAMETER, f"p.{write.parameter} is missing")
        value = parameters[write.parameter]
    source = f"p.{write.parameter}" if write.parameter is not None else where
    if point.type == "bool":
        if not isinstance(value, bool):
            raise CommandRefusedError(Err.BAD_PARAMETER, f"{source} is not a boolean, and {where} is a bit")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CommandRefusedError(Err.BAD_PARAMETER, f"{source} is not a finite number")
    if write.parameter is not None and write.factor != 1:
        value = value * write.factor
        if not math.isfinite(value):
            raise CommandRefusedError(Err.OUT_OF_RANGE, f"{source} × {write.factor:g} is beyond a double")
    bounds = point.writable
    for low, high in ((write.min, write.max), (bounds and bounds.min, bounds and bounds.max)):
        if (low is not None and value < low) or (high is not None and value > high):
            low_text = "-∞" if low is None else f"{low:g}"
            high_text = "∞" if high is None else f"{high:g}"
            raise CommandRefusedError(
                Err.OUT_OF_RANGE, f"{where} = {value:g} is outside {low_text} … {high_text}"
            )
    return int(value) if isinstance(value, float) and value.is_integer() else value


def rounding(point: Point, value: Value) -> float:
    """By how much a value may differ from itself after a trip through the point's raw type."""
    if isinstance(value, bool | str):
        return 0.0
    size = abs(float(value)) + abs(point.offset)
    if point.type == "float32":
        step = size * 2.0**-23
    elif point.type == "float64":
        step = size * 2.0**-51
    else:
        step = abs(point.scale) / 2 * (1 + 1e-9)
    shown = 10.0**-point.decimals / 2 if point.decimals is not None else 0.0
    return step + shown
