"""When a plant ticks: evenly spread over the fleet, free of drift, a few at a time.

Tick k is due at (k + phase) × interval on the wall clock, where the phase is a hash of the plant's id, in hundredths. The
wall clock is looked at once, at the start, so that a restart joins the same beat and ``every: n`` the same
count; from then on only monotonic time decides, and setting the clock disturbs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b

import structlog

from voke_api.resolved import ResolvedPlant
from voke_gateway.clock import WallClock
from voke_gateway.plant.turns import Turns

SHORTEST_FIRST_GAP = 30.0
"""Seconds; see :class:`Schedule`."""

BEATS = 100
"""Moments of an interval at which plants tick: what several do at once costs less than the same one by one."""

log = structlog.get_logger()


def phase(plant_id: str) -> float:
    """The plant's place within the interval, 0 ≤ phase < 1, the same in every process and version."""
    digest = blake2b(plant_id.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") * BEATS >> 64) / BEATS


@dataclass(frozen=True, slots=True)
class Tick:
    """One moment at which a plant is read."""

    index: int
    """Counts intervals since the epoch."""
    missed: int = 0
    """Ticks that passed unused before this one: the process was suspended or overloaded."""
    first: bool = False
    """The one at the start, outside the beat: every device is polled, whatever its ``every``."""

    def is_turn(self, every: int) -> bool:
        """Whether a device that is polled on every so many ticks is polled on this one.

        That is when the index, or that of a tick missed before it, is divisible by ``every``.
        """
        return self.first or self.index % every <= self.missed

    def instead_of(self, waiting: Tick) -> Tick:
        """This tick, come while ``waiting`` still waited for its turn: it takes the place of both."""
        return replace(self, missed=self.missed + waiting.missed + 1, first=waiting.first)


class Schedule:
    """The ticks of one plant, on the monotonic time that the caller reads.

    A new plant is polled at once and joins its beat at the first tick that leaves it half an interval (but no
    more than :data:`SHORTEST_FIRST_GAP`) to breathe; a beat that comes sooner is left out.
    """

    __slots__ = ("_beat", "_beat_index", "_index", "_interval", "_started", "due")

    def __init__(
        self, plant_id: str, interval: float, *, now: float, wall: float, joined: bool = False
    ) -> None:
        """``joined``: the plant is running already, so its next tick is the next one of the beat."""
        past, since = divmod(wall - phase(plant_id) * interval, interval)
        self._interval = interval
        self._index = self._beat_index = int(past)
        self._beat = now - since
        self._started = joined
        self.due = now
        """Monotonic time of the next tick."""
        if joined:
            self._move_to(self._index + 1)

    def take(self, now: float) -> Tick:
        """The tick for ``now``, a moment around ``due`` or after it; ``due`` moves on to the next.

        Late by whole intervals, only the latest tick is taken and the others count as missed.
        """
        if not self._started:
            self._started = True
            first = Tick(self._index, first=True)
            self._move_to(self._index + 1)
            if self.due - now < min(self._interval / 2, SHORTEST_FIRST_GAP):
                self._move_to(self._index + 1)
            return first
        missed = max(0, int((now - self.due) // self._interval))
        tick = Tick(self._index + missed, missed)
        self._move_to(tick.index + 1)
        return tick

    def _move_to(self, index: int) -> None:
        """Each due time is computed from the same origin, so that rounding does not add up."""
        self._index = index
        self.due = self._beat + (index - self._beat_index) * self._interval


class Ticker:
    """Calls ``on_tick`` at every tick of a schedule, from a timer of the running loop, when its turn comes.

    While a tick waits for its turn the next one may come. Then only that one is taken, in the same place, and
    the other one counts as missed.
    """

    def __init__(
        self,
        plant: ResolvedPlant,
        on_tick: Callable[[Tick], None],
        *,
        turns: Turns,
        wall_clock: WallClock,
    ) -> None:
        self._plant = plant
        self._on_tick = on_tick
        self._turns = turns
        self._wall_clock = wall_clock
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: Tick | None = None

    def start(self) -> None:
        """Tick now, then on the beat."""
        self._loop = asyncio.get_running_loop()
        self._schedule = self._make_schedule(joined=False)
        self._fire()

    def configure(self, plant: ResolvedPlant) -> None:
        """Follow the plant's beat as it is from now on; with the same interval nothing changes."""
        before, self._plant = self._plant, plant
        if self._timer is None or plant.interval == before.interval:
            return
        self._timer.cancel()
        self._schedule = self._make_schedule(joined=True)
        self._timer = self._loop.call_at(self._schedule.due, self._fire)

    def stop(self) -> None:
        """Tick no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting = None

    def _make_schedule(self, *, joined: bool) -> Schedule:
        plant, now = self._plant, self._loop.time()
        return Schedule(plant.plant_id, plant.interval, now=now, wall=self._wall_clock(), joined=joined)

    def _fire(self) -> None:
        tick = self._schedule.take(self._loop.time())
        self._timer = self._loop.call_at(self._schedule.due, self._fire)
        if self._waiting is not None:
            self._waiting = tick.instead_of(self._waiting)
            return
        self._waiting = tick
        self._turns.take(len(self._plant.connections), self._start_tick)

    def _start_tick(self) -> None:
        tick, self._waiting = self._waiting, None
        if tick is None:
            return  # stopped meanwhile
        try:
            self._on_tick(tick)
        except Exception:
            log.exception("tick failed", plant=self._plant.name, tick=tick.index)
