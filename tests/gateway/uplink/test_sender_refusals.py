"""What a sender makes of a broker's refusals: PUBACK codes, and sessions that break over a message."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from tests.support.uplinks import (
    Rig,
    make_plant,
    now,
    numbers,
    simulated_voke,
)
from tests.support.virtual_time import run
from voke_gateway.outbox.store import Kind
from voke_gateway.uplink.session import CloseReason


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
