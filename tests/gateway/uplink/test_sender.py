"""Delivery through one session after another: window, order, PUBACK codes, time-outs."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tests.support.simulated_voke import SimulatedVoke
from tests.support.uplinks import Rig, make_plant, simulated_voke
from tests.support.virtual_time import run, wall_clock
from voke_gateway.outbox.store import Kind, Quota
from voke_gateway.uplink.session import CloseReason


def suffixes(voke: SimulatedVoke) -> list[str]:
    return [m.suffix for m in voke.received]


def numbers(voke: SimulatedVoke) -> list[int]:
    return [content["no"] for content in voke.accepted()]


def now() -> float:
    return asyncio.get_running_loop().time()


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


def test_without_a_subscriber_messages_are_kept_and_one_is_tried_now_and_then() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda *_: 0x10)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(100):
                rig.snapshot()
            await asyncio.sleep(600)
            assert rig.waiting == 100
            assert not rig.uplink.reachable
            assert rig.stats.uplink_reason == "NoSubscriber"
            assert rig.stats.connected
            tries_of_last_minutes = [m for m in voke.received if m.at > now() - 300]
            assert 1 <= len(tries_of_last_minutes) <= 10
            voke.answer = lambda *_: 0
            await rig.empty(within=120)
            assert rig.stats.uplink_reason == ""
            assert rig.uplink.reachable
        assert sorted(numbers(voke)) == list(range(1, 101))
        assert voke.faults == []

    run(main())


def test_without_a_subscriber_a_message_counts_as_delivered_if_the_pool_says_so() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda *_: 0x10)
        rig = Rig(voke, plant=make_plant(hold_on_no_subscriber=False))
        async with rig.running():
            await rig.connected()
            for _ in range(100):
                rig.snapshot()
            await rig.empty(within=2)
            assert rig.uplink.reachable
        assert rig.stats.refused == {}

    run(main())


def test_one_snapshot_at_a_time_is_tried_while_acks_pass_freely() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda suffix, _: 0x10 if suffix == "telemetry" else 0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(50):
                rig.snapshot()
            for _ in range(600):
                rig.ack()
                await asyncio.sleep(1)
        assert len(voke.accepted("ack")) == 600
        assert rig.stats.refused["0x10"] < 20 + 25

    run(main())


def test_info_without_a_subscriber_does_not_hold_up_snapshots() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda suffix, _: 0x10 if suffix == "info" else 0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.info()
            for _ in range(60):
                rig.snapshot()
                await asyncio.sleep(1)
        assert numbers(voke) == list(range(2, 62))
        assert rig.waiting == 1

    run(main())


def test_a_plant_that_may_not_publish_pauses_longer_and_longer_and_keeps_everything() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda *_: 0x87)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(100):
                rig.snapshot()
            await asyncio.sleep(3600)
            assert rig.waiting == 100
            assert rig.stats.uplink_reason == "PublishDenied"
            assert "0x87" in rig.stats.uplink_problem
            arrivals = [m.at for m in voke.received]
            first_pause = arrivals[20] - arrivals[19]
            last_pause = arrivals[-1] - arrivals[-2]
            assert first_pause >= 5
            assert 300 <= last_pause <= 601
            assert len(arrivals) < 40
            voke.answer = lambda *_: 0
            await rig.empty(within=700)
        assert sorted(numbers(voke)) == list(range(1, 101))

    run(main())


def test_a_topic_that_is_not_allowed_does_not_silence_the_others_for_ever() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda suffix, _: 0x87 if suffix == "alarm" else 0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.alarm()
            for _ in range(600):
                rig.snapshot()
                await asyncio.sleep(1)
        assert len(set(numbers(voke))) > 590
        assert rig.store.pending(rig.plant.name, Kind.ALARM)

    run(main())


def test_a_used_up_quota_slows_everything_down_and_loses_nothing() -> None:
    async def main() -> None:
        tokens = 5.0
        refilled = now()

        def answer(*_: Any) -> int:
            nonlocal tokens, refilled
            tokens = min(5.0, tokens + (now() - refilled) * 2)
            refilled = now()
            if tokens < 1:
                return 0x97
            tokens -= 1
            return 0

        voke = simulated_voke(answer=answer)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(100):
                rig.snapshot()
            await rig.empty()
        assert sorted(numbers(voke)) == list(range(1, 101))
        assert rig.stats.refused["0x97"] < 400
        assert voke.faults == []

    run(main())


def test_a_payload_called_invalid_is_set_aside_and_the_rest_goes_on() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda _, document: 0x99 if document.get("no") == 5 else 0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(10):
                rig.snapshot()
            await rig.empty(within=2)
        assert numbers(voke) == [1, 2, 3, 4, 6, 7, 8, 9, 10]
        assert rig.store.state(rig.plant.name).quarantined == 1
        assert rig.stats.refused == {"0x99": 1}

    run(main())


def test_a_message_refused_without_reason_does_not_block_those_behind_it() -> None:
    async def main() -> None:
        voke = simulated_voke(answer=lambda _, document: 0x80 if document.get("no") == 1 else 0)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for _ in range(100):
                rig.snapshot()
            await asyncio.sleep(120)
        assert sorted(numbers(voke)) == list(range(2, 101))
        assert rig.waiting == 1

    run(main())


def test_a_message_alone_in_flight_when_the_session_breaks_over_it_is_set_aside() -> None:
    async def main() -> None:
        voke = simulated_voke(size_limit=500)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot(text="x" * 600)
            await rig.empty(within=60)
            rig.snapshot()
            await rig.empty(within=60)
        assert rig.store.state(rig.plant.name).quarantined == 1
        assert numbers(voke) == [2]
        assert rig.stats.reconnects == {CloseReason.PROTOCOL: 1}

    run(main())


def test_after_a_break_each_suspect_goes_alone_until_the_culprit_is_found() -> None:
    async def main() -> None:
        voke = simulated_voke(size_limit=500)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for no in range(1, 16):
                rig.snapshot(text="x" * 600 if no in {4, 9} else "")
            rig.ack()
            rig.alarm()
            await rig.empty(within=300)
        assert rig.store.state(rig.plant.name).quarantined == 2
        assert set(numbers(voke)) == set(range(1, 16)) - {4, 9}
        assert len(voke.accepted("ack")) == len(voke.accepted("alarm")) == 1
        second = [m for m in voke.received if m.session == 2]
        assert all(b.at - a.at >= voke.latency * 0.999 for a, b in pairwise(second))
        assert voke.faults == []

    run(main())


def test_suspects_of_a_backlog_that_keeps_its_pace_are_sent_once() -> None:
    async def main() -> None:
        voke = simulated_voke(size_limit=500, online=False, latency=1.0)
        rig = Rig(voke)
        async with rig.running():
            for no in range(1, 41):
                rig.snapshot(text="x" * 600 if no == 20 else "")
            voke.online = True
            await rig.connected()
            await rig.until(lambda: not rig.stats.connected)
            await rig.empty(within=300)
        of_first_session = {m.content["no"] for m in voke.received if m.session == 1}
        again = numbers(voke)
        assert {no for no in again if again.count(no) > 1} <= of_first_session
        assert max(again.count(no) for no in again) <= 2
        assert set(again) == set(range(1, 41)) - {20}

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


def test_a_suspect_that_is_refused_for_the_moment_is_sent_once_more_and_no_oftener() -> None:
    async def main() -> None:
        voke = simulated_voke(size_limit=500)
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            for no in range(1, 6):
                rig.snapshot(text="x" * 600 if no == 1 else "")
            await rig.until(lambda: not rig.stats.connected)
            refusals = iter([0x97, 0x80, 0x97, 0x10])
            voke.answer = lambda *_: next(refusals, 0)
            await rig.empty(within=300)
            await asyncio.sleep(300)
        assert sorted(numbers(voke)) == [2, 3, 4, 5]
        assert rig.stats.delivered == {Kind.TELEMETRY: 4}

    run(main())


def test_what_voke_would_not_take_is_never_sent() -> None:
    async def main() -> None:
        voke = simulated_voke()
        rig = Rig(voke)
        async with rig.running():
            await rig.connected()
            rig.snapshot(text="x" * 8192)
            rig.store.put(rig.plant.name, Kind.ACK, b'{"cmdId":"a|b","st":"RECEIVED"}')
            rig.snapshot()
            await rig.empty(within=1)
        assert numbers(voke) == [2]
        assert rig.store.state(rig.plant.name).quarantined == 2
        assert rig.stats.reconnects == {}

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
