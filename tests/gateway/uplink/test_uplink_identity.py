"""Somebody else with our client id: writes stop, and the two settle."""

from __future__ import annotations

import asyncio
import sys
from random import Random

import pytest

from tests.support.simulated_voke import SimulatedVoke
from tests.support.uplinks import (
    PLANT_ID,
    Rig,
    make_credentials,
    make_plant,
    now,
    simulated_voke,
)
from tests.support.virtual_time import run
from voke_gateway.uplink.identity import IdentityWatch
from voke_gateway.uplink.session import CloseReason, Login

HOUR = 3600.0


def login() -> Login:
    plant = make_plant()
    return Login(
        host="voke.test",
        port=8885,
        client_id=PLANT_ID,
        username=None,
        password=None,
        session_expiry=300,
        keepalive=60,
        subscribe=(),
        credentials=make_credentials(plant),
        present_certificate=False,
    )


def test_a_take_over_stops_writes_and_is_left_alone_for_minutes() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot()
            await rig.empty()
            await voke.connect(login())
            await rig.until(lambda: rig.uplink.identity_in_use, within=1)
            taken_at, attempts = now(), len(voke.logins)
            assert rig.stats.uplink_reason == "IdentityInUse"
            assert "identity" in rig.stats.uplink_problem
            assert not rig.uplink.reachable
            await rig.until(lambda: len(voke.logins) > attempts)
            assert 120 <= now() - taken_at <= 240.1
            await rig.connected()
            connected_at = now()
            assert rig.uplink.identity_in_use
            assert rig.stats.uplink_reason == "IdentityInUse"
            await rig.until(lambda: not rig.uplink.identity_in_use)
            assert now() - connected_at == pytest.approx(60, abs=0.1)
            assert rig.stats.uplink_reason == ""

    run(main())


def test_three_sessions_cut_off_at_once_are_a_take_over_too() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            for _ in range(3):
                assert not rig.uplink.identity_in_use
                await rig.connected()
                await asyncio.sleep(1)
                voke.cut()
                await rig.until(lambda: not rig.stats.connected)
            assert rig.uplink.identity_in_use

    run(main())


def test_sessions_cut_off_now_and_then_are_a_bad_network() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            for lasts in (1, 1, 11) * 10:
                await rig.connected()
                await asyncio.sleep(lasts)
                voke.cut()
                await rig.until(lambda: not rig.stats.connected)
                assert not rig.uplink.identity_in_use

    run(main())


def test_a_session_that_we_replaced_ourselves_ends_silently() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            for _ in range(10):
                await rig.connected()
                await rig.uplink.renew(make_credentials(rig.plant))
            assert not rig.uplink.identity_in_use
            assert voke.evictions == []

    run(main())


@pytest.mark.parametrize("says_taken_over", [True, False], ids=["0x8E", "EOF"])
@pytest.mark.parametrize("seeds", [(1, 2), (3, 4), (5, 6)])
def test_two_gateways_with_one_identity_settle(seeds: tuple[int, int], says_taken_over: bool) -> None:  # noqa: FBT001
    async def main() -> tuple[SimulatedVoke, float]:
        voke = simulated_voke(says_taken_over=says_taken_over)
        rigs = [Rig(voke, seed=seed) for seed in seeds]
        tasks = [asyncio.create_task(rig.uplink.run()) for rig in rigs]
        held, steps = 0, 12 * 360
        for _ in range(steps):
            await asyncio.sleep(10)
            for rig in rigs:
                rig.snapshot()
            held += bool(voke.sessions)
            writing = [rig for rig in rigs if rig.stats.connected and not rig.uplink.identity_in_use]
            assert len(writing) <= 1
        for task in tasks:
            task.cancel()
        assert voke.faults == []
        return voke, held / steps

    voke, held = run(main())
    start = 1000.0
    per_hour = [
        sum(start + h * 3600 <= at < start + (h + 1) * 3600 for at in voke.evictions) for h in range(12)
    ]
    sys.stdout.write(f"evictions per hour: {per_hour}; somebody connected {held:.0%} of the time\n")
    assert max(per_hour[4:]) <= 8, per_hour
    assert sum(per_hour) <= 80, per_hour
    assert held > 0.7


def test_nobody_flaps_while_a_stubborn_client_keeps_the_identity() -> None:
    """The other is no gateway of ours: it comes back a second after each eviction."""

    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            for _ in range(6 * 3600):
                if not any(session.login.username is None for session in voke.sessions.values()):
                    await asyncio.sleep(1)
                    await voke.connect(login())
                await asyncio.sleep(1)
            assert rig.uplink.identity_in_use
            assert rig.stats.reconnects[CloseReason.TAKEN_OVER] < 30

    run(main())


def test_staying_away_grows_with_each_take_over_and_starts_anew_after_hours_without() -> None:
    watch = IdentityWatch(Random(1))
    away = [watch.session_ended(CloseReason.TAKEN_OVER, lasted=0.5 * HOUR) for _ in range(6)]
    assert 120 <= away[0] <= 240
    assert all(900 <= seconds <= 1800 for seconds in away[4:])
    assert 120 <= watch.session_ended(CloseReason.TAKEN_OVER, lasted=2 * HOUR) <= 240
    assert watch.in_use
    watch.session_lasts()
    assert not watch.in_use
