"""Delivery through one session after another: window, order, PUBACK codes, time-outs."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.support.simulated_voke import SimulatedVoke
from tests.support.uplinks import (
    Rig,
    make_plant,
    now,
    numbers,
    simulated_voke,
)
from tests.support.virtual_time import run, wall_clock
from voke_gateway.outbox.store import Kind, Quota


def suffixes(voke: SimulatedVoke) -> list[str]:
    return [m.suffix for m in voke.received]


def test_a_message_is_signed_when_it_leaves_and_forgotten_when_it_has_arrived() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot(timestamp="2026-01-01T00:00:00.000Z")
            await rig.empty(within=1)
        (message,) = voke.received
        assert message.content == {"no": 1, "timestamp": "2026-01-01T00:00:00.000Z"}
        assert not message.retain
        assert voke.faults == []
        assert rig.stats.delivered == {Kind.TELEMETRY: 1}
        assert rig.stats.delay_count == 1
        assert rig.stats.delay_sum == pytest.approx(voke.latency, abs=0.001)
        assert sum(rig.gateway_stats.publish_duration.counts) == 1
        assert rig.uplink.reachable is False  # the session is over
        assert rig.stats.in_flight == 0

    run(main())


def test_what_waited_offline_leaves_with_a_fresh_signature_and_its_old_content() -> None:
    async def main() -> None:
        voke = simulated_voke(online=False)
        rig = Rig(voke)
        async with rig.running():
            rig.snapshot(timestamp="old")
            await asyncio.sleep(3600)
            voke.online = True
            await rig.empty()
        assert voke.faults == []
        (message,) = voke.received
        assert message.content["timestamp"] == "old"
        assert abs(message.document["ts"] / 1000 - wall_clock()) < 5

    run(main())


@pytest.mark.parametrize(("receive_maximum", "most"), [(65_535, 20), (5, 5), (1, 1)])
def test_no_more_is_in_flight_than_our_window_and_the_broker_allow(receive_maximum: int, most: int) -> None:
    async def main() -> None:
        voke = simulated_voke(receive_maximum=receive_maximum)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(200):
                rig.snapshot()
            await rig.empty()
        assert voke.most_in_flight == most
        assert voke.faults == []
        assert numbers(voke) == list(range(1, 201))

    run(main())


def test_a_waiting_message_is_sealed_only_when_there_is_room() -> None:
    async def main() -> None:
        voke = simulated_voke(receive_maximum=1, latency=5.0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(20):
                rig.snapshot()
            await rig.empty()
        sent = [m.document["ts"] / 1000 for m in voke.received]
        assert [round(b - a) for a, b in pairwise(sent)] == [5] * 19

    run(main())


def test_acks_go_before_alarms_before_info_before_snapshots() -> None:
    async def main() -> None:
        voke = simulated_voke(receive_maximum=1)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot()
            for put in (rig.snapshot, rig.info, rig.alarm, rig.ack):
                put()
            await rig.empty()
        assert suffixes(voke) == ["telemetry", "ack", "alarm", "info", "telemetry"]
        assert [m.retain for m in voke.received] == [False, False, False, True, False]

    run(main())


def test_each_ack_and_each_alarm_waits_for_the_one_before() -> None:
    async def main() -> None:
        voke = simulated_voke(latency=1.0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(4):
                rig.ack()
                rig.alarm()
            await rig.empty()
        for suffix in ("ack", "alarm"):
            arrivals = [m.at for m in voke.received if m.suffix == suffix]
            assert [b - a for a, b in pairwise(arrivals)] == pytest.approx([1.0] * 3)
        assert [c["cmdId"] for c in voke.accepted("ack")] == ["c1", "c3", "c5", "c7"]
        assert [c["alarmId"] for c in voke.accepted("alarm")] == ["a2", "a4", "a6", "a8"]

    run(main())


def test_an_ack_refused_for_a_while_still_goes_before_its_successor() -> None:
    async def main() -> None:
        refusals = iter([0x97, 0x80, 0x10])
        voke = simulated_voke(answer=lambda suffix, _: next(refusals, 0) if suffix == "ack" else 0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(3):
                rig.ack()
            await rig.empty()
        assert [c["cmdId"] for c in voke.accepted("ack")] == ["c1", "c2", "c3"]
        assert rig.stats.refused == {"0x97": 1, "0x80": 1, "0x10": 1}

    run(main())


def test_the_backlog_neither_starves_live_snapshots_nor_waits_for_ever() -> None:
    async def main() -> None:
        voke = simulated_voke(online=False)
        rig = Rig(voke)
        async with rig.running():
            for _ in range(600):
                rig.snapshot(kind="old")
            voke.online = True
            await rig.connected()
            started = now()
            sent: dict[int, float] = {}
            while rig.waiting:
                sent[rig.snapshot(kind="live").id] = now()
                await asyncio.sleep(1)
        live = [m for m in voke.received if m.content["kind"] == "live"]
        old = [m for m in voke.received if m.content["kind"] == "old"]
        delays = [m.at - at for m, at in zip(live, sent.values(), strict=True)]
        assert max(delays) < 0.1
        assert len(old) == 600
        assert [m.content["no"] for m in old] == list(range(1, 601))
        assert 100 < now() - started < 200  # four times as fast as it came

    run(main())


@pytest.mark.parametrize("window", [1, 2, 20])
def test_live_and_backlog_both_move_when_the_link_is_too_slow_for_either(window: int) -> None:
    async def main() -> None:
        voke = simulated_voke(online=False, receive_maximum=window, latency=1.0)
        rig = Rig(voke, plant=make_plant(interval=0.02))
        async with rig.running():
            for _ in range(2000):
                rig.snapshot(kind="old")
            voke.online = True
            await rig.connected()
            for _ in range(3000):
                rig.snapshot(kind="live")
                await asyncio.sleep(0.02)
        by_kind = {kind: sum(m.content["kind"] == kind for m in voke.received) for kind in ("old", "live")}
        total = sum(by_kind.values())
        assert by_kind["live"] >= 0.45 * total
        assert by_kind["old"] >= 0.04 * total

    run(main())


def test_a_backlog_takes_at_most_half_the_window() -> None:
    async def main() -> None:
        voke = simulated_voke(online=False, latency=1.0)
        rig = Rig(voke, plant=make_plant(interval=0.01))
        async with rig.running():
            for _ in range(200):
                rig.snapshot()
            voke.online = True
            await rig.empty()
        assert voke.most_in_flight == 10

    run(main())


@pytest.mark.parametrize(("replay_window", "waited"), [(30.0, 10.0), (8.0, 4.0)])
def test_a_missing_puback_ends_the_session_and_the_message_is_signed_again(
    replay_window: float, waited: float
) -> None:
    async def main() -> None:
        answers: list[int | None] = [None]
        voke = simulated_voke(answer=lambda *_: answers.pop() if answers else 0, replay_window=replay_window)
        rig = Rig(voke, plant=make_plant(replay_window=replay_window))
        async with rig.running():
            await rig.connected()
            started = now()
            rig.snapshot()
            await rig.until(lambda: not rig.stats.connected)
            assert now() - started == pytest.approx(waited, abs=0.1)
            assert rig.waiting == 1
            await rig.empty(within=60)
        first, second = voke.received
        assert first.document["n"] != second.document["n"]
        assert first.document["ts"] < second.document["ts"]
        assert first.content == second.content
        assert voke.faults == []
        assert rig.stats.reconnects == {"puback-timeout": 1}
        assert not rig.uplink.identity_in_use

    run(main())


@pytest.mark.parametrize("abort_takes", [0.0, 3.0])
def test_a_puback_that_comes_too_late_is_not_delivery(abort_takes: float) -> None:
    async def main() -> None:
        voke = simulated_voke(latency=12.0, abort_takes=abort_takes)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot()
            await asyncio.sleep(15)
            assert rig.waiting == 1
            assert rig.stats.delivered == {}
            voke.latency = 0.02
            await rig.empty(within=60)

    run(main())


def test_a_broker_that_never_answers_is_left_alone_more_and_more() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda *_: None)
        rig = Rig(voke, plant=make_plant(replay_window=8.0))
        async with rig.running():
            rig.snapshot()
            await asyncio.sleep(4 * 3600)
        assert rig.waiting == 1
        assert not rig.uplink.identity_in_use
        assert len(voke.logins) < 600
        assert voke.faults == []

    run(main())


def test_a_message_dropped_while_in_flight_is_ignored_when_it_arrives() -> None:
    async def main() -> None:
        voke = simulated_voke(latency=1.0)
        rig = Rig(voke, quota=Quota(max_bytes=300))
        async with rig.running():
            await rig.connected()
            for _ in range(50):
                rig.snapshot(text="x" * 100)
            await rig.empty(within=60)
        assert rig.store.state(rig.plant.name).dropped_quota == 50 - 2
        assert rig.stats.in_flight == 0

    run(main())


def test_an_idle_plant_sets_no_timers_that_keep_it_busy() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot()
            await rig.empty()
            await asyncio.sleep(11)
            loop = asyncio.get_running_loop()
            pending = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            assert pending == []

    run(main())
