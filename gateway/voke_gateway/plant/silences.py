"""Says in the log what of a plant is not read, and when it is again: at the change, not at every pass."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import structlog

from voke_api.resolved import ResolvedPlant
from voke_gateway.drivers.base import DeviceReading, FaultKind

SAY_AFTER: Final = 15.0
"""Seconds without a reading after which a device is said to be silent: a pass in vain now and then is only counted."""

log = structlog.get_logger()


class Silences:
    """What of one plant is silent. Times are seconds of a monotonic clock."""

    def __init__(self, plant: ResolvedPlant) -> None:
        self._since: dict[str, float] = {}
        """Devices by when they began not to be read."""
        self._said: set[str] = set()
        """Those of them that were said to be silent."""
        self._refused: dict[str, frozenset[str]] = {}
        """Fields by device."""
        self.configure(plant)

    def configure(self, plant: ResolvedPlant) -> None:
        """Go on with the next version of the plant."""
        self._plant = plant.name
        self._devices = {device.external_id: device for device in plant.devices}
        self._said &= self._devices.keys()
        for known in (self._since, self._refused):
            for gone in known.keys() - self._devices.keys():
                del known[gone]

    def observe(self, reading: DeviceReading, now: float) -> None:
        """Take in what a pass brought."""
        if reading.fault is not None:
            self._in_vain(reading, now)
            return
        since = self._since.pop(reading.device, None)
        if since is not None and reading.device in self._said:
            self._said.discard(reading.device)
            silent_for = f"{now - since:.0f}s"
            log.info("device is read again", plant=self._plant, device=reading.device, silent_for=silent_for)
        if reading.faults or reading.device in self._refused:
            self._points(reading)

    def _in_vain(self, reading: DeviceReading, now: float) -> None:
        device = self._devices.get(reading.device)
        if device is None:
            return
        since = self._since.setdefault(reading.device, now)
        if reading.device in self._said or now - since < SAY_AFTER:
            return
        assert reading.fault is not None
        # Those behind the same connection fail within the same pass: they are one line.
        silent = defaultdict(list)
        for name, began in self._since.items():
            other = self._devices[name]
            if (
                name not in self._said
                and other.connection == device.connection
                and now - began >= SAY_AFTER / 2
            ):
                silent[other.expect_offline].append(name)
                self._said.add(name)
        for expected, names in silent.items():
            (log.info if expected else log.warning)(
                "devices are not read",
                plant=self._plant,
                connection=device.connection,
                devices=" ".join(names),
                why=_why(reading),
            )

    def _points(self, reading: DeviceReading) -> None:
        before = self._refused.pop(reading.device, frozenset())
        refused = {field for field, fault in reading.faults.items() if fault.kind is FaultKind.REFUSED}
        for field in sorted(refused - before):
            detail = reading.faults[field].detail
            log.warning("point is refused", plant=self._plant, device=reading.device, field=field, why=detail)
        answered = before & reading.values.keys()
        for field in sorted(answered):
            log.info("point is answered again", plant=self._plant, device=reading.device, field=field)
        if still := (before - answered) | refused:
            self._refused[reading.device] = still


def _why(reading: DeviceReading) -> str:
    assert reading.fault is not None
    return reading.fault.detail or reading.fault.kind
