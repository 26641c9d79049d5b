"""Time-outs of one length: each ends in its time, whoever else begins, ends or fails."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.virtual_time import UnhandledError, elapsed, on_virtual_time, run
from voke_gateway.timeouts import Timeouts


@on_virtual_time
async def test_a_timeout_that_is_not_called_off_ends_after_its_length() -> None:
    over: list[float] = []
    until = Timeouts.of(2.0).begin(lambda: over.append(elapsed()))
    assert until == asyncio.get_running_loop().time() + 2.0
    await asyncio.sleep(10.0)
    assert over == [2.0]


@on_virtual_time
async def test_one_that_is_called_off_never_ends_and_calling_off_again_does_no_harm() -> None:
    over: list[str] = []
    timeouts, first, second = Timeouts.of(1.0), partial(over.append, "first"), partial(over.append, "second")
    timeouts.begin(first)
    timeouts.begin(second)
    timeouts.call_off(first)
    timeouts.call_off(first)
    await asyncio.sleep(5.0)
    assert over == ["second"]


@on_virtual_time
async def test_one_that_begins_again_waits_from_then_on() -> None:
    over: list[float] = []
    timeouts = Timeouts.of(1.0)

    def note() -> None:
        over.append(elapsed())

    timeouts.begin(note)
    await asyncio.sleep(0.5)
    timeouts.begin(note)
    await asyncio.sleep(5.0)
    assert over == [1.5]


@on_virtual_time
async def test_one_may_begin_another_or_call_it_off_when_it_ends() -> None:
    over: list[tuple[str, float]] = []
    timeouts = Timeouts.of(1.0)

    def first() -> None:
        over.append(("first", elapsed()))
        timeouts.call_off(second)
        timeouts.begin(third)

    def second() -> None:
        over.append(("second", elapsed()))

    def third() -> None:
        over.append(("third", elapsed()))

    timeouts.begin(first)
    timeouts.begin(second)
    await asyncio.sleep(5.0)
    assert over == [("first", 1.0), ("third", 2.0)]


def test_one_that_fails_is_reported_and_keeps_no_other_from_ending() -> None:
    over: list[float] = []

    def fail() -> None:
        raise ValueError("a fault of its own")

    async def main() -> None:
        timeouts = Timeouts.of(1.0)
        timeouts.begin(fail)
        timeouts.begin(lambda: over.append(elapsed()))
        await asyncio.sleep(5.0)

    with pytest.raises(UnhandledError, match="Timeouts"):
        run(main())
    assert over == [1.0]


@on_virtual_time
async def test_those_of_one_length_are_shared_and_others_are_apart() -> None:
    assert Timeouts.of(1.0) is Timeouts.of(1.0)
    over: list[float] = []
    for seconds in (3.0, 1.0, 2.0):
        Timeouts.of(seconds).begin(lambda: over.append(elapsed()))
    await asyncio.sleep(5.0)
    assert over == [1.0, 2.0, 3.0]


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.none() | st.floats(0.0, 2.0)), max_size=30))
def test_each_ends_in_its_time_unless_it_was_called_off_before(
    steps: list[tuple[float, float | None]],
) -> None:
    """Each step: seconds until one begins, and seconds after which it is called off."""
    ended: dict[int, float] = {}
    expected: dict[int, float] = {}

    async def main() -> None:
        timeouts, loop = Timeouts.of(1.0), asyncio.get_running_loop()
        for number, (pause, called_off) in enumerate(steps):
            await asyncio.sleep(pause)

            def over(number: int = number) -> None:
                ended[number] = loop.time()

            until = timeouts.begin(over)
            if called_off is None or called_off > 1.01:
                expected[number] = until
            elif called_off < 0.99:
                loop.call_later(called_off, timeouts.call_off, over)
            else:
                timeouts.call_off(over)
        await asyncio.sleep(3.0)

    run(main())
    assert ended == pytest.approx(expected, abs=0.002)
