"""Who ticks when there is more to do than time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plants import battery_document, resolved
from tests.support.virtual_time import VirtualTimeLoop, run, wall_clock
from voke_api.resolved import ResolvedPlant
from voke_gateway.plant.schedule import Tick, Ticker
from voke_gateway.plant.turns import PASSES, Turns


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def in_turns(script: Callable[[Turns], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await script(Turns())

    run(main())


def test_a_lone_tick_starts_at_once() -> None:
    async def script(turns: Turns) -> None:
        for _ in range(3):
            started: list[str] = []
            turns.take(64, lambda: started.append("now"))  # noqa: B023 - called before the next round
            assert started == ["now"]
            await asyncio.sleep(0.1)

    in_turns(script)


def test_a_turn_starts_a_few_passes_and_the_rest_follow_turn_by_turn_in_order() -> None:
    async def script(turns: Turns) -> None:
        started: list[int] = []
        for number in range(10):
            turns.take(PASSES // 2, partial(started.append, number))
        seen = [len(started)]
        while len(started) < 10:
            await asyncio.sleep(0)
            seen.append(len(started))
        assert started == list(range(10))
        assert all(later - earlier <= 2 for earlier, later in pairwise([0, *seen]))

    in_turns(script)


def test_nobody_overtakes_those_who_wait() -> None:
    async def script(turns: Turns) -> None:
        started: list[str] = []
        for name in ("first", "second", "third"):
            turns.take(PASSES, partial(started.append, name))
        await asyncio.sleep(0)
        turns.take(1, lambda: started.append("small"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert started == ["first", "second", "third", "small"]

    in_turns(script)


@given(st.lists(st.integers(0, 64), max_size=60))
def test_everyone_gets_a_turn_and_no_turn_starts_much_more_than_it_may(passes: list[int]) -> None:
    async def script(turns: Turns) -> None:
        turn = 0
        started: Counter[int] = Counter()
        served: list[int] = []

        def start(number: int) -> None:
            assert started[turn] < PASSES
            started[turn] += passes[number]
            served.append(number)

        for number, count in enumerate(passes):
            turns.take(count, partial(start, number))
        for _ in passes:
            turn += 1
            await asyncio.sleep(0)
        assert served == list(range(len(passes)))

    in_turns(script)


class Fleet:
    """Plants that tick every second, each tick costing so much of the processor in the turn after it."""

    def __init__(self, plants: int, cost: float) -> None:
        self._loop = virtual_loop()
        self._cost = cost
        self.ticks: dict[int, list[Tick]] = {number: [] for number in range(plants)}
        turns = Turns()
        self._tickers = [
            Ticker(self._plant(number), self._on_tick(number), turns=turns, wall_clock=wall_clock)
            for number in range(plants)
        ]

    def _plant(self, number: int) -> ResolvedPlant:
        document = battery_document(telemetry={"interval": "1s"})
        document["spec"]["plantId"] = f"3f2c1a9e-7b64-4d1e-9c55-{number:012x}"
        return resolved(document)

    def _on_tick(self, number: int) -> Callable[[Tick], None]:
        def tick(tick: Tick) -> None:
            self.ticks[number].append(tick)
            self._loop.call_soon(self._loop.compute, self._cost)

        return tick

    async def run(self, seconds: float) -> None:
        for ticker in self._tickers:
            ticker.start()
        await asyncio.sleep(seconds)
        for ticker in self._tickers:
            ticker.stop()


@pytest.mark.parametrize("overload", [1.5, 2.0, 7.0])
def test_with_more_ticks_than_time_every_plant_gets_the_same_share(overload: float) -> None:
    async def main() -> Fleet:
        fleet = Fleet(400, cost=overload / 400)
        await fleet.run(100.0)
        return fleet

    fleet = run(main())
    served = [len(ticks) for ticks in fleet.ticks.values()]
    assert sum(served) >= 0.97 * 100.0 * 400 / overload, "the processor is never idle"
    assert max(served) - min(served) <= 2


def test_a_tick_that_lost_its_turn_is_counted_and_the_newest_one_is_taken() -> None:
    async def main() -> Fleet:
        fleet = Fleet(400, cost=2.5 / 400)
        await fleet.run(100.0)
        return fleet

    for ticks in run(main()).ticks.values():
        assert ticks[0].first
        for before, tick in pairwise(ticks[1:]):
            assert tick.index - before.index == tick.missed + 1
        assert sum(tick.missed for tick in ticks) == pytest.approx(60, abs=4)


def test_when_there_is_time_again_every_tick_is_taken_when_it_is_due() -> None:
    async def main() -> list[list[Tick]]:
        fleet = Fleet(40, cost=0.0)
        virtual_loop().call_later(20.0, virtual_loop().compute, 5.0)
        await fleet.run(60.0)
        return list(fleet.ticks.values())

    for ticks in run(main()):
        assert [tick.missed for tick in ticks if tick.missed] in ([4], [5])
        assert not any(tick.missed for tick in ticks[-30:])


def test_a_device_polled_seldom_keeps_its_share_of_the_ticks_that_are_left() -> None:
    every = 10
    index, polled = 0, []
    random = Random(1)
    while index < 10_000:
        missed = random.choice([1, 1, 1, 3])
        index += missed + 1
        if Tick(index, missed).is_turn(every):
            polled.append(index)
    assert len(polled) == pytest.approx(1000, abs=1)
    assert all(later - earlier <= every + 4 for earlier, later in pairwise(polled))
