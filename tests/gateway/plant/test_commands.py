"""Commands: what is carried out, what is refused, and that each gets exactly one honest answer."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plants import PLANT_ID, battery_plant
from tests.support.simulated_plc import SimulatedPlcs
from tests.support.virtual_time import EPOCH, on_virtual_time, run, wall_clock
from voke_api.resolved import ResolvedPlant
from voke_gateway.outbox.store import Entry, Kind
from voke_gateway.plant.command_journal import MemoryJournal
from voke_gateway.plant.commands import Commands
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import PlantStats
from voke_gateway.uplink.session import Inbound

KEY = b"test-secret-32-characters-long!!"
CHARGE = {
    "writes": [
        {
            "device": "BAT1",
            "field": "setpointW",
            "parameter": "powerW",
            "min": 0,
            "readBack": {"within": "5s"},
        }
    ]
}
HOLD = {"writes": [{"device": "BAT1", "field": "setpointW", "value": 0}]}
BOTH = {
    "writes": [
        {"device": "BAT1", "field": "enable", "parameter": "on"},
        {"device": "BAT1", "field": "setpointW", "parameter": "powerW", "factor": -1, "readBack": "none"},
    ]
}


class Site:
    """A plant with one simulated PLC, and the acknowledgements that leave it."""

    def __init__(self, plant: ResolvedPlant | None = None, journal: MemoryJournal | None = None) -> None:
        self.plant = plant or battery_plant(commands={"CHARGE": CHARGE, "HOLD": HOLD, "BOTH": BOTH})
        self.plcs = SimulatedPlcs()
        self.plc = self.plcs["plc1"]
        connection = self.plcs(
            self.plant.connections[0], self.plant.devices, wall_clock=wall_clock, random=Random(1)
        )
        self.sent: list[tuple[Kind, dict[str, Any]]] = []
        self.stats = PlantStats()
        self.identity_in_use = False
        self.commands = Commands(
            self.plant,
            Signer(PLANT_ID, KEY),
            {"plc1": connection},
            put=self._put,
            stats=self.stats,
            wall_clock=wall_clock,
            writes_stopped=lambda: self.identity_in_use,
            journal=journal or MemoryJournal(EPOCH - 3600),
        )
        self.acknowledged: list[str] = []
        self._ids = count(1)

    def _put(self, kind: Kind, content: bytes) -> Entry:
        self.sent.append((kind, json.loads(content)))
        return Entry("site", len(self.sent), kind, content, wall_clock())

    def order(
        self,
        type_: str,
        p: Any = None,
        *,
        cmd_id: str | None = None,
        age: float = 0.0,
        changed: dict[str, Any] | None = None,
    ) -> str:
        """Hand over a signed command; ``changed`` replaces fields after signing."""
        cmd_id = cmd_id or f"cmd-{next(self._ids)}"
        ts = round((wall_clock() - age) * 1000)
        message = {"cmdId": cmd_id, "ts": ts, "type": type_}
        body = b""
        if p is not None:
            message["p"] = p
            body = canonical(p)
        message["sig"] = Signer(PLANT_ID, KEY).command(cmd_id, ts, type_, body)
        payload = json.dumps({**message, **(changed or {})}).encode()
        self.commands.receive(Inbound("command", payload, lambda: self.acknowledged.append(cmd_id)))
        return cmd_id

    def states(self, cmd_id: str) -> list[str]:
        return [ack["st"] for kind, ack in self.sent if kind is Kind.ACK and ack["cmdId"] == cmd_id]

    def answer(self, cmd_id: str) -> dict[str, Any]:
        """The only terminal answer."""
        terminal = [
            a for _, a in self.sent if a.get("cmdId") == cmd_id and a["st"] in ("COMPLETED", "FAILED")
        ]
        assert len(terminal) == 1, terminal
        return terminal[0]


@on_virtual_time
async def test_a_command_is_received_begun_written_confirmed_and_completed() -> None:
    site = Site()
    cmd = site.order("CHARGE", {"powerW": 1500})
    await asyncio.sleep(1)
    assert site.states(cmd) == ["RECEIVED", "IN_PROGRESS", "COMPLETED"]
    assert site.acknowledged == [cmd]
    assert [(w.device, w.field, w.value) for w in site.plc.writes] == [("BAT1", "setpointW", 1500)]
    assert site.stats.commands == {"COMPLETED": 1}


@on_virtual_time
async def test_parameters_are_multiplied_and_what_cannot_be_read_back_is_said_so() -> None:
    site = Site()
    cmd = site.order("BOTH", {"on": True, "powerW": 20})
    await asyncio.sleep(1)
    assert [w.value for w in site.plc.writes] == [True, -20]
    assert site.answer(cmd) == {
        "cmdId": cmd,
        "st": "COMPLETED",
        "msg": "not read back: BAT1.setpointW",
    }


@pytest.mark.parametrize(
    ("type_", "p", "err"),
    [
        ("CHARGE", {}, "MISSING_PARAMETER"),
        ("CHARGE", None, "MISSING_PARAMETER"),
        ("CHARGE", [1], "MALFORMED"),
        ("CHARGE", "powerW", "MALFORMED"),
        ("CHARGE", {"powerW": "1500"}, "BAD_PARAMETER"),
        ("CHARGE", {"powerW": True}, "BAD_PARAMETER"),
        ("CHARGE", {"powerW": None}, "BAD_PARAMETER"),
        ("CHARGE", {"powerW": -1}, "OUT_OF_RANGE"),
        ("CHARGE", {"powerW": 50001}, "OUT_OF_RANGE"),
        ("BOTH", {"on": 1, "powerW": 5}, "BAD_PARAMETER"),
        ("BOTH", {"on": True, "powerW": 50001}, "OUT_OF_RANGE"),
        ("EXPLODE", {}, "UNKNOWN_COMMAND"),
    ],
)
def test_what_is_wrong_with_a_command_is_found_before_the_first_write(type_: str, p: Any, err: str) -> None:
    async def scenario() -> None:
        site = Site()
        cmd = site.order(type_, p)
        await asyncio.sleep(1)
        assert site.answer(cmd)["err"] == err
        assert site.states(cmd) == ["RECEIVED", "FAILED"]
        assert site.plc.writes == []
        assert site.acknowledged == [cmd]

    run(scenario())


@pytest.mark.parametrize(
    "changed",
    [
        {"sig": "0" * 64},
        {"sig": None},
        {"sig": "é" * 64},
        {"type": "HOLD"},
        {"p": {"powerW": 1501}},
        {"cmdId": "another"},
        {"ts": 1},
        {"ts": "soon"},
        {"cmdId": 7},
        {"cmdId": ""},
    ],
)
def test_a_message_that_cannot_be_verified_is_met_with_silence(changed: dict[str, Any]) -> None:
    async def scenario() -> None:
        site = Site()
        cmd = site.order("CHARGE", {"powerW": 1500}, changed=changed)
        await asyncio.sleep(1)
        assert site.sent == []
        assert site.plc.writes == []
        assert site.acknowledged == [cmd], "or the broker would send it for ever"
        assert site.stats.commands == {"ignored": 1}

    run(scenario())


@on_virtual_time
async def test_a_duplicate_gets_the_answer_again_and_is_not_carried_out_again() -> None:
    site = Site()
    cmd = site.order("CHARGE", {"powerW": 1500}, cmd_id="x")
    await asyncio.sleep(1)
    await asyncio.sleep(3600)
    site.order("CHARGE", {"powerW": 1500}, cmd_id="x", age=3600)
    await asyncio.sleep(1)
    assert site.states(cmd) == ["RECEIVED", "IN_PROGRESS", "COMPLETED", "COMPLETED"]
    assert len(site.plc.writes) == 1
    assert site.acknowledged == ["x", "x"]


@on_virtual_time
async def test_duplicates_that_arrive_together_are_carried_out_once() -> None:
    site = Site()
    for _ in range(5):
        site.order("CHARGE", {"powerW": 1500}, cmd_id="x")
    await asyncio.sleep(1)
    assert len(site.plc.writes) == 1
    assert site.states("x").count("IN_PROGRESS") <= 5
    assert site.states("x")[-1] == "COMPLETED"


@on_virtual_time
async def test_a_stale_command_and_one_from_the_future_are_refused() -> None:
    site = Site()
    old = site.order("HOLD", {}, age=301)
    future = site.order("HOLD", {}, age=-31)
    slightly_ahead = site.order("HOLD", {}, age=-29)
    fresh = site.order("HOLD", {}, age=299)
    await asyncio.sleep(1)
    assert site.answer(old)["err"] == "STALE"
    assert site.answer(future)["err"] == "NOT_YET_VALID"
    assert site.answer(fresh)["st"] == "COMPLETED"
    assert site.answer(slightly_ahead)["st"] == "COMPLETED"


@on_virtual_time
async def test_a_flood_of_commands_makes_none_be_forgotten_while_it_could_be_replayed() -> None:
    journal = MemoryJournal(EPOCH, limit=10)
    site = Site(journal=journal)
    site.order("HOLD", {}, cmd_id="first", age=-20)
    await asyncio.sleep(1)
    for number in range(30):
        site.order("HOLD", {}, cmd_id=f"flood-{number}")
        await asyncio.sleep(0.1)
    writes = len(site.plc.writes)
    site.order("HOLD", {}, cmd_id="first")
    await asyncio.sleep(1)
    assert len(site.plc.writes) == writes, "a replay is answered, not carried out"
    await asyncio.sleep(400)
    for number in range(30):
        site.order("HOLD", {}, cmd_id=f"later-{number}")
        await asyncio.sleep(0.1)
    assert journal.latest("first") is None, "too old to be replayed, and crowded out"


@on_virtual_time
async def test_a_gateway_without_memory_refuses_what_it_may_have_done_before() -> None:
    site = Site()
    site.commands = Commands(
        site.plant,
        Signer(PLANT_ID, KEY),
        site.plcs.connections,
        put=site._put,
        stats=site.stats,
        wall_clock=wall_clock,
        writes_stopped=lambda: False,
    )
    cmd = site.order("HOLD", {}, age=10)
    await asyncio.sleep(1)
    assert site.answer(cmd)["err"] == "STALE"
    assert site.plc.writes == []


@on_virtual_time
async def test_a_read_only_plant_writes_nothing() -> None:
    site = Site(battery_plant(commands={"HOLD": HOLD}, writes="Disabled"))
    cmd = site.order("HOLD", {})
    await asyncio.sleep(1)
    assert site.answer(cmd)["err"] == "WRITES_DISABLED"
    assert site.plc.writes == []


@on_virtual_time
async def test_nothing_is_written_while_another_client_uses_the_identity() -> None:
    site = Site()
    site.identity_in_use = True
    cmd = site.order("HOLD", {})
    await asyncio.sleep(1)
    assert site.answer(cmd)["err"] == "IDENTITY_IN_USE"
    assert site.plc.writes == []


@on_virtual_time
async def test_a_write_without_a_connection_is_a_certain_failure() -> None:
    site = Site()
    site.plc.silent = True
    cmd = site.order("HOLD", {})
    await asyncio.sleep(10)
    assert site.answer(cmd)["err"] == "PLC_UNREACHABLE"


@on_virtual_time
async def test_a_write_that_goes_unanswered_ends_with_an_unknown_outcome() -> None:
    site = Site()
    site.plc.dead.add("BAT1")
    cmd = site.order("HOLD", {})
    await asyncio.sleep(10)
    assert site.answer(cmd)["err"] == "OUTCOME_UNKNOWN"


@on_virtual_time
async def test_a_refused_second_write_says_that_the_first_was_made() -> None:
    site = Site()
    site.plc.refused["BAT1"].add("setpointW")
    cmd = site.order("BOTH", {"on": True, "powerW": 1})
    await asyncio.sleep(10)
    answer = site.answer(cmd)
    assert answer["err"] == "WRITE_REFUSED"
    assert "1 of 2 writes were made before" in answer["msg"]


@on_virtual_time
async def test_a_value_that_appears_within_its_time_is_confirmed() -> None:
    site = Site()
    site.order("CHARGE", {"powerW": 100}, cmd_id="slow")
    await asyncio.sleep(0.0015)
    site.plc.values["BAT1"]["setpointW"] = 7  # the PLC ramps
    await asyncio.sleep(4)
    assert site.states("slow")[-1] == "IN_PROGRESS"
    site.plc.values["BAT1"]["setpointW"] = 100
    await asyncio.sleep(0.5)
    assert site.states("slow")[-1] == "COMPLETED"


@on_virtual_time
async def test_a_plc_that_shows_another_value_does_not_confirm() -> None:
    site = Site()
    site.order("CHARGE", {"powerW": 100}, cmd_id="never")
    await asyncio.sleep(0.0015)
    site.plc.values["BAT1"]["setpointW"] = 7
    await asyncio.sleep(10)
    answer = site.answer("never")
    assert answer["err"] == "NOT_CONFIRMED"
    assert "wrote 100, reads 7" in answer["msg"]


@on_virtual_time
async def test_a_newer_command_is_not_held_up_by_an_older_ones_confirmation() -> None:
    site = Site()
    site.order("CHARGE", {"powerW": 100}, cmd_id="older")
    await asyncio.sleep(0.0015)
    site.plc.values["BAT1"]["setpointW"] = 7
    await asyncio.sleep(1)
    site.order("HOLD", {}, cmd_id="newer")
    await asyncio.sleep(0.1)
    assert site.states("newer")[-1] == "COMPLETED"
    await asyncio.sleep(1)
    assert site.answer("older")["err"] == "SUPERSEDED"


@on_virtual_time
async def test_get_info_publishes_what_the_plant_can_do() -> None:
    site = Site()
    cmd = site.order("GET_INFO")
    await asyncio.sleep(1)
    info = next(content for kind, content in site.sent if kind is Kind.INFO)
    assert info["commands"] == ["BOTH", "CHARGE", "GET_INFO", "HOLD"]
    assert info["devices"] == {"BATTERY": 1}
    assert site.states(cmd) == ["RECEIVED", "IN_PROGRESS", "COMPLETED"]


@on_virtual_time
async def test_stopping_answers_for_every_command_that_was_taken() -> None:
    site = Site()
    site.plc.latency = 30.0
    site.order("CHARGE", {"powerW": 1}, cmd_id="writing")
    await asyncio.sleep(1)
    site.order("HOLD", {}, cmd_id="waiting")
    await asyncio.sleep(1)
    await site.commands.stop(2.0)
    assert site.answer("writing")["err"] == "OUTCOME_UNKNOWN"
    assert site.answer("waiting")["err"] == "SHUTTING_DOWN"
    site.order("HOLD", {}, cmd_id="after")
    await asyncio.sleep(1)
    assert "after" not in site.acknowledged, "left to the broker, for the next gateway"


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["CHARGE", "HOLD", "BOTH", "GET_INFO", "NO_SUCH"]),
            st.sampled_from(["a", "b", "c", "d", "e", "f"]),
            st.sampled_from([0.0, 0.0005, 0.3, 2.5]),
            st.sampled_from(["", "silent", "dead", "refused", "identity"]),
        ),
        max_size=25,
    ),
    st.sampled_from([0.0, 0.1, 20.0]),
)
def test_whatever_happens_every_command_gets_one_terminal_answer_and_is_written_once(
    script: list[tuple[str, str, float, str]], drain: float
) -> None:
    async def scenario() -> None:
        site = Site()
        first_type: dict[str, str] = {}
        for type_, cmd_id, pause, trouble in script:
            site.plc.silent = trouble == "silent"
            site.plc.dead = {"BAT1"} if trouble == "dead" else set()
            site.plc.refused["BAT1"] = {"setpointW"} if trouble == "refused" else set()
            site.identity_in_use = trouble == "identity"
            first_type.setdefault(cmd_id, type_)
            site.order(type_, {"powerW": 10, "on": True}, cmd_id=cmd_id)
            await asyncio.sleep(pause)
        await site.commands.stop(drain)
        for cmd_id in first_type:
            answers = [a for _, a in site.sent if a.get("cmdId") == cmd_id]
            terminal = [a for a in answers if a["st"] in ("COMPLETED", "FAILED")]
            assert terminal
            assert all(answer == terminal[0] for answer in terminal), "a terminal answer never changes"
            order = [a["st"] for a in answers]
            assert order[0] == "RECEIVED"
            assert set(order[order.index(terminal[0]["st"]) :]) == {terminal[0]["st"]}
        setpoints = [w for w in site.plc.writes if w.field == "setpointW"]
        writing = [c for c, t in first_type.items() if t in ("CHARGE", "HOLD", "BOTH")]
        assert len(setpoints) <= len(writing)

    run(scenario())
