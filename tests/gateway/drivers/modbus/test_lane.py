"""Turns on a connection."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.support import virtual_time
from voke_gateway.drivers.modbus.lane import Lane


def test_the_urgent_go_before_the_patient_and_each_kind_in_order() -> None:
    async def main() -> list[str]:
        lane, order = Lane(), []

        async def take(name: str, *, urgent: bool) -> None:
            await lane.acquire(urgent=urgent)
            order.append(name)
            await asyncio.sleep(1)
            lane.release()

        async with asyncio.TaskGroup() as tasks:
            for name in ("poll 1", "poll 2", "write 1", "write 2"):
                tasks.create_task(take(name, urgent=name.startswith("write")))
        return order

    assert virtual_time.run(main()) == ["poll 1", "write 1", "write 2", "poll 2"]


def test_the_next_turn_starts_after_the_pause_and_is_then_the_urgent_ones() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, lane, starts = asyncio.get_running_loop(), Lane(), []
        began = loop.time()

        async def take(name: str, *, urgent: bool) -> None:
            await lane.acquire(urgent=urgent)
            starts.append((name, loop.time() - began))
            lane.release(pause=2.0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(take("poll 1", urgent=False))
            tasks.create_task(take("poll 2", urgent=False))
            await asyncio.sleep(1)
            tasks.create_task(take("write", urgent=True))
        return starts

    assert virtual_time.run(main()) == [("poll 1", 0.0), ("write", 2.0), ("poll 2", 4.0)]


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_a_turn_is_never_lost_to_somebody_who_stopped_waiting(
    waiting: list[bool], data: st.DataObject
) -> None:
    leaving = data.draw(st.sets(st.integers(0, len(waiting) - 1)))
    at_hand_over = data.draw(st.booleans())

    async def main() -> None:
        lane = Lane()
        await lane.acquire(urgent=False)

        async def take(*, urgent: bool) -> None:
            await lane.acquire(urgent=urgent)
            lane.release()

        tasks = [asyncio.create_task(take(urgent=urgent)) for urgent in waiting]
        await asyncio.sleep(0)
        if at_hand_over:
            lane.release()
        for index in leaving:
            tasks[index].cancel()
        if not at_hand_over:
            lane.release()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
        await asyncio.wait_for(lane.acquire(urgent=False), 1)

    virtual_time.run(main())
