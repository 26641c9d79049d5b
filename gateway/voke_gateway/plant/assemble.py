"""Which readings share a message: one snapshot per tick, and gathered messages for what came too late.

The snapshot of a tick closes when every awaited device has answered or failed, at the latest ``within``
seconds after the tick. What ends later is gathered the same way: a late window opens with the first late
reading and closes when no late pass is running any more, at the latest ``within`` seconds after it opened.
Both close at the next tick, before anything is asked again: a device's readings leave in the order in which
they were made, and none is in a message twice.

A window whose end comes late has been held up with everything else in the process, and what was answered in
time may still lie in a socket. It stays open for as long again, until the loop is punctual or the next tick
comes: a tick that is read in time is one message also when time is short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from voke_gateway.drivers.base import DeviceReading
from voke_gateway.plant.snapshot import Reported, SnapshotFormat
from voke_gateway.timeouts import Timeouts

PUNCTUAL: Final = 0.02
"""Seconds by which a window may close late without being prolonged for it."""

Send = Callable[[Mapping[int, Reported]], None]
"""Takes the reports of one message, by position in the plant. Raises nothing."""


class Pass:
    """One connection's part in the assembly: the tick it was started by, and whom the snapshot awaits."""

    __slots__ = ("awaited", "round")

    def __init__(self) -> None:
        self.round = 0
        self.awaited: set[str] = set()
        """Devices that have neither answered nor failed yet."""


class _Window:
    """Open until it is closed; when its time is up, and the loop is punctual, ``over`` is to close it."""

    __slots__ = ("_loop", "_over", "_prolonged", "_timeouts", "_up", "until")

    def __init__(self, timeouts: Timeouts, over: Callable[[], None]) -> None:
        self._timeouts = timeouts
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._prolonged: asyncio.TimerHandle | None = None
        self._up = self._time_is_up
        self.until: float | None = None
        """By the loop's time; None: it is closed."""

    def open(self) -> None:
        self.until = self._timeouts.begin(self._up)

    def close(self) -> None:
        assert self.until is not None
        self.until = None
        self._timeouts.call_off(self._up)
        if self._prolonged is not None:
            self._prolonged.cancel()
            self._prolonged = None

    def _time_is_up(self) -> None:
        assert self.until is not None
        now = self._loop.time()
        late = now - self.until
        if late > PUNCTUAL:
            self.until = now + late
            self._prolonged = self._loop.call_at(self.until, self._up)
        else:
            self._over()


class Assembly:
    """Gathers the readings of one plant into messages. Runs on the loop's timers, has no task."""

    def __init__(
        self, snapshot_format: SnapshotFormat, *, within: float, send_snapshot: Send, send_late: Send
    ) -> None:
        self._format = snapshot_format
        self._send_snapshot = send_snapshot
        self._send_late = send_late
        timeouts = Timeouts.of(within)
        self._round = 0
        self._snapshot: dict[int, Reported] = {}
        self._snapshot_window = _Window(timeouts, self._close_snapshot)
        self._awaited = 0
        self._passes = 0
        self._late: dict[int, Reported] = {}
        self._late_window = _Window(timeouts, self._close_late)
        self._late_passes = 0

    @property
    def open(self) -> bool:
        """Something has been gathered, or is awaited, that has not been sent."""
        return self._snapshot_window.until is not None or self._late_window.until is not None

    def begin(self, passes: Sequence[Pass]) -> None:
        """A tick: close what is open, then gather the readings of ``passes``, which are about to run."""
        self.flush()
        self._round += 1
        awaited = 0
        for one in passes:
            one.round = self._round
            awaited += len(one.awaited)
        if awaited:
            self._awaited, self._passes = awaited, len(passes)
            self._snapshot_window.open()
        else:
            self._late_passes += len(passes)

    def add(self, source: Pass, reading: DeviceReading) -> None:
        """Take in a reading of a running pass, successful or not."""
        was_awaited = reading.device in source.awaited
        source.awaited.discard(reading.device)
        report = self._format.report(reading)
        if not self._is_on_time(source):
            if report is not None:
                self._add_late(self._format.position(reading.device), report)
            return
        if report is not None:
            position = self._format.position(reading.device)
            if position in self._snapshot:
                self._add_late(position, report)
            else:
                self._snapshot[position] = report
        if was_awaited:
            self._settle(1)

    def over(self, source: Pass) -> None:
        """The pass has ended; what it has not delivered will not come."""
        unanswered = len(source.awaited)
        source.awaited.clear()
        if self._is_on_time(source):
            self._passes -= 1
            if unanswered:
                self._settle(unanswered)
        else:
            self._late_passes -= 1
        if self._late_window.until is not None and not self._late_passes:
            self._close_late()

    def flush(self) -> None:
        """Send what has been gathered so far."""
        if self._late_window.until is not None:
            self._close_late()
        if self._snapshot_window.until is not None:
            self._close_snapshot()

    def _is_on_time(self, source: Pass) -> bool:
        return source.round == self._round and self._snapshot_window.until is not None

    def _settle(self, devices: int) -> None:
        self._awaited -= devices
        if not self._awaited:
            self._close_snapshot()

    def _add_late(self, position: int, report: Reported) -> None:
        if position in self._late:
            self._close_late()
        if self._late_window.until is None:
            self._late_window.open()
        self._late[position] = report

    def _close_snapshot(self) -> None:
        self._snapshot_window.close()
        self._late_passes += self._passes
        self._passes = self._awaited = 0
        if self._snapshot:
            reports, self._snapshot = self._snapshot, {}
            self._send_snapshot(reports)

    def _close_late(self) -> None:
        self._late_window.close()
        reports, self._late = self._late, {}
        self._send_late(reports)
