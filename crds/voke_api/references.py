"""Names inside a Plant that must lead somewhere, and bounds that must fit where they lead.

Semantic rules: they need the profiles, or compare too much for CEL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from typing import Any, Final

from voke_api.problems import Path, Problem, Severity
from voke_api.resolved import ResolvedDevice
from voke_api.resources.common import Scalar, format_duration, listed
from voke_api.resources.plant import Alarm, CommandWrite, ConstantWrite, Heartbeat, Plant
from voke_api.resources.points import REGISTER_TABLES, Point

_INTEGERS: Final = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for bits in (16, 32, 64)
    for sign in ("u", "")
}
_FLOAT32_MAX: Final = (2 - 2**-23) * 2.0**127


def reference_problems(plant: Plant, devices: Sequence[ResolvedDevice]) -> list[Problem]:
    """What is wrong with a plant whose ``devices`` could be resolved.

    About a device that could not be resolved nothing is said but whether it is declared.
    """
    check = _Check(plant, devices)
    for index, device in enumerate(plant.spec.devices):
        resolved = check.devices.get(device.external_id)
        if resolved is not None:
            own = {point.field: position for position, point in enumerate(device.points)}
            check.device(resolved, ("spec", "devices", index), own)
    for name, command in plant.spec.commands.items():
        path: Path = ("spec", "commands", name)
        for position, write in enumerate(command.writes):
            check.command_write(write, (*path, "writes", position))
        if command.revert_after is not None:
            check.constants(command.revert_after.writes, (*path, "revertAfter", "writes"))
    if plant.spec.fail_safe is not None:
        check.constants(plant.spec.fail_safe.writes, ("spec", "failSafe", "writes"))
    for index, heartbeat in enumerate(plant.spec.heartbeats):
        check.heartbeat(heartbeat, ("spec", "heartbeats", index))
    for index, alarm in enumerate(plant.spec.alarms):
        check.alarm(alarm, ("spec", "alarms", index))
    return check.problems


class _Place:
    """Where a point is declared: in the Plant itself, or in a profile, whose name is then the place."""

    def __init__(self, path: Path, *, own: bool) -> None:
        self._path = path
        self._own = own

    def __call__(self, *keys: str) -> Path:
        return (*self._path, *keys) if self._own else self._path


class _Check:
    """What the names in a plant lead to, and the problems found with them."""

    def __init__(self, plant: Plant, devices: Sequence[ResolvedDevice]) -> None:
        self.problems: list[Problem] = []
        self.declared = [device.external_id for device in plant.spec.devices]
        self.devices = {device.external_id: device for device in devices}
        self.points = {d.external_id: {point.field: point for point in d.points} for d in devices}
        self.interval = plant.spec.telemetry.interval
        self._compared = 0

    def device(self, device: ResolvedDevice, path: Path, own: Mapping[str, int]) -> None:
        """``own``: fields that the Plant itself declares, with their position; the others are the profile's."""
        limits = device.limits
        for field, point in self.points[device.external_id].items():
            place = _Place(
                (*path, "points", own[field]) if field in own else (*path, "profile"), own=field in own
            )
            self._scale_from(device, point, place)
            if point.table in REGISTER_TABLES and point.registers > limits.max_registers:
                self._report(
                    place(),
                    f"{field} takes {point.registers} registers, a request to {device.external_id} at most "
                    f"{limits.max_registers} (limits.maxRegisters), and a point is never split",
                    field,
                )
            if point.writable is None:
                continue
            if point.registers > 1 and limits.write_function == "single":
                self._report(
                    place("writable"),
                    f"{field} has {point.registers} registers, which are always written in one request; "
                    "that needs writeFunction auto or multiple",
                )
            self._fits(point, point.writable.min, place("writable", "min"))
            self._fits(point, point.writable.max, place("writable", "max"))
        if len(device.mask) > _BITS * limits.max_registers and device.mask[0].table in REGISTER_TABLES:
            message = "a mask of type uint32 is read in one request of two registers"
            self._report((*path, "limits", "maxRegisters"), message, limits.max_registers)

    def constants(self, writes: Sequence[ConstantWrite], path: Path) -> None:
        """Fixed values for writable points."""
        for position, write in enumerate(writes):
            here = (*path, position)
            point = self._writable(write.device, write.field, here)
            if point is not None:
                self._constant(point, write.value, (*here, "value"))

    def command_write(self, write: CommandWrite, path: Path) -> None:
        """A write of a command, its bounds and its confirmation."""
        point = self._writable(write.device, write.field, path)
        if point is not None and write.value is not None:
            self._constant(point, write.value, (*path, "value"))
        elif point is not None:
            self._parameter(point, write, path)
        if write.read_back != "none" and write.read_back.field is not None and write.device in self.points:
            self._point(write.device, write.read_back.field, (*path, "readBack"))

    def heartbeat(self, heartbeat: Heartbeat, path: Path) -> None:
        """A writable point that can count or toggle."""
        point = self._writable(heartbeat.device, heartbeat.field, path)
        if point is None or point.writable is None or heartbeat.mode == "toggle":
            return
        if point.type not in _INTEGERS:
            message = f"a {point.type} cannot count; use mode toggle, or an integer point"
            self._report((*path, "mode"), message, heartbeat.mode)
        elif not (point.writable.min is None and point.writable.max is None):
            self._report(
                (*path, "field"),
                f"a counter runs through the whole range of {point.type}; take min and max off {point.field}",
                heartbeat.field,
            )

    def alarm(self, alarm: Alarm, path: Path) -> None:
        """A condition that can come true on what it watches."""
        if alarm.field is not None:
            point = self._point(alarm.device, alarm.field, path)
            if point is not None:
                self._point_alarm(alarm, point, path)
        else:
            self._known(alarm.device, path)
        device = self.devices.get(alarm.device)
        if device is None:
            return
        if alarm.field is None and alarm.when.bit is not None:
            self._mask_alarm(alarm.when.bit, device, path)
        period = self.interval * device.every
        if alarm.when.not_read_for is not None and alarm.when.not_read_for <= period:
            self._report(
                (*path, "when", "notReadFor"),
                f"{device.external_id} is read every {format_duration(period)} only, so this alarm would come "
                "and go with every reading; make it longer",
                format_duration(alarm.when.not_read_for),
                severity=Severity.WARNING,
            )

    def _mask_alarm(self, bit: int, device: ResolvedDevice, path: Path) -> None:
        if not device.mask:
            message = f"{device.external_id} is no CABINET; name the field whose bit {bit} is meant"
            self._report((*path, "field"), message)
        elif bit not in {mask_bit.bit for mask_bit in device.mask}:
            message = f"bit {bit} of {device.external_id} is never read, so it is always 0"
            self._report((*path, "when", "bit"), message, bit)

    def _point_alarm(self, alarm: Alarm, point: Point, path: Path) -> None:
        (key,) = alarm.when.keys
        here = (*path, "when", key)
        if alarm.when.bit is not None:
            if point.type not in _INTEGERS:
                self._report(here, f"{point.field} is a {point.type}; bits are of integers", alarm.when.bit)
            elif alarm.when.bit >= _BITS * point.registers:
                last = _BITS * point.registers - 1
                self._report(here, f"the bits of a {point.type} are 0 to {last}", alarm.when.bit)
            return
        wanted = {"bool": "true or false", "string": "text"}.get(point.type, "a number")
        given = alarm.when.eq if alarm.when.eq is not None else alarm.when.ne
        if key in {"eq", "ne"}:
            shown = (
                "true or false"
                if isinstance(given, bool)
                else "text"
                if isinstance(given, str)
                else "a number"
            )
            if shown != wanted:
                self._report(here, f"{point.field} is a {point.type}; compare it with {wanted}", given)
        elif key != "notReadFor" and wanted != "a number":
            self._report(here, f"{point.field} is a {point.type}; use eq or ne with {wanted}")

    def _scale_from(self, device: ResolvedDevice, point: Point, place: _Place) -> None:
        if point.scale_from is None:
            return
        source = self.points[device.external_id].get(point.scale_from)
        if source is None or source.type != "int16":
            self._report(
                place("scaleFrom"),
                f"scaleFrom of {point.field} must name an int16 point of {device.external_id}; "
                f"{point.scale_from} is {source.type if source else 'not there'}",
                point.scale_from,
            )

    def _constant(self, point: Point, value: Scalar, path: Path) -> None:
        if (point.type == "bool") != isinstance(value, bool):
            wanted = "true or false" if point.type == "bool" else "a number"
            self._report(path, f"{point.field} is a {point.type}; write {wanted}", value)
        elif not isinstance(value, bool):
            self._within(point, value, path)
            self._fits(point, value, path)

    def _parameter(self, point: Point, write: CommandWrite, path: Path) -> None:
        if point.type == "bool":
            for name, given in (("min", write.min), ("max", write.max)):
                if given is not None:
                    self._report(
                        (*path, name), f"{point.field} takes true or false; {name} has no meaning", given
                    )
            if write.factor != 1:
                message = f"{point.field} takes true or false; factor has no meaning"
                self._report((*path, "factor"), message, write.factor)
            return
        for name, bound in (("min", write.min), ("max", write.max)):
            if bound is not None:
                self._within(point, bound, (*path, name))
                self._fits(point, bound, (*path, name))

    def _within(self, point: Point, value: float, path: Path) -> None:
        assert point.writable is not None
        low, high = point.writable.min, point.writable.max
        if low is not None and value < low:
            self._report(
                path, f"{value:g} is below {low:g}, the least that {point.field} may be set to", value
            )
        if high is not None and value > high:
            self._report(
                path, f"{value:g} is above {high:g}, the most that {point.field} may be set to", value
            )

    def _fits(self, point: Point, value: float | None, path: Path) -> None:
        """Whether the raw type can hold a value in engineering units."""
        if value is None or point.type == "bool" or point.scale_from is not None:
            return
        low, high = _INTEGERS.get(point.type, (-_FLOAT32_MAX, _FLOAT32_MAX))
        raw = round((_exact(value) - _exact(point.offset)) / _exact(point.scale))
        if point.type != "float64" and not low <= raw <= high:
            ends = sorted(
                float(_exact(end) * _exact(point.scale) + _exact(point.offset)) for end in (low, high)
            )
            self._report(
                path,
                f"{point.field} is a {point.type} and holds {ends[0]:.17g} to {ends[1]:.17g} with its scale",
                value,
            )

    def _known(self, device: str, path: Path) -> bool:
        if device not in self.declared:
            self._report(
                (*path, "device"), f"there is no device {device}; {self._hint(device, self.declared)}", device
            )
        return device in self.points

    def _point(self, device: str, field: str, path: Path) -> Point | None:
        if not self._known(device, path):
            return None
        points = self.points[device]
        if not points:
            self._report(
                (*path, "field"), f"{device} is a CABINET: it has a mask and no field {field}", field
            )
        elif field not in points:
            message = f"{device} has no point {field}; {self._hint(field, list(points))}"
            self._report((*path, "field"), message, field)
        return points.get(field)

    def _writable(self, device: str, field: str, path: Path) -> Point | None:
        point = self._point(device, field, path)
        if point is not None and point.writable is None:
            self._report(
                (*path, "field"),
                f"{field} of {device} may not be written; give the point writable, with its bounds",
                field,
            )
            return None
        return point

    def _hint(self, name: str, known: Sequence[str]) -> str:
        self._compared += len(name) * sum(map(len, known))
        close = get_close_matches(name, known, n=1) if self._compared <= _MOST_COMPARED else []
        return f"did you mean {close[0]}?" if close else f"there is {listed(known)}"

    def _report(
        self, path: Path, message: str, value: Any = None, *, severity: Severity = Severity.ERROR
    ) -> None:
        self.problems.append(Problem(path=path, message=message, value=value, severity=severity))


_BITS: Final = 16
"""Of a register."""
_MOST_COMPARED: Final = 500_000
"""Pairs of characters, in a Plant: looking for similar names takes a microsecond for ten, and an operator judges the Plants
of all its namespaces in turn."""


def _exact(number: float) -> Fraction:
    """The decimal number that a person wrote."""
    return Fraction(repr(float(number)))
