"""What the probes say."""

from __future__ import annotations

import asyncio
import time

from tests.support import virtual_time
from voke_operator.kube.health import Limits, LoopLag, liveness, readiness

LIMITS = Limits(loop_lag=10, watch_age=1500)


def test_all_is_well() -> None:
    assert liveness(lag=0.5, ages={"Plant": 500.0, "Secret": 2.0}, limits=LIMITS).ok
    assert liveness(lag=0.0, ages={}, limits=LIMITS).ok
    assert readiness(synced=True).ok


def test_a_loop_that_hangs_is_a_reason_to_restart() -> None:
    health = liveness(lag=12.34, ages={}, limits=LIMITS)
    assert (health.ok, health.reasons) == (False, ("the event loop was late by 12.3 s, more than 10 s",))


def test_a_kind_that_is_not_heard_of_while_others_are_is_a_reason_to_restart() -> None:
    health = liveness(lag=0.0, ages={"Plant": 1700.0, "Secret": 2.0}, limits=LIMITS)
    assert not health.ok
    assert health.reasons[0].startswith("nothing was heard of Plant for 1700 s")


def test_an_api_server_that_is_away_is_no_reason_to_restart() -> None:
    assert liveness(lag=0.0, ages={"Plant": 90_000.0, "Secret": 89_000.0}, limits=LIMITS).ok


def test_before_the_first_lists_are_done_it_is_not_ready() -> None:
    assert readiness(synced=False).reasons == ("not everything has been listed yet",)


async def test_lag_is_how_late_a_timer_is() -> None:
    lag = LoopLag()
    task = asyncio.create_task(lag.run())
    await asyncio.sleep(0.01)
    time.sleep(0.8)  # noqa: ASYNC251 – what holds up the loop
    await asyncio.sleep(0.01)
    task.cancel()
    assert 0.2 < lag.recent < 5


def test_lag_is_forgotten_after_half_a_minute() -> None:
    async def run() -> None:
        lag = LoopLag()
        task = asyncio.create_task(lag.run())
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        loop._now += 3.0
        await asyncio.sleep(1)
        assert round(lag.recent, 3) == 2.5
        await asyncio.sleep(31)
        assert lag.recent < 0.01
        task.cancel()

    virtual_time.run(run())
