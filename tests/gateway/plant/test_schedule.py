"""When a plant ticks."""

from __future__ import annotations

import asyncio
import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plants import battery_plant
from tests.support.virtual_time import EPOCH, VirtualTimeLoop, run, wall_clock
from voke_gateway.plant.schedule import Schedule, Tick, Ticker, phase
from voke_gateway.plant.turns import Turns

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"

plant_ids = st.uuids().map(str)
intervals = st.sampled_from([0.1, 0.25, 1.0, 2.0, 3.0, 10.0, 60.0, 900.0, 86_400.0])
walls = st.floats(1.6e9, 2.4e9)


def on_time(schedule: Schedule, ticks: int) -> list[tuple[float, Tick]]:
    """What a punctual caller gets."""
    taken = []
    for _ in range(ticks):
        due = schedule.due
        taken.append((due, schedule.take(due)))
    return taken


def test_the_phase_of_a_plant_never_changes() -> None:
    assert phase(PLANT_ID) == 0.61


def test_the_phases_of_a_fleet_are_spread_evenly() -> None:
    buckets = [0] * 100
    for n in range(100_000):
        share = phase(str(uuid.UUID(int=n)))
        assert 0.0 <= share < 1.0
        buckets[round(share * 100)] += 1
    assert min(buckets) > 850
    assert max(buckets) < 1150


@given(plant_ids, intervals, walls)
def test_the_first_tick_comes_at_once_and_the_second_leaves_room_to_breathe(
    plant_id: str, interval: float, wall: float
) -> None:
    schedule = Schedule(plant_id, interval, now=5.0, wall=wall)
    (start, first), (second, _) = on_time(schedule, 2)
    assert start == 5.0
    assert first.first
    assert min(interval / 2, 30.0) <= second - start + 1e-9
    assert second - start <= interval * 1.5 + 1e-6


@given(plant_ids, intervals, walls)
def test_every_tick_but_the_first_is_on_the_plants_beat(plant_id: str, interval: float, wall: float) -> None:
    schedule = Schedule(plant_id, interval, now=0.0, wall=wall)
    for due, tick in on_time(schedule, 5)[1:]:
        beat = (tick.index + phase(plant_id)) * interval
        assert wall + due == pytest.approx(beat, abs=2e-6)
        assert not tick.first
        assert tick.missed == 0


def test_ten_thousand_ticks_do_not_drift() -> None:
    schedule = Schedule(PLANT_ID, 0.1, now=1000.0, wall=EPOCH)
    ticks = on_time(schedule, 10_002)[1:]
    assert ticks[-1][1].index - ticks[0][1].index == 10_000
    assert ticks[-1][0] - ticks[0][0] == pytest.approx(1000.0, abs=1e-9)


def test_a_caller_who_is_always_a_little_late_does_not_drift_either() -> None:
    schedule = Schedule(PLANT_ID, 1.0, now=0.0, wall=EPOCH)
    schedule.take(0.0)
    first_due = schedule.due
    indexes = [schedule.take(schedule.due + 0.9).index for _ in range(1000)]
    assert all(after - before == 1 for before, after in pairwise(indexes))
    assert schedule.due == pytest.approx(first_due + 1000.0, abs=1e-9)


def test_a_timer_that_fires_a_millisecond_early_gives_the_tick_it_was_set_for() -> None:
    schedule = Schedule(PLANT_ID, 1.0, now=0.0, wall=EPOCH)
    schedule.take(0.0)
    due = schedule.due
    early = schedule.take(due - 0.001)
    assert early.missed == 0
    assert schedule.due == pytest.approx(due + 1.0)


def test_hours_of_absence_are_one_tick_and_a_number() -> None:
    schedule = Schedule(PLANT_ID, 10.0, now=0.0, wall=EPOCH)
    on_time(schedule, 3)
    due = schedule.due
    tick = schedule.take(due + 3 * 3600 + 4.0)
    assert tick.missed == 1080
    assert schedule.due == pytest.approx(due + 3 * 3600 + 10.0)
    assert schedule.take(schedule.due).missed == 0


@given(plant_ids, intervals, walls, st.floats(0.0, 100_000.0))
def test_a_restart_joins_the_same_beat_and_the_same_count(
    plant_id: str, interval: float, wall: float, later: float
) -> None:
    before = Schedule(plant_id, interval, now=0.0, wall=wall)
    after = Schedule(plant_id, interval, now=70.0, wall=wall + later)  # another boot, another monotonic clock
    before.take(0.0)
    after.take(70.0)
    old, new = before.due + wall, after.due - 70.0 + wall + later
    intervals_between = (new - old) / interval
    assert intervals_between == pytest.approx(round(intervals_between), abs=1e-4)
    assert after.take(after.due).index - before.take(before.due).index == round(intervals_between)


def ticks_of(seconds: float, *, interval: str = "1s", fail_at: int | None = None) -> list[tuple[float, Tick]]:
    """The ticks that a Ticker gives in the running virtual loop, by time since its start."""
    seen: list[tuple[float, Tick]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)

        def on_tick(tick: Tick) -> None:
            seen.append((loop.elapsed(), tick))
            if len(seen) == fail_at:
                raise RuntimeError("a fault of ours")
            if len(seen) == 3:
                loop.wall_offset = -86_400.0

        plant = battery_plant(telemetry={"interval": interval})
        ticker = Ticker(plant, on_tick, turns=Turns(), wall_clock=wall_clock)
        ticker.start()
        await asyncio.sleep(seconds)
        ticker.stop()
        ticker.stop()
        await asyncio.sleep(10 * plant.interval)

    run(main())
    return seen


def test_a_clock_that_somebody_sets_back_a_day_disturbs_no_tick() -> None:
    ticks = ticks_of(100.0)
    assert len(ticks) in (100, 101)
    assert all(
        after - before == pytest.approx(1.0, abs=2e-6) for (before, _), (after, _) in pairwise(ticks[1:])
    )


def test_a_tick_that_fails_does_not_stop_the_ones_after_it() -> None:
    assert len(ticks_of(20.0, fail_at=4)) in (20, 21)


def test_a_ticker_that_was_stopped_ticks_no_more() -> None:
    assert ticks_of(5.0)[-1][0] <= 5.0


def test_a_suspended_loop_skips_what_it_missed() -> None:
    async def main() -> list[Tick]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        seen: list[Tick] = []
        plant = battery_plant(telemetry={"interval": "1s"})
        ticker = Ticker(plant, seen.append, turns=Turns(), wall_clock=wall_clock)
        ticker.start()
        await asyncio.sleep(10.0)
        loop.compute(3600.0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(Tick(-1))
        await asyncio.sleep(10.0)
        ticker.stop()
        return seen

    seen = run(main())
    after = seen[seen.index(Tick(-1)) - 1 :]
    assert after[0].missed in (3598, 3599, 3600)
    assert len(after) in (11, 12, 13)
    assert sum(tick.missed for tick in after[1:]) == 0
