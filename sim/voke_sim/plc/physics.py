"""What stands behind the registers: sun, inverter, battery, load, grid meter and cabinet.

Plain models without input or output. Time is simulated seconds since midnight of the first day and comes
in from outside; weather and load are pure functions of time and a seed, so that they do not depend on how
often they are looked at. Powers are in watts, energies in watt-hours.
Signs: grid + is import, battery + is charging (as in Voke's partner feed, protocol §6.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

DAY = 86_400.0
HOUR = 3_600.0
GENERAL_FAULT = 106
"""The one fault code that Voke's pages explain (protocol §6.5)."""


@lru_cache(maxsize=4096)
def _knot(seed: str, index: int) -> float:
    return Random(f"{seed}/{index}").random()


def noise(seed: str, time: float, every: float) -> float:
    """A value in 0 … 1 that wanders: random at every multiple of ``every`` seconds, smooth between."""
    index, part = divmod(time / every, 1.0)
    smooth = part * part * (3.0 - 2.0 * part)
    first, second = _knot(seed, int(index)), _knot(seed, int(index) + 1)
    return first + (second - first) * smooth


@dataclass(frozen=True, slots=True)
class Sun:
    """A day's curve of light with clouds in front of it."""

    seed: str = "sun"
    rises: float = 5.5 * HOUR
    sets: float = 20.5 * HOUR
    cloudiness: float = 0.6
    """0: never a cloud; 1: the thickest leave a tenth of the light."""

    def irradiance(self, time: float) -> float:
        """Light on the panels as a share of full sun, 0 … 1."""
        of_day = time % DAY
        if not self.rises < of_day < self.sets:
            return 0.0
        clear = math.pow(math.sin(math.pi * (of_day - self.rises) / (self.sets - self.rises)), 1.3)
        cover = 0.7 * noise(f"{self.seed}/front", time, 1800.0) + 0.3 * noise(f"{self.seed}/puff", time, 60.0)
        return clear * (1.0 - 0.9 * self.cloudiness * cover)


@dataclass(frozen=True, slots=True)
class Load:
    """What the site uses: a base, a working day, and machines that come and go."""

    seed: str = "load"
    base: float = 1_500.0
    peak: float = 9_000.0

    def power(self, time: float) -> float:
        """Watts, always positive."""
        working = max(0.0, math.sin(math.pi * ((time % DAY) / HOUR - 6.0) / 12.0))
        bustle = noise(f"{self.seed}/slow", time, 900.0) * 0.7 + noise(f"{self.seed}/fast", time, 20.0) * 0.3
        return self.base * (0.8 + 0.4 * bustle) + (self.peak - self.base) * working * bustle


@dataclass(slots=True)
class Inverter:
    """Panels and the inverter behind them. It sleeps when there is too little light."""

    peak_power: float = 20_000.0
    """Of the panels in full sun."""
    rating: float = 17_500.0
    """Most AC power."""
    efficiency: float = 0.97
    seed: str = "inverter"
    fault_code: int = 0
    """0: none. With a fault it makes no power."""
    dc_power: float = 0.0
    ac_power: float = 0.0
    energy_total: float = 12_345_678.0
    energy_today: float = 0.0
    temperature: float = 18.0
    """Degrees Celsius, of the heat sink."""
    voltages: tuple[float, float, float] = (230.0, 230.0, 230.0)
    frequency: float = 50.0
    _day: int = 0

    @property
    def awake(self) -> bool:
        """Whether there is light enough to work."""
        return self.dc_power > 0.0

    def step(self, time: float, elapsed: float, irradiance: float) -> None:
        """Go on to ``time``, ``elapsed`` seconds after the last step."""
        available = self.peak_power * irradiance
        runs = available >= 0.005 * self.peak_power and not self.fault_code
        self.dc_power = min(available, self.rating / self.efficiency) if runs else 0.0
        self.ac_power = self.dc_power * self.efficiency
        if int(time // DAY) != self._day:
            self._day = int(time // DAY)
            self.energy_today = 0.0
        energy = self.ac_power * elapsed / HOUR
        self.energy_today += energy
        self.energy_total += energy
        settled = 18.0 + 35.0 * self.ac_power / self.rating
        self.temperature += (settled - self.temperature) * (1.0 - math.exp(-elapsed / 600.0))
        lift = 4.0 * self.ac_power / self.rating
        first, second, third = (
            round(228.0 + lift + 4.0 * noise(f"{self.seed}/u{phase}", time, 15.0), 3) for phase in (1, 2, 3)
        )
        self.voltages = (first, second, third)
        self.frequency = 49.98 + 0.04 * noise(f"{self.seed}/f", time, 8.0)


@dataclass(slots=True)
class Battery:
    """A battery that follows its set-point at a limited rate, and never beyond full or empty."""

    capacity: float = 40_000.0
    """Watt-hours."""
    max_charge: float = 50_000
    max_discharge: float = 50_000
    ramp: float = 20_000.0
    """Watts per second."""
    setpoint: float = 0.0
    """Watts asked for; + charges."""
    fault_code: int = 0
    """0: none. With a fault the contactors are open: no power."""
    stored: float = 22_000.0
    """Watt-hours."""
    power: float = 0.0
    """Watts, the mean over the last step; + charges."""
    temperature: float = 22.0
    watchdog_timeout: float | None = 60.0
    """Seconds after which a silent watchdog register sets the set-point to 0, once it has been written."""
    charged: float = 0.0
    """Watt-hours taken since the start."""
    discharged: float = 0.0
    """Watt-hours given since the start."""
    watchdog_tripped: bool = False
    _target_power: float = 0.0
    """Where the ramp is; ``power`` differs in the step that hits full or empty."""
    _watchdog_age: float | None = None

    @property
    def soc(self) -> float:
        """State of charge in percent, 0 … 100."""
        return 100.0 * self.stored / self.capacity

    def ask(self, power: float) -> bool:
        """A new set-point; False if it is beyond what the battery can do (then nothing changes)."""
        if not -self.max_discharge <= power <= self.max_charge:
            return False
        self.setpoint = power
        return True

    def feed_watchdog(self) -> None:
        """The watchdog register was written: whoever controls the battery is alive."""
        self._watchdog_age = 0.0
        self.watchdog_tripped = False

    def watch(self, elapsed: float) -> None:
        """Let the watchdog age by ``elapsed`` seconds; a tripped one sets the set-point to 0."""
        if self._watchdog_age is None or self.watchdog_timeout is None:
            return
        self._watchdog_age += elapsed
        if self._watchdog_age >= self.watchdog_timeout and not self.watchdog_tripped:
            self.watchdog_tripped = True
            self.setpoint = 0.0

    def step(self, elapsed: float) -> None:
        """Go on by ``elapsed`` seconds."""
        wanted = 0.0 if self.fault_code or self._exhausted() else self.setpoint
        reach = self.ramp * elapsed
        if self.fault_code:
            self._target_power = 0.0
        else:
            self._target_power += max(-reach, min(reach, wanted - self._target_power))
        room = self.capacity - self.stored
        energy = max(-self.stored, min(room, self._target_power * elapsed / HOUR))
        self.stored = max(0.0, min(self.capacity, self.stored + energy))
        self.power = energy * HOUR / elapsed if elapsed else self._target_power
        if energy > 0:
            self.charged += energy
        else:
            self.discharged -= energy
        settled = 22.0 + 12.0 * abs(self.power) / max(self.max_charge, self.max_discharge)
        self.temperature += (settled - self.temperature) * (1.0 - math.exp(-elapsed / 1200.0))

    def _exhausted(self) -> bool:
        full = self.stored >= self.capacity and self.setpoint > 0
        return full or (self.stored <= 0.0 and self.setpoint < 0)


@dataclass(slots=True)
class GridMeter:
    """The meter at the grid connection: whatever sun, battery and load leave over."""

    seed: str = "meter"
    power: float = 0.0
    """Watts; + is import."""
    imported: float = 4_500_000.0
    exported: float = 1_250_000.0
    voltage: float = 230.0

    def step(self, time: float, elapsed: float, power: float) -> None:
        """Go on by ``elapsed`` seconds at ``power``."""
        self.power = power
        if power >= 0:
            self.imported += power * elapsed / HOUR
        else:
            self.exported -= power * elapsed / HOUR
        self.voltage = 229.0 + 3.0 * noise(f"{self.seed}/u", time, 12.0)


@dataclass(frozen=True, slots=True)
class Pulse:
    """Something that happens for a while, once or again and again."""

    start: float
    """Seconds after the start of the simulation's run."""
    length: float
    every: float | None = None
    """Period in seconds; None: once."""

    def active(self, running: float) -> bool:
        """Whether it is happening ``running`` seconds after the start."""
        since = running - self.start
        if since < 0:
            return False
        return (since % self.every if self.every else since) < self.length


@dataclass(slots=True)
class Cabinet:
    """A cabinet of binary inputs: door, fuses, alarms."""

    inputs: int = 24
    normal: int = 0b0000_0000_0000_0001_1110_0000
    """The mask when all is well: the fuses at bits 5 to 8 are closed."""
    pulses: Sequence[tuple[int, Pulse]] = ()
    """Inputs that go to their other state and back, by bit."""
    forced: dict[int, bool] = field(default_factory=dict)
    """Inputs held by hand, by bit."""
    mask: int = 0b0000_0000_0000_0001_1110_0000

    def step(self, running: float) -> None:
        """Go on to ``running`` seconds after the start."""
        flipped = 0
        for bit, pulse in self.pulses:
            if pulse.active(running):
                flipped |= 1 << bit
        mask = self.normal ^ flipped
        for bit, value in self.forced.items():
            mask = mask | 1 << bit if value else mask & ~(1 << bit)
        self.mask = mask & ((1 << self.inputs) - 1)
