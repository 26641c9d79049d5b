"""``voke verify`` and ``voke sign``: what goes in, what is said, and that Voke's judge says the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from tests.support.plants import battery_document
from voke_api.resources import Plant
from voke_cli.main import app
from voke_cli.messages.captured import Captured, captured
from voke_cli.messages.diagnosis import Diagnosis, Known, Outcome, diagnose
from voke_cli.messages.sign import SignedKind, signed_message
from voke_cli.state import State
from voke_gateway.protocol import envelope
from voke_gateway.protocol.sign import Signer
from voke_sim.voke.judge import Judge

PLANT = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
OTHER = "00000000-0000-4000-8000-000000000000"
KEY = "an-hmac-key-that-nobody-may-ever-see-in-any-output"
TS = 1_795_316_927_072
METER: dict[str, Any] = {"externalId": "M1", "type": "METER", "values": {"powerW": 12.5, "ok": True}}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "telemetry": {"devices": [METER, {"externalId": "R1", "type": "CABINET", "raw": 5}]},
    "ack": {"cmdId": "c-1", "st": "RECEIVED"},
    "alarm": {"ev": "RAISE", "alarmId": "a-1", "code": 106, "sev": 3, "detail": {"device": "M1"}},
    "command": {"cmdId": "c-1", "type": "CHARGE", "p": {"powerW": 5000}},
}


def signed(kind: str, document: dict[str, Any] | None = None, *, n: str = "0123456789abcdef") -> bytes:
    """A message, signed whatever is in it."""
    document = DOCUMENTS[kind] if document is None else document
    added: dict[str, Any] = {"ts": TS} if kind == "command" else {"ts": TS, "n": n}
    payload = json.dumps(document).encode()
    return signed_message(SignedKind(kind), payload, Signer(PLANT, KEY.encode()), added)[0]


def about(payload: bytes, topic: str | None, *, at: float = TS / 1000, **known: Any) -> Diagnosis:
    against = {"key": KEY.encode(), "at": at, "window": 30.0, "command_window": 300.0, **known}
    return diagnose(Captured(payload, topic), Known(**against))


def complaints(diagnosis: Diagnosis) -> list[str]:
    return [f"{each.check}: {each.message}" for each in diagnosis.findings if each.outcome is Outcome.REFUSED]


# -- what goes in


def test_messages_are_taken_as_mosquitto_sub_prints_them() -> None:
    text = b'cpi/a/telemetry {"devices":[]}\ncpi/a/ack {"cmdId":"x y/z"}\n'
    assert captured(text) == [
        Captured(b'{"devices":[]}', "cpi/a/telemetry"),
        Captured(b'{"cmdId":"x y/z"}', "cpi/a/ack"),
    ]


def test_a_payload_may_come_alone_and_over_many_lines() -> None:
    text = json.dumps({"devices": [{"values": {"a/b": 1}}]}, indent=2).encode()
    assert captured(text + b"\n") == [Captured(text)]
    assert captured(b"cpi/a/telemetry " + text) == [Captured(text, "cpi/a/telemetry")]
    assert captured(b'{"a":1}\n{"a":2}\n') == [Captured(b'{"a":1}'), Captured(b'{"a":2}')]
    assert captured(b" \n") == []


def test_what_is_no_json_is_still_a_message() -> None:
    assert captured(b"cpi/a/telemetry hello\n") == [Captured(b"hello", "cpi/a/telemetry")]
    assert captured(b"hello") == [Captured(b"hello")]


# -- what is said


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_good_message_of_each_kind_is_taken(kind: str) -> None:
    diagnosis = about(signed(kind), f"cpi/{PLANT}/{kind}")
    assert diagnosis.accepted, complaints(diagnosis)
    assert (diagnosis.kind, diagnosis.plant_id) == (kind, PLANT)
    assert {each.outcome for each in diagnosis.findings} == {Outcome.OK}


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        (f"cpi/{PLANT}/alarm", "the content is a message of telemetry, which belongs to"),
        (f"cpi/{PLANT}/commands", "ends with command at Voke, not with commands"),
        (f"cpi/{PLANT}/info", "no page of Voke's says what belongs into info"),
        (f"cpi/{PLANT}/data/x", "is not one of telemetry, command, ack, alarm"),
        (f"cpi/{PLANT.upper()}/telemetry", f"UUID in lower case, {PLANT}"),
        ("cpi/brno/telemetry", "must hold the plant's UUID"),
        (f"cpi/{OTHER}/telemetry", f"is that of plant {OTHER}"),
        (f"/cpi/{PLANT}/telemetry", "not a topic of Voke's"),
    ],
)
def test_a_wrong_topic_is_said_to_be_one(topic: str, said: str) -> None:
    found = complaints(about(signed("telemetry"), topic, plant_id=PLANT))
    assert len(found) == 1
    assert found[0].startswith("topic: ")
    assert said in found[0]


def test_without_a_topic_the_rest_is_checked() -> None:
    diagnosis = about(signed("ack"), None, plant_id=PLANT)
    assert diagnosis.accepted
    assert [each.outcome for each in diagnosis.findings].count(Outcome.WARNING) == 1


def test_a_message_signed_for_the_topics_plant_and_not_the_given_one_says_both() -> None:
    diagnosis = about(signed("ack"), f"cpi/{PLANT}/ack", plant_id=OTHER)
    assert [finding.split(":")[0] for finding in complaints(diagnosis)] == ["topic", "signature"]
    assert diagnosis.findings[-2].mistakes == ("other-plant-id",)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b'{"a": NaN}', "NaN and Infinity are not JSON"),
        (b"{'a': 1}", "Python dict"),
        (b'{"a": True}', "true, false and null"),
        (b'{"a": 1,}', "no comma before"),
        (b"\xff", "not UTF-8"),
        (b"[]", "a message is a JSON object"),
        (b"{" * 5000, "not JSON"),
    ],
)
def test_what_is_not_json_is_said_with_the_likely_reason(payload: bytes, said: str) -> None:
    diagnosis = about(payload, f"cpi/{PLANT}/telemetry")
    assert not diagnosis.accepted
    assert [said in each for each in complaints(diagnosis)] == [True]


@pytest.mark.parametrize("depth", [70, 400, 600])
def test_deep_nesting_is_refused_and_no_crash(depth: int) -> None:
    payload = b'{"devices":' + b"[" * depth + b"]" * depth + b',"sig":"x","ts":1}'
    (said,) = complaints(about(payload, f"cpi/{PLANT}/telemetry"))
    assert said.startswith("json: "), said


def test_a_huge_message_is_refused_without_trying_every_mistake() -> None:
    devices = [METER | {"externalId": f"M{number}"} for number in range(5000)]
    payload = json.dumps({"ts": TS, "n": "0123456789abcdef", "sig": "0" * 64, "devices": devices}).encode()
    found = complaints(about(payload, f"cpi/{PLANT}/telemetry"))
    assert [said.split(":")[0] for said in found] == ["size", "signature"]


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_input_crashes_it(junk: bytes) -> None:
    for text in (junk, b"cpi/a/telemetry " + junk, b'cpi/a/ack {"sig":"x",' + junk):
        for message in captured(text):
            assert not about(message.payload, message.topic).accepted


def test_a_message_of_more_than_8192_bytes_is_too_large() -> None:
    exact = {"devices": [METER | {"values": {"s": ""}}]}
    exact["devices"][0]["values"]["s"] = "x" * (8192 - len(signed("telemetry", exact)))
    payload = signed("telemetry", exact)
    assert len(payload) == 8192
    assert about(payload, f"cpi/{PLANT}/telemetry").accepted
    assert "8193 bytes" in complaints(about(payload + b" ", f"cpi/{PLANT}/telemetry"))[0]


@pytest.mark.parametrize(
    ("late", "said"),
    [(31, "31 s before its arrival"), (-31, "31 s after its arrival"), (29, None), (-29, None)],
)
def test_the_replay_window_has_two_sides(late: float, said: str | None) -> None:
    found = complaints(about(signed("ack"), f"cpi/{PLANT}/ack", at=TS / 1000 + late))
    assert len(found) == (0 if said is None else 1)
    assert all(str(said) in each for each in found), found


def test_a_command_may_be_as_old_as_the_plant_allows() -> None:
    assert about(signed("command"), f"cpi/{PLANT}/command", at=TS / 1000 + 299).accepted
    assert not about(signed("command"), f"cpi/{PLANT}/command", at=TS / 1000 + 301).accepted


def test_a_missing_signature_is_refused() -> None:
    payload = json.dumps(DOCUMENTS["telemetry"] | {"ts": TS, "n": "0123456789abcdef"}).encode()
    assert complaints(about(payload, f"cpi/{PLANT}/telemetry"))[0].startswith("signature: sig is missing")


# -- the same as the judge, which is JavaScript and shares no code with this


def mutations(document: dict[str, Any], random: Random) -> Iterator[dict[str, Any]]:
    """The document with something in it that may be wrong."""
    odd: list[Any] = [None, "", "x", "a|b", 0, -1, 1.5, 2**32, 2**53, True, [], {}, "INV-1", "é", 1e12, "106"]
    while True:
        changed = copy.deepcopy(document)
        place: Any = changed
        while True:
            key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if isinstance(place[key], dict | list) and place[key] and random.random() < 0.7:
                place = place[key]
                continue
            break
        if random.random() < 0.3 and isinstance(place, dict):
            del place[key]
        else:
            place[key] = random.choice(odd)
        yield changed


def with_signature(kind: str, document: dict[str, Any]) -> bytes:
    """Signed where it can be, without a signature where not."""
    signer = Signer(PLANT, KEY.encode())
    try:
        ts, n = document.pop("ts"), document.pop("n")
        seal = getattr(envelope, f"seal_{kind}")
        body = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        message: bytes = seal(signer, body, ts, n)
    except (KeyError, TypeError, ValueError, AttributeError):
        return json.dumps(document).encode()
    return message


async def test_what_is_taken_and_what_not_is_what_the_judge_says() -> None:
    random = Random(7)
    judge = await Judge.start(replay_window=30.0)
    judge.register(PLANT, KEY.encode())
    agreed = {True: 0, False: 0}
    try:
        for kind in ("telemetry", "alarm"):
            changed = mutations(DOCUMENTS[kind] | {"ts": TS}, random)
            for number in range(160):
                document = next(changed) if number % 4 else copy.deepcopy(DOCUMENTS[kind] | {"ts": TS})
                document["n"] = f"{number:08x}{kind.encode().hex()[:8]}"
                if kind == "alarm" and isinstance(document.get("alarmId"), str):
                    document["alarmId"] += str(number)
                payload = with_signature(kind, document)
                topic = f"cpi/{PLANT}/{kind}"
                ours = about(payload, topic)
                theirs = await judge.judge(topic, payload, at=TS / 1000)
                if theirs.reason == "alarm-order" or any(
                    each.outcome is Outcome.WARNING for each in ours.findings
                ):
                    continue
                assert ours.accepted == (theirs.reason is None), (payload, theirs, complaints(ours))
                agreed[ours.accepted] += 1
    finally:
        await judge.close()
    assert min(agreed.values()) > 30, agreed


# -- the commands


@pytest.fixture(autouse=True)
def _no_state_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "hmac.key"
    path.write_text(KEY + "\n")
    return str(path)


def voke(*arguments: str, text: str | bytes = "") -> Result:
    result = CliRunner().invoke(app, list(arguments), input=text)
    assert KEY not in result.output
    assert KEY[:20] not in result.output
    return result


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_what_is_signed_verifies(kind: str, key_file: str) -> None:
    made = voke(
        *("sign", kind, "--plant-id", PLANT, "--key-file", key_file, "--with-topic"),
        text=json.dumps(DOCUMENTS[kind]),
    )
    assert made.exit_code == 0, made.output
    checked = voke("verify", "--key-file", key_file, text=made.stdout)
    assert checked.exit_code == 0, checked.output
    what = "the plant takes it" if kind == "command" else "Voke takes it"
    assert checked.stdout.startswith(what)


def test_what_is_refused_ends_with_1_and_says_why(key_file: str) -> None:
    message = signed("ack").replace(b"RECEIVED", b"COMPLETED")
    line = f"cpi/{PLANT}/ack {message.decode()}"
    checked = voke("verify", "-", "--key-file", key_file, "--at", str(TS), text=line)
    assert checked.exit_code == 1
    assert "signature REFUSED" in checked.stdout
    assert f"{PLANT}|c-1|{TS}|COMPLETED|0123456789abcdef" in checked.stdout


def test_scripts_get_json(key_file: str) -> None:
    line = f"cpi/{PLANT}/ack {signed('ack').decode()}\ncpi/{PLANT}/ack {signed('ack').decode()}\n"
    checked = voke("verify", "--key-file", key_file, "--at", "2026-11-22T03:08:47Z", "--json", text=line)
    answer = json.loads(checked.stdout)
    assert checked.exit_code == 1
    assert [each["accepted"] for each in answer["messages"]] == [True, False]
    assert answer["messages"][0]["kind"] == "ack"
    last = answer["messages"][1]["findings"][-1]
    assert (last["check"], last["outcome"]) == ("replay", "refused")
    assert "was used by an earlier message" in last["message"]


def test_the_key_is_found_in_the_state_directory(tmp_path: Path) -> None:
    plant = Plant.model_validate_json(json.dumps(battery_document()), strict=True)
    made = State(tmp_path).generated(plant, datetime.now(UTC))
    state = ("--state", str(tmp_path))
    line = voke("sign", "ack", "--plant", "site", "--with-topic", *state, text=json.dumps(DOCUMENTS["ack"]))
    assert line.exit_code == 0, line.output
    for arguments in (("verify", *state), ("verify", "--plant", "site", *state)):
        checked = voke(*arguments, text=line.stdout)
        assert checked.exit_code == 0, checked.output
        assert made["hmac.key"].decode().strip() not in checked.output
    unknown = voke("verify", *state, text=line.stdout.replace(PLANT, OTHER))
    assert unknown.exit_code == 2
    assert "site" in unknown.output


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (("verify", "--state", "/nonexistent"), f"cpi/{PLANT}/ack {{}}", "--key-file"),
        (("verify", "--key-file", "/nonexistent"), "{}", "cannot read /nonexistent"),
        (("verify", "/nonexistent"), "", "cannot read /nonexistent"),
        (("verify",), "", "no message"),
        (("verify", "--at", "noon"), "{}", "2026-11-22T09:30:00Z"),
        (("verify", "--window", "30"), "{}", "500ms"),
        (("sign", "ack", "--key-file", "KEY"), "{}", "--plant-id"),
        (("sign", "smoke"), "{}", "telemetry"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_remedy(
    arguments: tuple[str, ...], text: str, said: str, key_file: str
) -> None:
    result = voke(*(key_file if each == "KEY" else each for each in arguments), text=text)
    assert result.exit_code == 2, result.output
    assert said in result.output


@pytest.mark.parametrize(
    ("kind", "document", "said"),
    [
        ("telemetry", {"devices": [{"externalId": "inv1", "type": "INVERTER", "values": {}}]}, "externalId"),
        ("ack", {"cmdId": "x", "st": "DONE"}, "RECEIVED, IN_PROGRESS"),
        ("ack", {"cmdId": "x", "st": "RECEIVED", "sig": "x"}, "has a sig already"),
        ("alarm", {"ev": "RAISE", "alarmId": "a|b", "code": 1, "sev": 1}, "has no |"),
        ("telemetry", {"devices": [METER | {"values": {"s": "x" * 9000}}]}, "the message has"),
        ("telemetry", [], "JSON object"),
    ],
)
def test_what_voke_would_refuse_is_not_signed(kind: str, document: Any, said: str, key_file: str) -> None:
    text = json.dumps(document)
    result = voke("sign", kind, "--plant-id", PLANT, "--key-file", key_file, text=text)
    assert result.exit_code == 1
    assert said in result.output


def test_the_text_that_is_signed_can_be_seen(key_file: str) -> None:
    document = json.dumps(DOCUMENTS["ack"] | {"ts": TS, "n": "0123456789abcdef"})
    shown = voke("sign", "ack", "--plant-id", PLANT, "--key-file", key_file, "--text", text=document)
    assert shown.stdout == f"{PLANT}|c-1|{TS}|RECEIVED|0123456789abcdef\n"
