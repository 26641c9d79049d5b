"""The judge alone, without a broker: what it takes, what it refuses and why."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sim.voke.messages import CABINET, INVERTER, LEAVE_OUT, METER, Plant, dumps, now_ms
from voke_sim.voke.judge import SOURCE, Command, Judge, JudgeError, Topics, Verdict
from voke_sim.voke.records import Note


class Bench:
    """A judge that knows one plant."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.plant = Plant()
        self.topic = self.plant.topic
        judge.register(self.plant.plant_id, self.plant.hmac_key)

    async def __call__(
        self, payload: bytes, suffix: str = "telemetry", *, at: float | None = None, retain: bool = False
    ) -> Verdict:
        return await self.judge.judge(
            self.plant.topic(suffix), payload, at=time.time() if at is None else at, retain=retain
        )

    async def command(self, **options: Any) -> str:
        command = Command(self.plant.plant_id, str(uuid.uuid4()), now_ms(), "CHARGE", {"powerW": 5})
        await self.judge.sign(command, **options)
        return command.cmd_id


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    judge = await Judge.start()
    yield Bench(judge)
    await judge.close()


def device(**changes: Any) -> dict[str, Any]:
    merged = {**INVERTER, **changes}
    return {key: value for key, value in merged.items() if value is not LEAVE_OUT}


def values(**fields: Any) -> dict[str, Any]:
    return device(values=fields)


def raw(number: Any) -> dict[str, Any]:
    return {**CABINET, "raw": number}


# Each row: the reason, a part of the detail, the topic, and the message.
Refusal = tuple[str, str, str, Callable[[Plant], bytes]]
REFUSALS: list[Refusal] = [
    ("encoding", "UTF-8", "telemetry", lambda _: b'{"ts": "\xff"}'),
    ("json", "", "telemetry", lambda _: b""),
    ("json", "", "telemetry", lambda _: b'{"ts": 1'),
    ("json", "", "telemetry", lambda _: b'{"ts": NaN}'),
    ("envelope", "must be an object", "telemetry", lambda _: b"[]"),
    ("envelope", "must be an object", "telemetry", lambda _: b"null"),
    ("envelope", "nested", "alarm", lambda p: p.alarm("RAISE", detail=json.loads('{"a":' * 70 + "1" + "}" * 70))),
    ("envelope", "beyond the range", "alarm", lambda p: p.alarm("RAISE").replace(b'"code":106', b'"code":1e999')),
    ("topic", "", "command", lambda p: p.telemetry()),
    ("topic", "", "config", lambda p: p.telemetry()),
    ("topic", "", "telemetry/INV1", lambda p: p.telemetry()),
    ("retained", "telemetry", "telemetry", lambda p: p.telemetry()),
    ("not-retained", "info", "info", lambda p: p.info(firmware="1")),
    ("size", "8193 bytes", "telemetry", lambda p: p.telemetry().ljust(8193)),
    ("unsigned", "", "telemetry", lambda p: p.telemetry(after={"sig": LEAVE_OUT})),
    ("unsigned", "", "ack", lambda p: p.ack("c", "RECEIVED", after={"sig": LEAVE_OUT})),
    ("unsigned", "", "alarm", lambda p: p.alarm("RAISE", after={"sig": LEAVE_OUT})),
    ("signature", "does not verify", "telemetry", lambda p: p.telemetry(after={"sig": "0" * 64})),
    ("signature", "does not verify", "telemetry", lambda p: p.telemetry(after={"devices": [METER]})),
    ("signature", "does not verify", "telemetry", lambda p: p.telemetry(after={"timestamp": now_ms()})),
    ("signature", "does not verify", "telemetry", lambda p: p.telemetry(after={"n": "0" * 16})),
    ("signature", "does not verify", "telemetry", lambda p: Plant(p.plant_id).telemetry()),
    ("signature", "does not verify", "telemetry", lambda p: Plant(hmac_key=p.hmac_key).telemetry()),
    ("signature", "does not verify", "ack", lambda p: p.ack("c", "RECEIVED", after={"st": "COMPLETED"})),
    ("signature", "does not verify", "alarm", lambda p: p.alarm("RAISE", after={"sev": 1})),
    ("signature", "does not verify", "info", lambda p: p.info(a=1).replace(b'"a":1', b'"a":2')),
    ("signature", "64 lowercase", "telemetry", lambda p: p.telemetry(after={"sig": "é"})),
    ("signature", "64 lowercase", "telemetry", lambda p: p.telemetry(after={"sig": "A" * 64})),
    ("stale", "replay window", "telemetry", lambda p: p.telemetry(ts=now_ms() - 31_000)),
    ("future", "replay window", "telemetry", lambda p: p.telemetry(ts=now_ms() + 31_000)),
    ("envelope", "ts must be", "telemetry", lambda p: p.telemetry(ts=now_ms() // 1000)),
    ("envelope", "ts must be", "telemetry", lambda p: p.telemetry(ts=str(now_ms()))),
    ("envelope", "ts must be", "telemetry", lambda p: p.telemetry(ts=LEAVE_OUT)),
    ("envelope", "ts must be", "telemetry", lambda p: p.telemetry(ts=now_ms() + 0.5)),
    ("envelope", "n must be", "telemetry", lambda p: p.telemetry(n="abc123")),
    ("envelope", "n must be", "telemetry", lambda p: p.telemetry(n="nonce-xyz")),
    ("envelope", "n must be", "telemetry", lambda p: p.telemetry(n=12345678)),
    ("envelope", "n must be", "telemetry", lambda p: p.telemetry(n=LEAVE_OUT)),
    ("envelope", "sig must be", "telemetry", lambda p: p.telemetry(after={"sig": None})),
    ("envelope", "nonce is not a known key", "telemetry", lambda p: p.telemetry(nonce="a")),
    ("envelope", "payload is not a known key", "telemetry", lambda p: p.telemetry(payload={})),
    ("envelope", "__proto__ is not a known key", "telemetry", lambda p: p.telemetry(__proto__={})),
    ("envelope", "timestamp must be", "telemetry", lambda p: p.telemetry(timestamp="2026-01-01 00:00:00Z")),
    ("envelope", "timestamp must be", "telemetry", lambda p: p.telemetry(timestamp="2026-01-01T00:00:00+01:00")),
    ("envelope", "timestamp must be", "telemetry", lambda p: p.telemetry(timestamp="2026-02-30T00:00:00Z")),
    ("envelope", "timestamp must be", "telemetry", lambda p: p.telemetry(timestamp=1767225600)),
    ("envelope", "timestamp must be", "telemetry", lambda p: p.telemetry(timestamp=None)),
    ("envelope", "devices is missing", "telemetry", lambda p: p.telemetry(devices=LEAVE_OUT, after={"devices": LEAVE_OUT})),
    ("envelope", "devices must be an array", "telemetry", lambda p: p.telemetry(devices={})),
    ("envelope", "devices is empty", "telemetry", lambda p: p.telemetry(devices=[])),
    ("envelope", "devices[1] must be an object", "telemetry", lambda p: p.telemetry(INVERTER, 7)),
    ("envelope", "same externalId", "telemetry", lambda p: p.telemetry(INVERTER, INVERTER)),
    ("envelope", "externalId is missing", "telemetry", lambda p: p.telemetry(device(externalId=LEAVE_OUT))),
    ("envelope", "externalId must match", "telemetry", lambda p: p.telemetry(device(externalId="inv1"))),
    ("envelope", "externalId must match", "telemetry", lambda p: p.telemetry(device(externalId="A" * 33))),
    ("envelope", "externalId must match", "telemetry", lambda p: p.telemetry(device(externalId="A\n"))),
    ("envelope", "externalId must match", "telemetry", lambda p: p.telemetry(device(externalId=""))),
    ("envelope", "externalId must match", "telemetry", lambda p: p.telemetry(device(externalId=1))),
    ("envelope", "type must be one of", "telemetry", lambda p: p.telemetry(device(type="PV"))),
    ("envelope", "type is missing", "telemetry", lambda p: p.telemetry(device(type=LEAVE_OUT))),
    ("envelope", "unit is not a known key", "telemetry", lambda p: p.telemetry(device(unit=1))),
    ("envelope", "both raw and values", "telemetry", lambda p: p.telemetry(device(raw=1))),
    ("envelope", "both raw and values", "telemetry", lambda p: p.telemetry({**CABINET, "values": {"a": 1}})),
    ("envelope", "needs values", "telemetry", lambda p: p.telemetry(device(values=LEAVE_OUT))),
    ("envelope", "needs values", "telemetry", lambda p: p.telemetry(device(values=LEAVE_OUT, raw=1))),
    ("envelope", "needs raw", "telemetry", lambda p: p.telemetry(device(type="CABINET"))),
    *[
        ("envelope", "unsigned 32-bit", "telemetry", lambda p, bad=bad: p.telemetry(raw(bad)))
        for bad in (-1, 2**32, 1.5, "5", None, True)
    ],
    ("envelope", "values must be an object", "telemetry", lambda p: p.telemetry(device(values=[1]))),
    ("envelope", "values is empty", "telemetry", lambda p: p.telemetry(values())),
    ("envelope", "1 to 64 characters", "telemetry", lambda p: p.telemetry(values(**{"": 1}))),
    ("envelope", "1 to 64 characters", "telemetry", lambda p: p.telemetry(values(**{"a" * 65: 1}))),
    ("envelope", "number, string", "telemetry", lambda p: p.telemetry(values(power={}))),
    ("envelope", "number, string", "telemetry", lambda p: p.telemetry(values(power=[1]))),
    ("envelope", "cmdId is missing", "ack", lambda p: p.ack("c", "RECEIVED", after={"cmdId": LEAVE_OUT})),
    ("envelope", "without |", "ack", lambda p: p.ack("a|b", "RECEIVED")),
    ("envelope", "cmdId must be", "ack", lambda p: p.ack("", "RECEIVED")),
    ("envelope", "st must be one of", "ack", lambda p: p.ack("c", "DONE")),
    ("envelope", "err must be", "ack", lambda p: p.ack("c", "FAILED", err=5)),
    ("envelope", "err must be", "ack", lambda p: p.ack("c", "FAILED", err="")),
    ("envelope", "msg must be", "ack", lambda p: p.ack("c", "FAILED", msg=None)),
    ("envelope", "result is not a known key", "ack", lambda p: p.ack("c", "COMPLETED", result=1)),
    ("envelope", "ev must be", "alarm", lambda p: p.alarm("CLEAR")),
    ("envelope", "without |", "alarm", lambda p: p.alarm("RAISE", "a|b")),
    ("envelope", "code must be", "alarm", lambda p: p.alarm("RAISE", code="106")),
    ("envelope", "code must be", "alarm", lambda p: p.alarm("RAISE", code=1.5)),
    ("envelope", "code is missing", "alarm", lambda p: p.alarm("RAISE", after={"code": LEAVE_OUT})),
    ("envelope", "sev must be", "alarm", lambda p: p.alarm("RAISE", sev=4)),
    ("envelope", "sev must be", "alarm", lambda p: p.alarm("RAISE", sev="CRITICAL")),
    ("envelope", "detail must be", "alarm", lambda p: p.alarm("RAISE", detail="door")),
    ("envelope", "device is not a known key", "alarm", lambda p: p.alarm("RAISE", device="INV1")),
    ("envelope", "ts must be", "status", lambda p: p.telemetry(ts="now")),
    ("ack-unknown-command", "was sent", "ack", lambda p: p.ack(str(uuid.uuid4()), "RECEIVED")),
    ("alarm-order", "never raised", "alarm", lambda p: p.alarm("RESOLVE")),
]  # fmt: skip

SHOWN_BELOW = {
    "unknown-plant",
    "nonce-reused",
    "ack-forged-command",
    "ack-order",
    "ack-changed-outcome",
    "alarm-changed",
}


@pytest.mark.parametrize(("reason", "detail", "suffix", "message"), REFUSALS)
async def test_refused_with_the_reason(
    bench: Bench, reason: str, detail: str, suffix: str, message: Callable[[Plant], bytes]
) -> None:
    retain = reason == "retained" or (suffix == "info" and reason != "not-retained")
    verdict = await bench(message(bench.plant), suffix, retain=retain)
    assert verdict.reason == reason, verdict
    assert detail in verdict.detail


def test_every_reason_the_judge_knows_is_shown_here() -> None:
    known = set(re.findall(r'refuse\("([a-z-]+)"', SOURCE.read_text()))
    assert known == {row[0] for row in REFUSALS} | SHOWN_BELOW


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("telemetry", lambda p: p.telemetry(INVERTER, METER, CABINET)),
        ("telemetry", lambda p: p.telemetry(timestamp="2026-01-01T00:00:00Z")),
        ("telemetry", lambda p: p.telemetry(timestamp="2024-02-29T23:59:59.123Z")),
        ("telemetry", lambda p: p.telemetry(timestamp=now_ms())),
        ("telemetry", lambda p: p.telemetry(raw(0), {**raw(2**32 - 1), "externalId": "A-_9" + "Z" * 28})),
        ("telemetry", lambda p: p.telemetry(values(a=None, b="text", c=False, **{"d" * 64: 0}))),
        ("telemetry", lambda p: p.telemetry(values(é="ž", **{"😀": 1, "｡": 2}))),
        ("telemetry", lambda p: p.telemetry(ts=now_ms() - 29_000)),
        ("telemetry", lambda p: p.telemetry(ts=now_ms() + 29_000)),
        ("telemetry", lambda p: p.telemetry(n="ABCDEF01")),
        ("telemetry", lambda p: p.telemetry().ljust(8192)),
        ("alarm", lambda p: p.alarm("RAISE", msg="overheated", detail={"device": "INV1"})),
        ("alarm", lambda p: p.alarm("RAISE", sev=1, code=0)),
        ("info", lambda p: p.info(firmware="1.2", devices=3)),
        ("info", lambda _: b'{"firmware":"1.2"}'),
        ("status", lambda p: p.info(status="ONLINE")),
    ],
)
async def test_accepted(bench: Bench, suffix: str, message: Callable[[Plant], bytes]) -> None:
    payload = message(bench.plant)
    if "😀".encode() in payload:
        payload = with_utf16_order(bench.plant, json.loads(payload))
    verdict = await bench(payload, suffix, retain=suffix == "info")
    assert verdict.reason is None, verdict
    assert verdict.kind == suffix


def with_utf16_order(plant: Plant, document: dict[str, Any]) -> bytes:
    """Sign with the astral key first: its UTF-16 unit is smaller, its code point is not."""
    fields = document["devices"][0]["values"]
    text = "{" + ",".join(f'"{key}":{dumps(fields[key])}' for key in ("é", "😀", "｡")) + "}"
    canonical = '{"devices":[{"externalId":"INV1","type":"INVERTER","values":' + text + "}]}"
    document["sig"] = plant.sign(plant.plant_id, document["ts"], document["n"], canonical)
    return dumps(document).encode()


async def test_numbers_are_signed_in_javascripts_form_whatever_the_wire_says(bench: Bench) -> None:
    ts, plant = now_ms(), bench.plant
    canonical = '{"devices":[{"externalId":"M1","type":"METER","values":{"a":231,"b":0.00001,"c":1e-7,"d":0,"e":10000000000000000}}]}'
    wire = '"devices":[{"type":"METER","externalId":"M1","values":{"a":231.0,"c":1e-07,"b":1e-05,"d":-0.0,"e":1e+16}}]'
    sig = plant.sign(plant.plant_id, ts, "abcdef0123456789", canonical)
    verdict = await bench(f'{{ {wire}, "ts": {ts}, "n": "abcdef0123456789", "sig": "{sig}" }}'.encode())
    assert verdict.reason is None, verdict


async def test_the_documented_digests_are_what_the_judge_computes(bench: Bench) -> None:
    key = b"test-secret-32-characters-long!!"
    bench.judge.register("device-1", key)
    _, payload = await bench.judge.sign(Command("device-1", "cmd-1", 1700000000000, "GET_INFO", {}))
    assert json.loads(payload)["sig"] == "6bb889a1835c3bd6c10cd99056dfcf2987ce6c10830732bf31a901f1f12580ea"
    alarm = {"ev": "RAISE", "alarmId": "alarm-1", "code": 106, "sev": 3, "ts": 1700000000000, "n": "a1b2c3d4"}
    alarm["sig"] = "03b8dfeadab9f11daaac08fda0f2afda5167dcf111c3484698dbe626a7c3a478"
    verdict = await bench.judge.judge("cpi/device-1/alarm", dumps(alarm).encode(), at=1700000000.0)
    assert verdict.reason is None, verdict


async def test_a_plant_that_is_not_registered_is_refused_and_so_is_one_that_was_forgotten(
    bench: Bench,
) -> None:
    stranger = Plant()
    verdict = await bench.judge.judge(stranger.topic(), stranger.telemetry(), at=time.time())
    assert (verdict.reason, verdict.plant_id) == ("unknown-plant", stranger.plant_id)
    bench.judge.forget(bench.plant.plant_id)
    assert (await bench(bench.plant.telemetry())).reason == "unknown-plant"


async def test_after_a_rotation_only_the_new_key_counts(bench: Bench) -> None:
    old, new = bench.plant, Plant(bench.plant.plant_id)
    bench.judge.register(new.plant_id, new.hmac_key)
    assert (await bench(old.telemetry())).reason == "signature"
    assert (await bench(new.telemetry())).reason is None


class TestReplay:
    async def test_a_nonce_counts_once_in_all_kinds_of_messages(self, bench: Bench) -> None:
        assert (await bench(bench.plant.telemetry(n="abcdef0123456789"))).reason is None
        assert (await bench(bench.plant.telemetry(n="abcdef0123456789"))).reason == "nonce-reused"
        assert (await bench(bench.plant.telemetry(n="ABCDEF0123456789"))).reason == "nonce-reused"
        assert (
            await bench(bench.plant.alarm("RAISE", n="abcdef0123456789"), "alarm")
        ).reason == "nonce-reused"

    async def test_a_message_cannot_be_replayed_at_any_moment_of_its_window(self, bench: Bench) -> None:
        now = time.time()
        message = bench.plant.telemetry(ts=int((now + 29) * 1000))
        assert (await bench(message, at=now)).reason is None
        for later in (1, 30, 58.9):
            await bench(bench.plant.telemetry(ts=int((now + later) * 1000)), at=now + later)
            assert (await bench(message, at=now + later)).reason == "nonce-reused"
        assert (await bench(message, at=now + 59.1)).reason == "stale"

    async def test_a_forger_cannot_use_up_a_plants_nonces(self, bench: Bench) -> None:
        message = bench.plant.telemetry(n="abcdef0123456789")
        forged = Plant(bench.plant.plant_id).telemetry(n="abcdef0123456789")
        assert (await bench(forged)).reason == "signature"
        assert (await bench(message)).reason is None

    async def test_the_window_can_be_chosen(self) -> None:
        judge = await Judge.start(replay_window=0.5)
        bench = Bench(judge)
        assert (await bench(bench.plant.telemetry(ts=now_ms() - 600))).reason == "stale"
        assert (await bench(bench.plant.telemetry(ts=now_ms() + 1500))).reason == "future"
        assert (await bench(bench.plant.telemetry())).reason is None
        await judge.close()


async def test_unsigned_messages_are_noted_where_the_policy_allows_them() -> None:
    judge = await Judge.start(signature="optional")
    bench = Bench(judge)
    verdict = await bench(bench.plant.telemetry(after={"sig": LEAVE_OUT}))
    assert (verdict.reason, verdict.notes) == (None, (Note("unsigned", ""),))
    assert (await bench(bench.plant.telemetry(after={"sig": "0" * 64}))).reason == "signature"
    await judge.close()


async def test_the_disputed_topics_can_be_chosen() -> None:
    judge = await Judge.start(topics=Topics(command="commands", ack="commands/ack"))
    bench = Bench(judge)
    command = Command(bench.plant.plant_id, "c1", now_ms(), "HOLD")
    topic, _ = await judge.sign(command)
    assert topic == bench.topic("commands")
    assert (await bench(bench.plant.ack("c1", "RECEIVED"), "commands/ack")).reason is None
    assert (await bench(bench.plant.ack("c1", "RECEIVED"), "ack")).reason == "topic"
    await judge.close()


class TestSampleOrder:
    async def test_a_late_backlog_is_accepted_and_noted_by_device(self, bench: Bench) -> None:
        now = now_ms()
        await bench(bench.plant.telemetry(INVERTER, timestamp=now))
        verdict = await bench(bench.plant.telemetry(INVERTER, METER, timestamp=now - 5000))
        assert (verdict.reason, verdict.notes) == (None, (Note("out-of-order", "INV1"),))

    async def test_iso_and_millisecond_timestamps_are_one_scale(self, bench: Bench) -> None:
        await bench(bench.plant.telemetry(INVERTER, timestamp="2026-01-01T00:00:01.500Z"))
        late = await bench(bench.plant.telemetry(INVERTER, timestamp=1767225601499))
        assert late.notes == (Note("out-of-order", "INV1"),)
        again = await bench(bench.plant.telemetry(INVERTER, timestamp=1767225601500))
        assert again.notes == (Note("duplicate-sample", "INV1"),)

    async def test_a_message_sent_again_is_a_duplicate_sample(self, bench: Bench) -> None:
        now = now_ms()
        await bench(bench.plant.telemetry(INVERTER, METER, timestamp=now))
        verdict = await bench(bench.plant.telemetry(INVERTER, CABINET, timestamp=now))
        assert (verdict.reason, verdict.notes) == (None, (Note("duplicate-sample", "INV1"),))

    async def test_a_snapshot_split_by_values_is_no_duplicate(self, bench: Bench) -> None:
        now = now_ms()
        for fields in ({"a": 1}, {"b": 2}):
            assert (await bench(bench.plant.telemetry(values(**fields), timestamp=now))).notes == ()
        again = await bench(bench.plant.telemetry(values(b=2, c=3), timestamp=now))
        assert again.notes == (Note("duplicate-sample", "INV1"),)

    async def test_a_sample_from_after_its_signature_is_noted(self, bench: Bench) -> None:
        verdict = await bench(bench.plant.telemetry(timestamp=now_ms() + 60_000))
        assert (verdict.reason, verdict.notes) == (None, (Note("timestamp-after-ts", ""),))


class TestAcks:
    @pytest.mark.parametrize(
        "states",
        [
            "RECEIVED IN_PROGRESS COMPLETED",
            "RECEIVED IN_PROGRESS FAILED",
            "RECEIVED FAILED",
            "FAILED",
            "RECEIVED RECEIVED IN_PROGRESS IN_PROGRESS COMPLETED COMPLETED",
        ],
    )
    async def test_orders_that_are_right(self, bench: Bench, states: str) -> None:
        cmd_id = await bench.command()
        for st in states.split():
            assert (await bench(bench.plant.ack(cmd_id, st), "ack")).reason is None

    @pytest.mark.parametrize(
        ("states", "reason"),
        [
            ("IN_PROGRESS", "ack-order"),
            ("COMPLETED", "ack-order"),
            ("RECEIVED COMPLETED", "ack-order"),
            ("RECEIVED IN_PROGRESS RECEIVED", "ack-order"),
            ("RECEIVED IN_PROGRESS COMPLETED RECEIVED", "ack-order"),
            ("RECEIVED IN_PROGRESS COMPLETED FAILED", "ack-changed-outcome"),
            ("RECEIVED FAILED COMPLETED", "ack-changed-outcome"),
        ],
    )
    async def test_orders_that_are_wrong(self, bench: Bench, states: str, reason: str) -> None:
        cmd_id = await bench.command()
        *before, last = states.split()
        for st in before:
            assert (await bench(bench.plant.ack(cmd_id, st), "ack")).reason is None
        assert (await bench(bench.plant.ack(cmd_id, last), "ack")).reason == reason

    async def test_a_repeated_outcome_has_to_be_identical(self, bench: Bench) -> None:
        cmd_id = await bench.command()
        await bench(bench.plant.ack(cmd_id, "FAILED", err="TIMEOUT"), "ack")
        verdict = await bench(bench.plant.ack(cmd_id, "FAILED", err="TIMEOUT"), "ack")
        assert verdict.notes == (Note("ack-repeated", cmd_id),)
        verdict = await bench(bench.plant.ack(cmd_id, "FAILED", err="OTHER"), "ack")
        assert verdict.reason == "ack-changed-outcome"

    @pytest.mark.parametrize("forged", ["unsigned", "wrong", "foreign-key"])
    async def test_acknowledging_a_forged_command_is_refused(self, bench: Bench, forged: str) -> None:
        cmd_id = await bench.command(forged=forged)
        assert (await bench(bench.plant.ack(cmd_id, "FAILED"), "ack")).reason == "ack-forged-command"

    async def test_another_plants_command_is_unknown(self, bench: Bench) -> None:
        other = Plant()
        bench.judge.register(other.plant_id, other.hmac_key)
        cmd_id = await bench.command()
        verdict = await bench.judge.judge(other.topic("ack"), other.ack(cmd_id, "RECEIVED"), at=time.time())
        assert verdict.reason == "ack-unknown-command"


class TestAlarms:
    async def test_raise_and_resolve_each_as_often_as_delivery_needs(self, bench: Bench) -> None:
        repeated = (Note("alarm-repeated", "alarm-1"),)
        for ev, notes in [("RAISE", ()), ("RAISE", repeated), ("RESOLVE", ()), ("RESOLVE", repeated)]:
            verdict = await bench(bench.plant.alarm(ev), "alarm")
            assert (verdict.reason, verdict.notes) == (None, notes)

    async def test_an_instance_is_not_raised_again_after_its_resolve(self, bench: Bench) -> None:
        await bench(bench.plant.alarm("RAISE"), "alarm")
        await bench(bench.plant.alarm("RESOLVE"), "alarm")
        assert (await bench(bench.plant.alarm("RAISE"), "alarm")).reason == "alarm-order"
        assert (await bench(bench.plant.alarm("RAISE", "alarm-2"), "alarm")).reason is None

    @pytest.mark.parametrize("change", [{"code": 107}, {"sev": 2}])
    async def test_a_resolve_repeats_code_and_severity(self, bench: Bench, change: dict[str, Any]) -> None:
        await bench(bench.plant.alarm("RAISE"), "alarm")
        assert (await bench(bench.plant.alarm("RESOLVE", **change), "alarm")).reason == "alarm-changed"


class TestSigning:
    @pytest.mark.parametrize(
        "p", [None, {}, {"powerW": 1e16, "name": "é😀", "deep": {"b": [1, None], "a": -0.0}}]
    )
    async def test_commands_are_signed_over_what_javascript_parses(self, bench: Bench, p: Any) -> None:
        topic, payload = await bench.judge.sign(Command(bench.plant.plant_id, "c1", now_ms(), "CHARGE", p))
        assert topic == bench.topic("command")
        command = json.loads(payload)
        assert ("p" in command) == (p is not None)
        assert bench.plant.verifies_command(command)

    @pytest.mark.parametrize("forged", ["unsigned", "wrong", "foreign-key"])
    async def test_forged_commands_do_not_verify(self, bench: Bench, forged: Any) -> None:
        command = Command(bench.plant.plant_id, "c1", now_ms(), "CHARGE", {})
        _, payload = await bench.judge.sign(command, forged=forged)
        assert not bench.plant.verifies_command(json.loads(payload))
        assert ("sig" in json.loads(payload)) == (forged != "unsigned")

    async def test_a_command_for_an_unregistered_plant_is_an_error(self, bench: Bench) -> None:
        with pytest.raises(JudgeError, match="not registered"):
            await bench.judge.sign(Command("nobody", "c1", now_ms(), "HOLD"))

    async def test_parameters_that_are_not_json_are_an_error_and_the_judge_lives_on(
        self, bench: Bench
    ) -> None:
        with pytest.raises(ValueError, match="JSON"):
            await bench.judge.sign(Command(bench.plant.plant_id, "c1", now_ms(), "HOLD", {"a": float("nan")}))
        assert (await bench(bench.plant.telemetry())).reason is None


async def test_keys_are_not_in_the_judges_arguments_or_environment(bench: Bench) -> None:
    await bench(bench.plant.telemetry())
    process = f"/proc/{bench.judge.pid}"
    with open(f"{process}/cmdline", "rb") as arguments, open(f"{process}/environ", "rb") as environment:  # noqa: ASYNC230, PTH123
        assert bench.plant.hmac_key not in arguments.read() + environment.read()


async def test_a_judge_that_dies_fails_those_who_wait_and_those_who_come(bench: Bench) -> None:
    bench.judge.kill()
    with pytest.raises(JudgeError, match="ended unexpectedly"):
        await bench(bench.plant.telemetry())
    with pytest.raises(JudgeError, match="ended unexpectedly"):
        await bench(bench.plant.telemetry())


def cpu_seconds(pid: int) -> float:
    """What the process has used of a CPU, whatever else the machine does; and this one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + time.process_time()


async def test_it_keeps_up_with_a_thousand_messages_a_second(bench: Bench) -> None:
    plants = [Plant() for _ in range(500)]
    for plant in plants:
        bench.judge.register(plant.plant_id, plant.hmac_key)
    devices = [
        device(externalId=f"INV{i}", values={f"field{j}": j + 0.5 for j in range(10)}) for i in range(3)
    ]
    messages = [(plant.topic(), plant.telemetry(*devices)) for plant in plants for _ in range(10)]
    verdicts: list[Verdict] = []
    started = cpu_seconds(bench.judge.pid)
    for topic, payload in messages:
        bench.judge.submit(topic, payload, at=time.time(), retain=False, then=verdicts.append)
    await bench(bench.plant.telemetry())
    rate = len(messages) / (cpu_seconds(bench.judge.pid) - started)
    sys.stdout.write(
        f"judged {rate:,.0f} messages of {len(messages[0][1])} bytes per CPU second, of {len(plants)} plants\n"
    )
    assert {verdict.reason for verdict in verdicts} == {None}
    assert len(verdicts) == len(messages)
    assert rate > 1000
