"""A running plant, on the virtual clock: what trouble costs, and what it does not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import structlog

from tests.support.plants import PLANT_ID
from tests.support.simulated_voke import SimulatedSession, SimulatedVoke
from tests.support.site import HMAC_KEY, Site, plant_of, running
from tests.support.virtual_time import EPOCH, run
from voke_api.resolved import ResolvedPlant
from voke_gateway.outbox.store import Kind
from voke_gateway.protocol.envelope import iso_timestamp
from voke_gateway.protocol.sign import Signer
from voke_gateway.uplink.session import Login

EVERY_SECOND = {"interval": "1s"}


def on_site(plant: ResolvedPlant, seconds: float, *, before: Callable[[Site], None] = lambda _: None) -> Site:
    """Run the plant for so many seconds and look at what it left."""

    async def main() -> Site:
        site = Site(plant)
        before(site)
        async with running(site):
            await asyncio.sleep(seconds)
        return site

    return run(main())


def scripted(plant: ResolvedPlant, script: Callable[[Site], Coroutine[Any, Any, None]]) -> Site:
    """Run the plant until the script ends."""

    async def main() -> Site:
        site = Site(plant)
        async with running(site):
            await script(site)
        return site

    return run(main())


def test_every_tick_is_one_message_with_every_device_in_the_order_of_the_plant() -> None:
    site = on_site(plant_of([["A", "B"], ["R1"], ["C"]], telemetry=EVERY_SECOND), 60)
    assert len(site.snapshots) in (60, 61)
    assert all(list(message.devices) == ["A", "B", "R1", "C"] for message in site.snapshots)
    assert site.runner.stats.snapshots == len(site.snapshots)
    assert site.runner.stats.late_messages == 0
    assert site.runner.stats.devices_read == 4


def test_a_new_plant_is_read_at_once_and_then_on_its_beat() -> None:
    site = on_site(plant_of([["A"]], telemetry={"interval": "10s"}), 100)
    times = [message.at for message in site.snapshots]
    assert times[0] < 0.1
    assert 5.0 <= times[1] - times[0] <= 15.0
    assert all(later - earlier == pytest.approx(10.0, abs=1e-5) for earlier, later in pairwise(times[1:]))


def test_the_timestamp_is_when_the_first_read_of_the_message_began() -> None:
    def before(site: Site) -> None:
        site.plcs["plc1"].latency = 0.2

    site = on_site(plant_of([["A", "B"]], telemetry=EVERY_SECOND), 10, before=before)
    whole = [message for message in site.snapshots if len(message.devices) == 2]
    assert len(whole) >= 9
    for message in whole[1:]:
        assert message.body["timestamp"] == iso_timestamp(EPOCH + message.at - 0.4)


def test_ten_thousand_ticks_do_not_drift() -> None:
    site = on_site(plant_of([["A"]], telemetry=EVERY_SECOND), 10_002)
    beat = site.snapshots[1:10_002]
    assert beat[-1].at - beat[0].at == pytest.approx(10_000.0, abs=1e-5)
    assert site.runner.stats.ticks_missed == 0


def test_a_dead_plc_costs_the_others_neither_their_tick_nor_their_content() -> None:
    def before(site: Site) -> None:
        site.plcs["plc2"].silent = True

    site = on_site(plant_of([["A"], ["B"], ["C"]], telemetry=EVERY_SECOND), 300, before=before)
    assert len(site.snapshots) in (300, 301)
    assert all(list(message.devices) == ["A", "C"] for message in site.snapshots)
    beat = site.snapshots[-1].at
    assert all((message.at - beat + 0.01) % 1.0 < 0.02 for message in site.snapshots[1:]), (
        "only the first try is waited for"
    )
    assert site.runner.stats.read_errors["unreachable"] >= 3
    assert site.runner.stats.devices_read == 2


def test_a_dead_unit_behind_a_live_connection_costs_its_neighbours_only_what_its_probes_take() -> None:
    def before(site: Site) -> None:
        site.plcs["plc1"].dead = {"A"}

    site = on_site(plant_of([["A", "B"], ["C"]], telemetry=EVERY_SECOND), 600, before=before)
    assert len(site.of("C")) in (600, 601)
    skipped = site.runner.stats.ticks_skipped
    assert len(site.of("B")) == len(site.of("C")) - skipped["plc1"]
    assert skipped["plc1"] < 60, "back-off keeps the probes few"
    assert site.of("A") == []


def test_a_slow_plc_does_not_slow_its_plant() -> None:
    """2 s at a tick of 1 s: two of three ticks are sat out, and what is read still goes out, truthfully."""

    def before(site: Site) -> None:
        site.plcs["plc2"].latency = 2.0

    site = on_site(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND), 300, before=before)
    assert len(site.of("A")) in (300, 301)
    assert all(list(message.devices) == ["A"] for message in site.of("A"))
    late = site.of("B")
    assert len(late) in range(99, 151)
    assert site.runner.stats.late_messages == len(late)
    assert site.runner.stats.ticks_skipped["plc2"] >= 150
    for message in late:
        assert message.body["timestamp"] == iso_timestamp(EPOCH + message.at - 2.0)


def test_fifty_slow_units_share_their_late_messages() -> None:
    units = [f"UNIT{n:02}" for n in range(50)]

    def before(site: Site) -> None:
        site.plcs["plc2"].latency = 0.1

    site = on_site(plant_of([["A"], units], telemetry={"interval": "10s"}), 600, before=before)
    read = Counter(device for message in site.snapshots for device in message.devices)
    assert len(site.of("A")) in (60, 61)
    assert min(read[unit] for unit in units) in (60, 61)
    late = [message for message in site.snapshots if "A" not in message.devices]
    assert len(late) <= 5 * 61, "five seconds in windows of one"


def test_a_connection_that_is_busy_sits_the_tick_out_and_is_counted() -> None:
    async def script(site: Site) -> None:
        await asyncio.sleep(10.0)
        site.plcs["plc1"].latency = 3.3
        await asyncio.sleep(1.0)
        site.plcs["plc1"].latency = 0.001
        await asyncio.sleep(10.0)

    site = scripted(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND), script)
    assert site.runner.stats.ticks_skipped == {"plc1": 3}
    assert len(site.of("B")) == site.runner.stats.ticks
    assert len(site.of("A")) == site.runner.stats.ticks - 3
    assert len([message for message in site.snapshots if list(message.devices) == ["A"]]) == 1


def test_a_device_with_every_n_is_absent_on_the_other_ticks() -> None:
    site = on_site(plant_of([["A", "B/5"], ["C/3"]], telemetry=EVERY_SECOND), 301)
    assert list(site.snapshots[0].devices) == ["A", "B", "C"], "the first poll is of everything"
    fives = [n for n, message in enumerate(site.snapshots[1:]) if "B" in message.devices]
    threes = [n for n, message in enumerate(site.snapshots[1:]) if "C" in message.devices]
    assert all(later - earlier == 5 for earlier, later in pairwise(fives))
    assert all(later - earlier == 3 for earlier, later in pairwise(threes))
    assert len(fives) in (60, 61)
    assert site.runner.stats.ticks_skipped.total() == 0


def test_a_turn_lost_to_a_busy_connection_is_made_up_for_when_the_next_is_far() -> None:
    async def script(site: Site) -> None:
        await asyncio.sleep(100.0)
        before = len(site.of("B"))
        site.plcs["plc1"].latency = 2.5
        await asyncio.sleep(200.0)
        assert len(site.of("B")) - before in range(18, 22), (
            "every ten seconds, though two ticks of three are lost"
        )

    scripted(plant_of([["A", "B/10"]], telemetry=EVERY_SECOND), script)


def test_every_n_keeps_its_count_over_a_restart() -> None:
    plant = plant_of([["A", "B/7"]], telemetry=EVERY_SECOND)

    async def main() -> list[float]:
        times: list[float] = []
        for lifetime in (50.3, 33.7, 61.9):
            site = Site(plant)
            async with running(site):
                await asyncio.sleep(lifetime)
            times += [message.at for message in site.of("B") if message is not site.snapshots[0]]
        return times

    times = run(main())
    assert len(times) >= 15
    for time in times:
        beats = (time - times[0]) / 7
        assert beats == pytest.approx(round(beats), abs=0.01)


def test_nothing_read_is_no_message() -> None:
    def before(site: Site) -> None:
        site.plcs["plc1"].silent = True

    site = on_site(plant_of([["A", "B"]], telemetry=EVERY_SECOND), 100, before=before)
    assert site.snapshots == []
    assert site.runner.stats.ticks in (100, 101)
    assert site.runner.stats.snapshots == 0
    assert site.runner.stats.last_snapshot_at is None


def test_what_comes_back_after_an_outage_comes_back_in_one_message() -> None:
    async def script(site: Site) -> None:
        site.plcs["plc2"].silent = True
        await asyncio.sleep(60.0)
        site.plcs["plc2"].silent = False
        await asyncio.sleep(120.0)

    site = scripted(plant_of([["A"], ["B", "C", "D"]], telemetry=EVERY_SECOND), script)
    first_back = site.of("B")[1]  # the one at the start was read before the script ran
    assert {"B", "C", "D"} <= set(first_back.devices)
    assert all(list(message.devices) == ["A", "B", "C", "D"] for message in site.snapshots[-60:])


def test_a_device_is_never_in_a_message_twice() -> None:
    def before(site: Site) -> None:
        site.plcs["plc1"].stutter = {"A", "R1"}
        site.plcs["plc2"].latency = 0.7

    site = on_site(plant_of([["A", "R1", "B"], ["C", "D"]], telemetry=EVERY_SECOND), 60, before=before)
    assert all(message.devices for message in site.snapshots)
    assert len(site.of("A")) == 2 * site.plcs["plc1"].reads["A"]


def test_the_messages_of_a_device_never_overtake_each_other() -> None:
    def before(site: Site) -> None:
        for number, name in enumerate(("plc1", "plc2", "plc3")):
            site.plcs[name].latency = 0.1 + 0.37 * number
            site.plcs[name].jitter = 0.9

    plant = plant_of(
        [["A", "B"], ["C", "D"], ["E", "F"]], telemetry={"interval": "1s", "assembleWithin": "1s"}
    )
    site = on_site(plant, 1000, before=before)
    for device in "ABCDEF":
        passes = [message.devices[device]["faultCode"] for message in site.of(device)]
        assert passes == list(range(1, len(passes) + 1))


def test_a_loop_that_was_suspended_for_hours_goes_on_without_a_burst() -> None:
    async def script(site: Site) -> None:
        await asyncio.sleep(10.0)
        site.loop.compute(3 * 3600.0)
        await asyncio.sleep(10.0)

    site = scripted(plant_of([["A"]], telemetry=EVERY_SECOND), script)
    assert len(site.snapshots) <= 23
    assert site.runner.stats.ticks_missed in range(10_797, 10_801)
    assert site.runner.stats.ticks_skipped == {"plc1": site.runner.stats.ticks_missed}


def test_setting_the_wall_clock_changes_timestamps_and_no_tick() -> None:
    async def script(site: Site) -> None:
        await asyncio.sleep(30.0)
        site.loop.wall_offset = -3600.0
        await asyncio.sleep(30.0)

    site = scripted(plant_of([["A"]], telemetry=EVERY_SECOND), script)
    times = [message.at for message in site.snapshots]
    assert all(later - earlier == pytest.approx(1.0, abs=1e-5) for earlier, later in pairwise(times[1:]))
    assert site.snapshots[-1].body["timestamp"] < site.snapshots[0].body["timestamp"]


def test_an_alarm_is_put_ahead_of_the_snapshot_that_shows_its_cause() -> None:
    alarms = [
        {
            "name": "hot",
            "device": "A",
            "field": "faultCode",
            "when": {"gt": 99},
            "code": 1,
            "severity": "ERROR",
        }
    ]

    async def script(site: Site) -> None:
        await asyncio.sleep(10.0)
        site.plcs["plc1"].values["A"]["faultCode"] = 100
        await asyncio.sleep(10.0)
        site.plcs["plc1"].values["A"]["faultCode"] = 0
        await asyncio.sleep(10.0)

    site = scripted(plant_of([["A"]], telemetry=EVERY_SECOND, alarms=alarms), script)
    messages = site.store.messages
    places = [place for place, message in enumerate(messages) if message.kind is Kind.ALARM]
    assert [messages[place].body["ev"] for place in places] == ["RAISE", "RESOLVE"]
    assert [messages[place + 1].devices["A"]["faultCode"] for place in places] == [100, 0]


def test_silence_raises_an_alarm_though_nothing_is_ever_delivered() -> None:
    alarms = [{"name": "mute", "device": "B", "when": {"notReadFor": "30s"}, "code": 2, "severity": "ERROR"}]

    def before(site: Site) -> None:
        site.plcs["plc2"].silent = True

    site = on_site(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND, alarms=alarms), 60, before=before)
    raised = [message for message in site.store.messages if message.kind is Kind.ALARM]
    assert [message.body["ev"] for message in raised] == ["RAISE"]
    assert 30.0 <= raised[0].at <= 31.1


def test_a_driver_that_crashes_is_started_again_and_costs_its_connection_only() -> None:
    async def script(site: Site) -> None:
        await asyncio.sleep(10.0)
        site.plcs["plc1"].crash = ZeroDivisionError("a bug in a driver")
        await asyncio.sleep(20.0)

    with structlog.testing.capture_logs() as logs:
        site = scripted(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND), script)
    assert len(site.of("B")) == site.runner.stats.ticks
    assert len(site.of("A")) >= site.runner.stats.ticks - 2
    assert site.runner.stats.read_errors == {"malformed": 1}
    crashes = [entry for entry in logs if entry["event"] == "crashed, will be restarted"]
    assert len(crashes) == 1
    assert crashes[0]["part"] == "poller of plc1"
    assert crashes[0]["plant"] == "site"


def test_a_store_that_fails_loses_its_messages_and_stops_nothing() -> None:
    async def script(site: Site) -> None:
        site.store.broken = True
        await asyncio.sleep(10.0)
        site.store.broken = False
        await asyncio.sleep(10.0)

    with structlog.testing.capture_logs() as logs:
        site = scripted(plant_of([["A"]], telemetry=EVERY_SECOND), script)
    assert len(site.snapshots) in (10, 11)
    assert {entry["event"] for entry in logs if entry["log_level"] == "error"} == {"snapshot lost"}


def test_a_command_is_written_to_the_plc_and_answered_while_ticks_go_on() -> None:
    commands = {"CHARGE": {"writes": [{"device": "A", "field": "setpointW", "parameter": "powerW"}]}}

    async def main() -> None:
        voke = SimulatedVoke(keys={PLANT_ID: HMAC_KEY})
        site = Site(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND, commands=commands), voke)
        acknowledged = asyncio.Event()
        async with running(site):
            await asyncio.sleep(10.0)
            ts = int(site.loop.wall_clock() * 1000)
            p = b'{"powerW":4200}'
            sig = Signer(PLANT_ID, HMAC_KEY).command("c-1", ts, "CHARGE", p)
            command = b'{"cmdId":"c-1","ts":%d,"type":"CHARGE","p":%b,"sig":"%b"}' % (ts, p, sig.encode())
            voke.send(PLANT_ID, f"cpi/{PLANT_ID}/command", command, acknowledged.set)
            await asyncio.sleep(10.0)
        assert acknowledged.is_set()
        assert [ack["st"] for ack in voke.accepted("ack")] == ["RECEIVED", "IN_PROGRESS", "COMPLETED"]
        assert [(w.device, w.field, w.value) for w in site.plcs["plc1"].writes] == [("A", "setpointW", 4200)]
        assert len(site.snapshots) == site.runner.stats.ticks
        assert voke.faults == []

    run(main())


class FaultyOnce(SimulatedVoke):
    """Its first attempt to connect raises what no connector may raise."""

    fault: Exception

    async def connect(self, login: Login) -> SimulatedSession:
        if not self.logins:
            self.logins.append((0.0, login))
            raise self.fault
        return await super().connect(login)


@pytest.mark.parametrize("fault", [ZeroDivisionError("a bug in a connector"), TimeoutError()])
def test_an_uplink_that_crashes_or_just_ends_is_started_again_and_no_tick_is_lost(fault: Exception) -> None:
    async def main() -> tuple[Site, SimulatedVoke]:
        voke = FaultyOnce(keys={PLANT_ID: HMAC_KEY})
        voke.fault = fault
        site = Site(plant_of([["A"]], telemetry=EVERY_SECOND), voke)
        async with running(site):
            await asyncio.sleep(60.5)
        return site, voke

    with structlog.testing.capture_logs() as logs:
        site, voke = run(main())
    assert [entry["part"] for entry in logs if entry["event"] == "crashed, will be restarted"] == ["uplink"]
    assert len(site.snapshots) == site.runner.stats.ticks
    assert len(voke.accepted()) >= len(site.snapshots) - 1


def test_renewed_credentials_are_used_for_the_next_login_without_touching_the_plcs() -> None:
    async def main() -> None:
        voke = SimulatedVoke(keys={PLANT_ID: HMAC_KEY})
        site = Site(plant_of([["A"]], telemetry=EVERY_SECOND), voke)
        async with running(site):
            await asyncio.sleep(10.0)
            await site.runner.update(site.runner.plant, replace(site.credentials, password="another"))
            await asyncio.sleep(10.0)
        assert [login.password for _, login in voke.logins] == ["planted", "another"]
        assert site.plcs["plc1"].opened == 1
        assert len(site.snapshots) == site.runner.stats.ticks
        assert voke.faults == []

    run(main())


def test_a_driver_that_cannot_even_say_whom_to_await_costs_its_connection_only() -> None:
    def before(site: Site) -> None:
        site.plcs["plc1"].undecided = ZeroDivisionError("a bug in a driver")

    with structlog.testing.capture_logs() as logs:
        site = on_site(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND), 60, before=before)
    assert len(site.of("B")) == site.runner.stats.ticks
    assert len(site.of("A")) >= site.runner.stats.ticks - 1
    assert {entry["event"] for entry in logs if entry["log_level"] == "error"} == {"driver failed"}
