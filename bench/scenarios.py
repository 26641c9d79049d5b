"""The questions that the benchmark asks, each with its answer and its target."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.machine import Cores
from bench.stage import Load, Stage, StageError, Window, stage
from bench.subject import GATEWAY, Subject

ENOUGH = 0.999
"""Share of due polls that have to be verified at the subscriber."""
MEGABYTE = 1e6
_SPARE_FILES = 1500
"""For sessions, libraries, listeners."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table."""

    figure: str
    measured: str
    target: str = ""
    met: bool | None = None
    """None: there is no target, or what was measured does not decide."""
    noise: str = ""
    """How far the machine was disturbed meanwhile."""
    values: dict[str, object] = field(default_factory=dict)
    """Numbers for the JSON file."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long things are watched."""

    rung: float = 8.0
    tries: int = 2
    confirm: float = 60.0
    half: float = 20.0
    idle: float = 20.0
    overload: float = 15.0
    """Three times this."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all scenarios need."""

    cores: Cores
    say: Callable[[str], None]
    effort: Effort = Effort()
    subject: Subject = GATEWAY


@dataclass(frozen=True, slots=True)
class Capacity:
    """The largest number of PLCs that was carried, and the window that shows it."""

    plcs: int
    per_plant: int
    window: Window | None
    rungs: tuple[tuple[int, float], ...]
    """Number of PLCs and share delivered, in the order of trying."""

    @property
    def polls_per_second(self) -> float:
        return self.window.polls_per_second if self.window else 0.0


class _Ladder:
    """Tries numbers of PLCs; a rung holds if any of its windows passes.

    In a short window nothing may be missing yet although the gateway falls behind: so half of an interval is
    all that a message may take there, beside what the subject keeps it for by design.
    """

    def __init__(self, bench: Bench, per_plant: int) -> None:
        self._bench = bench
        self._per_plant = per_plant
        self.rungs: list[tuple[int, float]] = []

    async def holds(self, plcs: int, seconds: float) -> Window | None:
        """The first window that passes; None: none did."""
        bench = self._bench
        name = f"{plcs} PLCs, {self._per_plant} to a plant"
        try:
            async with stage(bench.cores, Load(plcs, self._per_plant), subject=bench.subject) as running:
                for _ in range(bench.effort.tries):
                    window = await running.window(seconds)
                    self.rungs.append((plcs, window.counted.ratio))
                    bench.say(f"{name}: {told(window)}")
                    promptly = window.counted.tick_to_socket[1] <= bench.subject.kept_for + 0.5
                    late = not promptly and seconds < bench.effort.confirm
                    if window.counted.ratio >= ENOUGH and not late:
                        return window
        except StageError as error:
            self.rungs.append((plcs, 0.0))
            bench.say(f"{name}: {error}")
        return None


def next_rung(low: int, high: int, share: float, step: int) -> int | None:
    """How many PLCs to try next; None: ``low`` is the answer, to within 6 %.

    Args:
        low: The most that was carried; 0: nothing yet.
        high: The least that was not; 0: everything was.
        share: Of the core, used to carry ``low``.
        step: Fleets come in multiples of it.
    """
    if not low:
        following = _round(high * 0.7, step)
        return following if following < high else None
    if not high:
        return _round(low * min(max(1.06, 0.92 / max(share, 0.05)), 4.0), step)
    if high - low <= max(step, 0.06 * low):
        return None
    return min(max(_round((low + high) / 2, step), low + step), high - step)


def most_by_files(step: int, each: int) -> int:
    """The least number of PLCs for which open files do not suffice at ``each`` for one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return step * (max(0, most - _SPARE_FILES) // each // step + 1)


async def capacity(bench: Bench, per_plant: int, *, guess: int, target: int) -> tuple[Capacity, list[Result]]:
    """Climb to the largest N whose due polls are delivered, then confirm it over the long window."""
    ladder, step = _Ladder(bench, per_plant), per_plant * max(1, 50 // per_plant)
    low, high, share = 0, most_by_files(step, bench.subject.files_per_plc), 0.0
    plcs: int | None = guess
    while plcs is not None:
        window = await ladder.holds(plcs, bench.effort.rung)
        if window is None:
            high = plcs
        else:
            low, share = plcs, window.cpu
        plcs = next_rung(low, high, share, step)
    confirmed: Window | None = None
    while low > step and confirmed is None:
        confirmed = await ladder.holds(low, bench.effort.confirm)
        if confirmed is None:
            low = _round(low * 0.9, step)
    found = Capacity(low if confirmed else 0, per_plant, confirmed, tuple(ladder.rungs))
    return found, _capacity_results(found, target)


def _capacity_results(found: Capacity, target: int) -> list[Result]:
    shape = to_a_plant(found.per_plant)
    window = found.window
    if window is None:
        return [Result(f"PLCs per core, {shape}", "none confirmed", f"≥ {target:,}", met=False)]
    bound = "≥ " if window.measuring_side_full else ""
    return [
        Result(
            f"PLCs per core, {shape}",
            f"{bound}{found.plcs:,}",
            f"≥ {target:,}",
            met=found.plcs >= target,
            noise=noise(window),
            values={"plcs": found.plcs, "rungs": [list(rung) for rung in found.rungs], **values(window)},
        ),
        Result(
            f"– CPU per poll there, {shape}",
            f"{window.cpu_per_poll:.0f} µs ({window.cpu:.0%} of the core)",
            values={"cpuPerPoll": window.cpu_per_poll},
        ),
        Result(f"– memory there, {shape}", f"{window.rss / MEGABYTE:.0f} MB", values={"rss": window.rss}),
        Result(
            f"– the other core there, {shape}",
            f"{window.others_busy:.0%} busy: farm {window.farm_cpu:.0%}, broker {window.broker_cpu:.0%}, "
            f"verifier {window.verifier_cpu:.0%}",
        ),
    ]


async def half_load(bench: Bench, found: Capacity) -> list[Result]:
    """How long a tick takes to the socket when there is room."""
    plcs = _round(found.plcs / 2, found.per_plant)
    async with stage(bench.cores, Load(plcs, found.per_plant), subject=bench.subject) as running:
        window = await running.window(bench.effort.half)
    bench.say(f"half load, {to_a_plant(found.per_plant)}: {told(window)}")
    p50, p99, longest = (1000 * seconds for seconds in window.counted.tick_to_socket)
    read = [1000 * seconds for seconds in window.counted.read_to_socket]
    shape = to_a_plant(found.per_plant)
    return [
        Result(
            f"tick → socket at {plcs:,} PLCs, {shape}",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {longest:.0f} ms",
            "p99 < 20 ms" if found.per_plant > 1 else "",
            met=p99 < 20 if found.per_plant > 1 else None,
            noise=noise(window),
            values={"plcs": plcs, "firstReadToSocketMs": read, **values(window)},
        ),
        Result(
            f"– CPU per poll there, {shape}",
            f"{window.cpu_per_poll:.0f} µs ({window.cpu:.0%} of the core)",
            values={"cpuPerPoll": window.cpu_per_poll},
        ),
    ]


async def idle(bench: Bench) -> list[Result]:
    """What a gateway costs that has little to do: one plant, ten PLCs."""
    results = []
    for interval in (10.0, 1.0):
        async with stage(bench.cores, Load(10, 10, interval), subject=bench.subject) as running:
            window = await running.window(bench.effort.idle)
        bench.say(f"idle, every {interval:g} s: {told(window)}")
        rss = window.rss / MEGABYTE
        results.append(
            Result(
                f"idle, 10 PLCs every {interval:g} s",
                f"{window.cpu:.2%} of a core, {rss:.0f} MB",
                "< 1 %, < 60 MB",
                met=window.cpu < 0.01 and rss < 60,
                noise=noise(window),
                values=values(window),
            )
        )
    return results


async def overload(bench: Bench, found: Capacity) -> list[Result]:
    """Twice the capacity: what is delivered, to whom, and whether memory stays where it is.

    The same PLCs are polled twice as often: twice as many would take more open files than most machines allow.
    """
    load = Load(found.plcs, found.per_plant, interval=0.5)
    async with stage(bench.cores, load, subject=bench.subject, start_within=300.0) as running:
        skipped = await running.skipped()
        windows = [await running.window(bench.effort.overload) for _ in range(3)]
        skipped = await running.skipped() - skipped
    for window in windows:
        bench.say(f"overload, {load.plcs} PLCs: {told(window)}")
    delivered = sum(window.counted.delivered for window in windows)
    missing = sum(window.counted.due for window in windows) - delivered
    share = delivered / sum(window.seconds for window in windows) / (found.polls_per_second or found.plcs)
    fairness = min(window.counted.least_share for window in windows)
    growth = (windows[-1].rss - windows[0].rss) / windows[0].rss
    shape = to_a_plant(found.per_plant)
    return [
        Result(
            f"2 × overload ({load.plcs:,} PLCs every 0.5 s), {shape}: delivered",
            f"{share:.0%} of capacity",
            "≥ 95 %",
            met=share >= 0.95,
            noise=noise(*windows),
            values={"plcs": load.plcs, "windows": [values(window) for window in windows]},
        ),
        Result(
            f"– fairness, {shape}",
            f"plant with the least: {fairness:.0%} of its share",
            "≥ 90 %",
            met=fairness >= 0.9,
        ),
        Result(
            f"– memory, {shape}",
            f"{windows[0].rss / MEGABYTE:.0f} MB, then {windows[-1].rss / MEGABYTE:.0f} MB",
            "flat",
            met=growth < 0.02,
        ),
        Result(
            f"– skips, {shape}", f"{skipped:,} counted, {missing:,} polls missing", values={"skips": skipped}
        ),
    ]


async def silent(bench: Bench, found: Capacity) -> list[Result]:
    """Every tenth PLC takes the connection and never answers; the others must not notice."""
    plcs = _round(found.plcs / 2, found.per_plant)
    load = Load(plcs, found.per_plant, silent_every=10)
    async with stage(bench.cores, load, subject=bench.subject) as running:
        window = await running.window(bench.effort.half)
    bench.say(f"10 % silent: {told(window)}")
    return [
        Result(
            f"10 % of {plcs:,} PLCs silent, {to_a_plant(found.per_plant)}: delivered of the others",
            f"{window.counted.ratio:.2%}, {window.cpu_per_poll:.0f} µs per poll",
            "≥ 99.9 %",
            met=window.counted.ratio >= ENOUGH,
            noise=noise(window),
            values=values(window),
        )
    ]


async def reload(bench: Bench, found: Capacity) -> list[Result]:
    """One plant's file changes under half load: the others must not notice."""
    plcs = _round(found.plcs / 2, found.per_plant)
    async with stage(bench.cores, Load(plcs, found.per_plant), subject=bench.subject) as running:
        applied, window = await _edited(running, bench.effort.half)
    bench.say(f"reload: {told(window)}")
    longest = 1000 * window.counted.tick_to_socket[2]
    took = "not applied" if applied is None else f"applied after {applied:.2f} s"
    return [
        Result(
            f"one Plant edited among {len(running.plants)}: the others",
            f"{window.counted.ratio:.2%} delivered, longest tick → socket {longest:.0f} ms, {took}",
            "100 %",
            met=applied is not None and window.counted.delivered == window.counted.due,
            noise=noise(window),
            values={"appliedAfter": applied, **values(window)},
        )
    ]


async def _edited(running: Stage, seconds: float) -> tuple[float | None, Window]:
    plant = running.plants[0]
    edited = dataclasses.replace(plant, plcs=plant.plcs[:-1])
    watching = asyncio.create_task(running.window(seconds, without=plant))
    await asyncio.sleep(min(3.0, seconds / 3))
    applied = await running.edit(plant, edited, within=seconds / 2)
    return applied, await watching


async def cost(bench: Bench, load: Load, *, seconds: float, windows: int) -> Window:
    """The window in which a poll was cheapest: the others were disturbed more."""
    async with stage(bench.cores, load, subject=bench.subject) as running:
        seen = [await running.window(seconds) for _ in range(windows)]
    for window in seen:
        bench.say(f"{load.plcs} PLCs, {load.per_plant} to a plant: {told(window)}")
    return min(seen, key=lambda window: window.relative_cost)


def _round(plcs: float, step: int) -> int:
    return max(step, round(plcs / step) * step)


def to_a_plant(per_plant: int) -> str:
    """How many PLCs a plant has, in words."""
    return {1: "one to a plant", 10: "ten to a plant"}.get(per_plant, f"{per_plant} to a plant")


def told(window: Window) -> str:
    """The window in one line."""
    counted = window.counted
    p50, p99, longest = (1000 * seconds for seconds in counted.tick_to_socket)
    refused = f", refused {counted.refused}" if counted.refused else ""
    return (
        f"{counted.ratio:.3%} of {counted.due} polls{refused}; {window.cpu:.0%} of the core, "
        f"{window.cpu_per_poll:.0f} µs per poll; tick → socket {p50:.1f} / {p99:.1f} / {longest:.0f} ms; "
        f"{window.rss / MEGABYTE:.0f} MB; {noise(window)}"
    )


def noise(*windows: Window) -> str:
    """How far the worst of them was disturbed."""
    waited = max(window.wanted for window in windows)
    strangers = max(window.strangers for window in windows)
    calibration = min(window.calibration for window in windows)
    full = ", measuring core full" if any(window.measuring_side_full for window in windows) else ""
    return f"waited {waited:.0%}, strangers {strangers:.0%}, loop {calibration / 1000:.1f} k/s{full}"


def values(window: Window) -> dict[str, object]:
    """The window for the JSON file."""
    return dataclasses.asdict(window) | {
        "polls_per_second": window.polls_per_second,
        "cpu_per_poll": window.cpu_per_poll,
        "cpu_per_message": window.cpu_per_message,
        "relative_cost": window.relative_cost,
    }
