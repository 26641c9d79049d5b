"""Alarms: from readings to RAISE and RESOLVE events, one of each per alarm id (protocol §6.5).

A condition that cannot be evaluated because its value was not read keeps the alarm as it is, and the time
without a reading counts neither towards ``for`` nor towards ``clearFor``. Only ``notReadFor`` looks at the
silence itself.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from voke_api.resolved import ResolvedPlant
from voke_api.resources.plant import Alarm
from voke_gateway.drivers.base import DeviceReading, Value
from voke_gateway.outbox.store import Entry, Kind
from voke_gateway.protocol.canonical import canonical
from voke_gateway.stats import PlantStats

SEVERITIES: Final[Mapping[str, int]] = {"WARNING": 1, "ERROR": 2, "CRITICAL": 3}
"""Voke's numbers (protocol §6.5)."""

Condition = Callable[[DeviceReading], bool | None]
"""Whether the condition holds in a reading; None: not known."""


class Alarms:
    """All alarms of one plant. Times are the event loop's; events are put into the store in order."""

    def __init__(
        self,
        plant: ResolvedPlant,
        *,
        put: Callable[[Kind, bytes], Entry],
        stats: PlantStats,
        new_id: Callable[[], str],
    ) -> None:
        self._put = put
        self._stats = stats
        self._new_id = new_id
        self._by_device: dict[str, list[_Watch]] = {}
        self._silences: list[_SilenceWatch] = []
        self.configure(plant, None)

    def configure(self, plant: ResolvedPlant, now: float | None) -> None:
        """Watch for what ``plant`` says from now on.

        An alarm that is defined as before stays as it is, raised or not. One that is not, and is raised, is
        resolved: what raised it is not looked at any more. Silence of new ones counts from ``now``; None: from
        :meth:`start`.
        """
        before = {watch.alarm.name: watch for watches in self._by_device.values() for watch in watches}
        self._by_device, self._silences = defaultdict(list), []
        for alarm in plant.alarms:
            watch = before.get(alarm.name)
            if watch is not None and watch.alarm == alarm:
                del before[alarm.name]
            elif alarm.when.not_read_for is not None:
                watch = _SilenceWatch(alarm, alarm.when.not_read_for, self._emit)
                watch.last_read = now
            else:
                watch = _ValueWatch(alarm, self._emit)
            self._by_device[alarm.device].append(watch)
            if isinstance(watch, _SilenceWatch):
                self._silences.append(watch)
        for gone in before.values():
            if gone.alarm_id is not None:
                self._emit(gone, "RESOLVE", None)

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the alarms that are raised, in the Plant's order per device."""
        return tuple(w.alarm.name for watches in self._by_device.values() for w in watches if w.alarm_id)

    def start(self, now: float) -> None:
        """Silence counts from here."""
        for silence in self._silences:
            silence.last_read = now

    def observe(self, reading: DeviceReading, now: float) -> None:
        """Take in one pass over one device, successful or not."""
        for watch in self._by_device.get(reading.device, ()):
            watch.observe(reading, now)

    def tick(self, now: float) -> None:
        """Let silence count."""
        for silence in self._silences:
            silence.tick(now)

    def _emit(self, watch: _Watch, event: str, value: Value | None) -> None:
        """Put an event into the store; the signed parts of RESOLVE equal those of its RAISE."""
        alarm = watch.alarm
        if event == "RAISE":
            watch.alarm_id = self._new_id()
            self._stats.alarms_active += 1
        detail: dict[str, Value] = {"device": alarm.device, "name": alarm.name}
        if alarm.field is not None:
            detail["field"] = alarm.field
        if value is not None:
            detail["value"] = value
        content = {
            "alarmId": watch.alarm_id,
            "code": alarm.code,
            "detail": detail,
            "ev": event,
            "msg": alarm.name,
            "sev": SEVERITIES[alarm.severity],
        }
        self._put(Kind.ALARM, canonical(content))
        if event == "RESOLVE":
            watch.alarm_id = None
            self._stats.alarms_active -= 1


class _Watch:
    """The life of one alarm: how long its condition has held, or has not, and whether it is raised."""

    def __init__(self, alarm: Alarm, emit: Callable[[_Watch, str, Value | None], None]) -> None:
        self.alarm = alarm
        self.alarm_id: str | None = None
        """None while the alarm is not raised."""
        self._emit = emit
        self._elapsed: float | None = None
        """Seconds counted towards the next event; None: nothing is under way."""
        self._counted_until: float | None = None
        """Loop time up to which ``_elapsed`` has counted; None after a gap."""

    def observe(self, reading: DeviceReading, now: float) -> None:
        raise NotImplementedError

    def _pause(self) -> None:
        """What happens until the next known condition does not count."""
        self._counted_until = None

    def _known(self, now: float, *, holds: bool, value: Value | None = None) -> None:
        """The condition is known to hold, or not to, at ``now``."""
        raised = self.alarm_id is not None
        if holds == raised:
            self._elapsed = None
            return
        if self._elapsed is None:
            self._elapsed = 0.0
        elif self._counted_until is not None:
            self._elapsed += now - self._counted_until
        self._counted_until = now
        if self._elapsed >= (self.alarm.clear_for if raised else self.alarm.for_):
            self._elapsed = None
            self._emit(self, "RESOLVE" if raised else "RAISE", value)


class _ValueWatch(_Watch):
    """An alarm on a value, a raw word or a mask."""

    def __init__(self, alarm: Alarm, emit: Callable[[_Watch, str, Value | None], None]) -> None:
        super().__init__(alarm, emit)
        self._while_clear, self._while_raised = _conditions(alarm)

    def observe(self, reading: DeviceReading, now: float) -> None:
        holds = (self._while_clear if self.alarm_id is None else self._while_raised)(reading)
        if holds is None:
            self._pause()
        else:
            field = self.alarm.field
            value = reading.mask if field is None else reading.values.get(field)
            self._known(now, holds=holds, value=value)


class _SilenceWatch(_Watch):
    """An alarm on a device or a point that is not read."""

    def __init__(
        self, alarm: Alarm, not_read_for: float, emit: Callable[[_Watch, str, Value | None], None]
    ) -> None:
        super().__init__(alarm, emit)
        self._not_read_for = not_read_for
        self.last_read: float | None = None

    def observe(self, reading: DeviceReading, now: float) -> None:
        field = self.alarm.field
        if field is None:
            was_read = bool(reading.values) or reading.mask is not None
        else:
            was_read = field in reading.values
        if was_read:
            self.last_read = now
            self._known(now, holds=False)

    def tick(self, now: float) -> None:
        if self.last_read is not None:
            self._known(now, holds=now - self.last_read >= self._not_read_for)


_Compare = Callable[[float, float], bool]
_THRESHOLDS: Final[tuple[tuple[str, _Compare, int], ...]] = (
    ("gt", operator.gt, -1),
    ("gte", operator.ge, -1),
    ("lt", operator.lt, +1),
    ("lte", operator.le, +1),
)
"""Key of ``when``, comparison, and the direction in which hysteresis moves the threshold."""


def _conditions(alarm: Alarm) -> tuple[Condition, Condition]:
    """Compile ``when``: the condition while clear, and the one while raised.

    They differ by the hysteresis only, which makes a raised alarm harder to resolve, never easier to raise.
    """
    when, field = alarm.when, alarm.field
    if when.bit is not None:
        is_set = _bit_is_set(field, when.bit)
        return is_set, is_set
    if field is None:
        raise ValueError(f"alarm {alarm.name}: this condition needs a field")
    for key, compare, direction in _THRESHOLDS:
        threshold = getattr(when, key)
        if threshold is not None:
            release = threshold + direction * (alarm.hysteresis or 0.0)
            return _beyond(field, compare, threshold), _beyond(field, compare, release)
    equal = (
        _compares(field, operator.eq, when.eq)
        if when.eq is not None
        else _compares(field, operator.ne, when.ne)
    )
    return equal, equal


def _bit_is_set(field: str | None, bit: int) -> Condition:
    def condition(reading: DeviceReading) -> bool | None:
        word = reading.mask if field is None else reading.raw.get(field)
        return None if word is None else bool(word >> bit & 1)

    return condition


def _beyond(field: str, compare: _Compare, threshold: float) -> Condition:
    def condition(reading: DeviceReading) -> bool | None:
        value = reading.values.get(field)
        return None if value is None or isinstance(value, str) else compare(value, threshold)

    return condition


def _compares(field: str, compare: Callable[[object, object], bool], wanted: Value | None) -> Condition:
    def condition(reading: DeviceReading) -> bool | None:
        value = reading.values.get(field)
        return None if value is None else compare(value, wanted)

    return condition
