"""A bundle that changes: every plant follows its own part of it, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest
import structlog

from tests.support.fleet import Fleet, Follower, entry, point
from tests.support.virtual_time import run
from voke_gateway.protocol.sign import Signer
from voke_gateway.runtime.work import Work

ALARM = {"name": "hot", "device": "D11", "field": "a", "when": {"gt": 10}, "code": 7, "severity": "ERROR"}


def scripted(script: Callable[[Fleet, Follower], Coroutine[Any, Any, None]]) -> None:
    """Run a fleet of two plants, a and b, for ten seconds, then the script."""

    async def main() -> None:
        fleet, follower = (
            Fleet({"a": entry("a", "10.0.0.1", "10.0.0.2"), "b": entry("b", "10.0.1.1")}),
            Follower(),
        )
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        await script(fleet, follower)
        assert_undisturbed(follower, "10.0.1.1:502")
        assert all(plc.most_open <= 1 for plc in follower.plcs.plcs.values())
        assert follower.voke.faults == []
        await follower.gateway.stop(8.0)
        assert follower.live() == {}
        assert follower.voke.sessions == {}
        assert len(asyncio.all_tasks()) == 1

    run(main())


def assert_undisturbed(follower: Follower, plc: str, interval: float = 1.0) -> None:
    times = [at for at, _ in follower.plcs[plc].passes][1:]
    assert all(abs(later - earlier - interval) < 1e-6 for earlier, later in pairwise(times)), "a missed poll"


def plant_id(fleet: Fleet, name: str) -> str:
    found: str = fleet.plants[name].spec["plantId"]
    return found


def documents(follower: Follower, fleet: Fleet, name: str, suffix: str = "telemetry") -> list[dict[str, Any]]:
    wanted = plant_id(fleet, name)
    return [m.document for m in follower.voke.received if m.plant_id == wanted and m.suffix == suffix]


def test_changed_points_keep_the_plc_connection_the_session_and_the_beat() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        fleet.plants["a"].spec["devices"][0]["points"].append(point("c", 2))
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        assert [follower.plcs[f"10.0.0.{n}:502"].opened for n in (1, 2)] == [1, 1]
        assert follower.voke.opened == 2
        assert_undisturbed(follower, "10.0.0.1:502")
        values = [doc["devices"][0]["values"] for doc in documents(follower, fleet, "a")]
        assert set(values[0]) == {"a", "b"}
        assert set(values[-1]) == {"a", "b", "c"}

    scripted(script)


def test_a_connection_that_changes_is_closed_before_it_is_opened_again_and_its_neighbour_stays() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        follower.plcs["10.0.0.1:502"].latency = 0.4
        fleet.plants["a"].spec["connections"][0]["modbusTcp"]["timeout"] = "1s"
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        first, second = follower.plcs["10.0.0.1:502"], follower.plcs["10.0.0.2:502"]
        assert (first.opened, first.closed, second.opened, second.closed) == (2, 1, 1, 0)
        assert_undisturbed(follower, "10.0.0.2:502")
        assert follower.voke.opened == 2

    scripted(script)


def test_a_removed_plant_delivers_what_was_read_and_closes_and_one_that_comes_is_polled_at_once() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        before = follower.metric("voke_gateway_messages_published_total")['{qos="1",result="delivered"}']
        gone = fleet.plants.pop("a")
        fleet.plants["c"] = entry("c", "10.0.2.1")
        follower.apply(fleet.files())
        await asyncio.sleep(1)
        assert follower.live() == {"10.0.1.1:502": 1, "10.0.2.1:502": 1}
        assert set(follower.voke.sessions) == {plant_id(fleet, "b"), plant_id(fleet, "c")}
        assert [plant.name for plant in follower.gateway.status().plants] == ["b", "c"]
        sent = [m for m in follower.voke.received if m.plant_id == gone.spec["plantId"]]
        assert len(sent) == len(follower.plcs["10.0.0.1:502"].passes)
        after = follower.metric("voke_gateway_messages_published_total")['{qos="1",result="delivered"}']
        assert after > before, "what a plant counted outlives it"

    scripted(script)


def test_other_credentials_make_a_new_session_and_the_plcs_notice_nothing() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        fleet.plants["a"].hmac_key = b"another key, as long as the first"
        follower.apply(fleet.files())
        await asyncio.sleep(5)
        assert follower.voke.opened == 3
        assert [plc.opened for plc in follower.plcs.plcs.values()] == [1, 1, 1]
        assert_undisturbed(follower, "10.0.0.1:502")
        command(follower, fleet, "a", key=fleet.plants["a"].hmac_key)
        await asyncio.sleep(5)
        assert [ack["st"] for ack in documents(follower, fleet, "a", "ack")][-1] == "COMPLETED"

    scripted(script)


def command(follower: Follower, fleet: Fleet, name: str, *, key: bytes, cmd_id: str = "c1") -> None:
    """Send SET {w: 5}."""
    ts, p = int(follower.loop.wall_clock() * 1000), {"w": 5}
    text = json.dumps(p, separators=(",", ":")).encode()
    sig = Signer(plant_id(fleet, name), key).command(cmd_id, ts, "SET", text)
    payload = {"cmdId": cmd_id, "ts": ts, "type": "SET", "p": p, "sig": sig}
    topic = f"voke/{plant_id(fleet, name)}/command"
    follower.voke.send(plant_id(fleet, name), topic, json.dumps(payload).encode(), lambda: None)


def test_commands_under_way_end_as_they_began_and_later_ones_follow_the_new_version() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        plc, a = follower.plcs["10.0.0.1:502"], fleet.plants["a"]
        plc.latency = 0.8
        command(follower, fleet, "a", key=a.hmac_key)
        await asyncio.sleep(0.1)
        a.spec["devices"][0]["points"][2]["address"] = 41
        a.spec["connections"][0]["modbusTcp"]["timeout"] = "1s"
        a.spec["commands"]["SET"]["writes"][0]["max"] = 1
        follower.apply(fleet.files())
        await asyncio.sleep(0.01)
        command(follower, fleet, "a", key=a.hmac_key, cmd_id="c2")
        command(follower, fleet, "a", key=a.hmac_key, cmd_id="c1")
        while not plc.closed:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        answers = {(ack["cmdId"], ack["st"]) for ack in documents(follower, fleet, "a", "ack")}
        assert ("c1", "COMPLETED") in answers, "before the PLC is let go of"
        await asyncio.sleep(5)
        acks = documents(follower, fleet, "a", "ack")
        assert {(ack["cmdId"], ack.get("err", ack["st"])) for ack in acks} >= {
            ("c1", "COMPLETED"),
            ("c2", "OUT_OF_RANGE"),
        }
        assert len(plc.writes) == 1

    scripted(script)


def test_a_change_that_is_taken_back_while_it_is_made_leaves_nothing_half_done() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        follower.plcs["10.0.0.1:502"].latency = 0.7
        await asyncio.sleep(2.3)
        a = fleet.plants["a"]
        before, b = (follower.gateway._places[name].wanted for name in "ab")
        assert before is not None
        assert b is not None
        a.spec["connections"][0]["modbusTcp"]["host"] = "10.0.0.9"
        follower.apply(fleet.files())
        for pause in (0.0, 0.1, 1.0):
            await asyncio.sleep(pause)
            follower.gateway.apply(Work(generation=99, assignments={"a": before, "b": b}))
        await asyncio.sleep(10)
        assert follower.live() == {"10.0.0.1:502": 1, "10.0.0.2:502": 1, "10.0.1.1:502": 1}
        assert_undisturbed(follower, "10.0.0.2:502")
        command(follower, fleet, "a", key=a.hmac_key)
        await asyncio.sleep(5)
        assert [ack["st"] for ack in documents(follower, fleet, "a", "ack")][-1] == "COMPLETED"

    scripted(script)


def test_a_pass_under_way_ends_under_its_version_and_never_runs_beside_the_next() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        plc, a = follower.plcs["10.0.0.1:502"], fleet.plants["a"]
        plc.latency = 2.5
        await asyncio.sleep(7.2)
        assert plc.running
        with structlog.testing.capture_logs() as logs:
            for scale in (2, 3, 4):
                a.spec["devices"][0] |= {"type": "METER", "points": [point(f"v{scale}", 0)]}
                a.spec["commands"] = {}
                follower.apply(fleet.files())
                await asyncio.sleep(0.3)
            plc.latency = 0.01
            await asyncio.sleep(10)
        assert not [line for line in logs if line["log_level"] == "error"]
        shapes = [
            (device["type"], *sorted(device["values"]))
            for document in documents(follower, fleet, "a")
            for device in document["devices"]
            if device["externalId"] == "D11"
        ]
        assert list(dict.fromkeys(shapes)) == [("BATTERY", "a", "b"), ("METER", "v4")]
        read = plc.reads["D11"]
        assert len(shapes) == read, "and no reading was lost"

    scripted(script)


def test_a_raised_alarm_stays_raised_unless_its_definition_changes_and_then_it_is_resolved() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        a = fleet.plants["a"]
        follower.plcs["10.0.0.1:502"].values["D11"]["a"] = 99
        a.spec["alarms"] = [ALARM, {**ALARM, "name": "too", "code": 8}]
        follower.apply(fleet.files())
        await asyncio.sleep(5)
        a.spec["alarms"] = [ALARM, {**ALARM, "name": "too", "code": 9}]
        follower.apply(fleet.files())
        await asyncio.sleep(5)
        events = [(e["ev"], e["code"]) for e in documents(follower, fleet, "a", "alarm")]
        assert sorted(events[:2]) == [("RAISE", 7), ("RAISE", 8)]
        assert events[2:] == [("RESOLVE", 8), ("RAISE", 9)]
        follower.plcs["10.0.0.1:502"].values["D11"]["a"] = 0
        await asyncio.sleep(5)
        ids = {e["alarmId"] for e in documents(follower, fleet, "a", "alarm") if e["code"] == 7}
        assert len(ids) == 1

    scripted(script)


def test_a_suspended_plant_lets_go_of_everything_and_comes_back() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        a = fleet.plants["a"]
        a.spec["suspend"] = True
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        assert follower.live() == {"10.0.1.1:502": 1}
        assert set(follower.voke.sessions) == {plant_id(fleet, "b")}
        assert follower.gateway.status().plants[0].state == "Suspended"
        sent = len(documents(follower, fleet, "a"))
        a.spec["suspend"] = False
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        assert len(documents(follower, fleet, "a")) >= sent + 9
        assert follower.live() == {"10.0.0.1:502": 1, "10.0.0.2:502": 1, "10.0.1.1:502": 1}

    scripted(script)


def test_another_interval_joins_the_beat_of_that_interval() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        fleet.plants["a"].spec["telemetry"]["interval"] = "5s"
        follower.apply(fleet.files())
        await asyncio.sleep(20)
        times = [at for at, _ in follower.plcs["10.0.0.1:502"].passes]
        assert [later - earlier for earlier, later in pairwise(times)][-3:] == [
            pytest.approx(5.0, abs=1e-6)
        ] * 3
        assert follower.voke.opened == 2

    scripted(script)


def test_another_voke_makes_a_new_session_there() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        fleet.plants["a"].spec["commandMaxAge"] = "1m"
        follower.apply(fleet.files())
        await asyncio.sleep(5)
        assert [login.session_expiry for _, login in follower.voke.logins][-1] == 60
        assert [plc.opened for plc in follower.plcs.plcs.values()] == [1, 1, 1]

    scripted(script)


def test_a_plant_that_cannot_be_resolved_stays_what_it_was_and_says_so_once() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        a = fleet.plants["a"]
        a.spec["alarms"] = [{**ALARM, "field": "nonsense"}]
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                follower.apply(fleet.files())
                await asyncio.sleep(5)
        assert [line["plant"] for line in logs if line["log_level"] == "error"] == ["a"]
        assert_undisturbed(follower, "10.0.0.1:502")
        status = follower.gateway.status()
        assert status.plants[0].state == "Invalid"
        assert "nonsense" in status.plants[0].message
        assert len(status.bundle_problems) == 1
        assert follower.metric("voke_gateway_bundle_problems") == {"": 1.0}
        a.spec["alarms"] = []
        follower.apply(fleet.files())
        await asyncio.sleep(1)
        assert follower.gateway.status().bundle_problems == ()
        assert follower.gateway.status().plants[0].state == "Running"

    scripted(script)


def test_the_endpoint_of_another_plant_is_refused_and_the_one_that_has_it_keeps_it() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        fleet.plants["0"] = entry("0", "10.0.1.1")
        fleet.plants["a"].spec["connections"][1]["modbusTcp"]["host"] = "10.0.1.1"
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        states = {plant.name: (plant.state, plant.message) for plant in follower.gateway.status().plants}
        assert states["b"] == ("Running", "")
        assert states["0"] == (
            "Invalid",
            (
                "Plant b connects to 10.0.1.1:502 already, and a PLC is read and written by one Plant: put the devices "
                "of both into one Plant, or reach those of this one by another address or port"
            ),
        )
        assert states["a"][0] == "Invalid"
        assert_undisturbed(follower, "10.0.0.2:502")

    scripted(script)


def test_plcs_that_change_hands_are_let_go_of_before_they_are_taken() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        fleet.plants["c"] = entry("c", "10.0.3.1", "10.0.3.2")
        follower.apply(fleet.files())
        await asyncio.sleep(5)
        follower.plcs["10.0.0.1:502"].latency = 0.7
        for name, host in (("a", "10.0.3.1"), ("c", "10.0.0.1")):
            fleet.plants[name].spec["connections"][0]["modbusTcp"]["host"] = host
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        assert [plant.state for plant in follower.gateway.status().plants] == ["Running"] * 3
        assert len(follower.live()) == 5
        fleet.plants["renamed"] = fleet.plants.pop("a")
        follower.apply(fleet.files())
        await asyncio.sleep(10)
        assert [plant.name for plant in follower.gateway.status().plants] == ["b", "c", "renamed"]
        assert follower.voke.evictions == []

    scripted(script)


def test_a_plant_with_another_plant_id_is_another_plant() -> None:
    async def script(fleet: Fleet, follower: Follower) -> None:
        old = plant_id(fleet, "a")
        fleet.plants["a"].spec["plantId"] = "11111111-2222-4333-8444-555555555555"
        follower.apply(fleet.files())
        await asyncio.sleep(5)
        assert old not in follower.voke.sessions
        assert documents(follower, fleet, "a")

    scripted(script)
