"""Each mistake that people make when they sign, built by an independent signer, is named."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voke_cli.messages.captured import Captured
from voke_cli.messages.diagnosis import Check, Known, Outcome, diagnose

PLANT = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = "9f0c2d4e6a8b1c3d5e7f90123456789abcdef0123456789abcdef0123456789a"
TS = 1_795_316_927_072
N = "4fa86966dd0aeb4c"
BODY: dict[str, Any] = {
    "timestamp": "2026-11-22T09:30:00.000Z",
    "devices": [
        {"type": "INVERTER", "externalId": "INV1", "values": {"voltageV": 230.5, "state": "on/off"}},
        {"externalId": "R1", "type": "CABINET", "raw": 12},
    ],
}
ODD: dict[str, Any] = {
    "timestamp": "2026-11-22T09:30:00.000Z",
    "devices": [
        {"type": "INVERTER", "externalId": "INV1", "values": {"voltageV": 231.0, "x": 1e-7, "state": "žlutý"}}
    ],
}
P: dict[str, Any] = {"powerW": 5000, "durationS": 60}
COMMAND: dict[str, Any] = {"cmdId": "C4D5-a", "ts": TS, "type": "CHARGE", "p": P}
ACK: dict[str, Any] = {"cmdId": "C4D5-a", "ts": TS, "st": "COMPLETED", "n": N}
ALARM: dict[str, Any] = {"ts": TS, "n": N, "ev": "RAISE", "alarmId": "a-1", "code": 106, "sev": 3}


def mac(text: str, key: str | bytes = KEY) -> str:
    raw = key.encode() if isinstance(key, str) else key
    return hmac.new(raw, text.encode(), hashlib.sha256).hexdigest()


def compact(value: Any, **options: Any) -> str:
    """JSON as a careful person writes it in Python; right where no number and no order trips it up."""
    defaults = {"separators": (",", ":"), "sort_keys": True, "ensure_ascii": False}
    return json.dumps(value, **{**defaults, **options})


def telemetry(text: str, key: str | bytes = KEY, body: dict[str, Any] = BODY, **head: Any) -> dict[str, Any]:
    return {"ts": TS, "n": N, **head, "sig": mac(text, key), **body}


def joined(*parts: object) -> str:
    return "|".join(map(str, parts))


RIGHT = joined(PLANT, TS, N, compact(BODY))


def found(
    message: dict[str, Any] | str, kind: str = "telemetry", **known: Any
) -> tuple[str, tuple[str, ...]]:
    """What verify says about the signature, and the mistakes it names."""
    payload = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
    against = {"key": KEY.encode(), "at": TS / 1000, "window": 30.0, "command_window": 300.0, **known}
    diagnosis = diagnose(Captured(payload.encode(), f"cpi/{PLANT}/{kind}"), Known(**against))
    (finding,) = [each for each in diagnosis.findings if each.check is Check.SIGNATURE]
    for secret in (KEY, KEY.upper(), bytes.fromhex(KEY).hex(), str(bytes.fromhex(KEY))):
        assert secret not in repr(diagnosis)
    return finding.message, finding.mistakes


def test_a_right_signature_is_right() -> None:
    assert found(telemetry(RIGHT)) == ("right", ())
    for document, text, kind in (
        (ACK, joined(PLANT, "C4D5-a", TS, "COMPLETED", N), "ack"),
        (ALARM, joined(PLANT, TS, N, "RAISE", "a-1", 106, 3), "alarm"),
        (COMMAND, joined(PLANT, "C4D5-a", TS, "CHARGE", compact(P)), "command"),
    ):
        assert found({**document, "sig": mac(text)}, kind) == ("right", ())


@pytest.mark.parametrize("absent", ["", "{}"])
def test_an_absent_p_may_be_signed_as_nothing_or_as_an_empty_object(absent: str) -> None:
    command = {"cmdId": "c", "ts": TS, "type": "HOLD"}
    text = joined(PLANT, "c", TS, "HOLD", absent)
    assert found({**command, "sig": mac(text)}, "command") == ("right", ())


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        # how the body is written
        ("number-form", telemetry(joined(PLANT, TS, N, compact(ODD)), body=ODD)),
        ("key-order", telemetry(joined(PLANT, TS, N, compact(BODY, sort_keys=False)))),
        ("white-space", telemetry(joined(PLANT, TS, N, compact(BODY, separators=(", ", ": "))))),
        ("white-space", telemetry(joined(PLANT, TS, N, json.dumps(BODY, indent=2, sort_keys=True)))),
        ("escapes", telemetry(joined(PLANT, TS, N, compact(BODY).replace("/", "\\/")))),
        # what belongs to the body
        ("body-members", telemetry(joined(PLANT, TS, N, compact({**BODY, "ts": TS})))),
        ("body-members", telemetry(joined(PLANT, TS, N, compact({**BODY, "n": N})))),
        ("body-members", telemetry(joined(PLANT, TS, N, compact({**BODY, "ts": TS, "n": N})))),
        ("body-members", telemetry(joined(PLANT, TS, N, compact({**BODY, "ts": TS, "n": N, "sig": ""})))),
        ("body-members", telemetry(joined(PLANT, TS, N, compact({"devices": BODY["devices"]})))),
        ("body-members", telemetry(joined(PLANT, TS, N, compact(BODY["devices"])))),
        # the other parts
        ("ts-seconds", telemetry(joined(PLANT, TS // 1000, N, compact(BODY)))),
        ("ts-seconds", telemetry(joined(PLANT, TS / 1000, N, compact(BODY)))),
        ("ts-float", telemetry(joined(PLANT, float(TS), N, compact(BODY)))),
        ("ts-quoted", telemetry(joined(PLANT, f'"{TS}"', N, compact(BODY)))),
        ("timestamp-for-ts", telemetry(joined(PLANT, BODY["timestamp"], N, compact(BODY)))),
        ("plant-id-upper-case", telemetry(joined(PLANT.upper(), TS, N, compact(BODY)))),
        ("plant-id-short", telemetry(joined(PLANT.replace("-", ""), TS, N, compact(BODY)))),
        ("plant-id-short", telemetry(joined(PLANT[:8], TS, N, compact(BODY)))),
        ("user-name", telemetry(joined(f"plc-{PLANT[:8]}", TS, N, compact(BODY)))),
        ("external-id", telemetry(joined("INV1", TS, N, compact(BODY)))),
        ("id-form", telemetry(joined(PLANT, TS, N.upper(), compact(BODY)))),
        # how the parts are put together
        ("separator", telemetry(RIGHT.replace("|", ":"))),
        ("separator", telemetry(RIGHT.replace("|", " | "))),
        ("separator", telemetry(RIGHT.replace("|", ""))),
        ("text-end", telemetry(RIGHT + "\n")),
        ("part-missing", telemetry(joined(TS, N, compact(BODY)))),
        ("part-missing", telemetry(joined(PLANT, TS, compact(BODY)))),
        ("part-missing", telemetry(compact(BODY))),
        ("part-order", telemetry(joined(PLANT, N, TS, compact(BODY)))),
        # the key
        ("key-newline", telemetry(RIGHT, KEY + "\n")),
        ("key-newline", telemetry(RIGHT, KEY + "\r\n")),
        ("key-hex-decoded", telemetry(RIGHT, bytes.fromhex(KEY))),
        ("key-letter-case", telemetry(RIGHT, KEY.upper())),
        ("key-base64-decoded", telemetry(RIGHT, base64.b64decode(KEY))),
        ("key-base64-encoded", telemetry(RIGHT, base64.b64encode(KEY.encode()))),
        ("key-quoted", telemetry(RIGHT, f'"{KEY}"')),
        ("key-empty", telemetry(RIGHT, "")),
        # the signature itself
        ("upper-case-hex", telemetry(RIGHT) | {"sig": mac(RIGHT).upper()}),
        ("sig-base64", telemetry(RIGHT) | {"sig": base64.b64encode(bytes.fromhex(mac(RIGHT))).decode()}),
        ("sig-decorated", telemetry(RIGHT) | {"sig": f"sha256={mac(RIGHT)}"}),
        ("other-hash", telemetry(RIGHT) | {"sig": hmac.new(KEY.encode(), RIGHT.encode(), "sha512").hexdigest()}),
        ("hash-without-key", telemetry(RIGHT) | {"sig": hashlib.sha256(RIGHT.encode()).hexdigest()}),
        ("hash-not-hmac", telemetry(RIGHT) | {"sig": hashlib.sha256((KEY + RIGHT).encode()).hexdigest()}),
        ("key-and-text-swapped", telemetry(RIGHT) | {"sig": mac(KEY, RIGHT)}),
        ("malformed", telemetry(RIGHT) | {"sig": mac(RIGHT)[:-1]}),
        ("unknown", telemetry(RIGHT, "another key")),
    ],
)  # fmt: skip
def test_one_mistake_in_telemetry_is_named(mistake: str, message: dict[str, Any]) -> None:
    text, mistakes = found(message)
    assert mistakes == (mistake,), text


@pytest.mark.parametrize(
    ("mistake", "message", "kind"),
    [
        ("part-order", ACK | {"sig": mac(joined(PLANT, TS, N, "C4D5-a", "COMPLETED"))}, "ack"),
        ("part-order", ACK | {"sig": mac(joined(PLANT, "C4D5-a", "COMPLETED", TS, N))}, "ack"),
        ("part-missing", ACK | {"sig": mac(joined(PLANT, "C4D5-a", TS, "COMPLETED"))}, "ack"),
        ("st-letter-case", ACK | {"sig": mac(joined(PLANT, "C4D5-a", TS, "completed", N))}, "ack"),
        ("other-kind", ACK | {"sig": mac(joined(PLANT, TS, N, compact({"cmdId": "C4D5-a", "st": "COMPLETED"})))}, "ack"),
        ("id-form", ACK | {"sig": mac(joined(PLANT, "c4d5-a", TS, "COMPLETED", N))}, "ack"),
        ("part-order", ALARM | {"sig": mac(joined(PLANT, TS, N, "RAISE", "a-1", 3, 106))}, "alarm"),
        ("part-order", ALARM | {"sig": mac(joined(PLANT, "a-1", TS, "RAISE", N, 106, 3))}, "alarm"),
        ("part-missing", ALARM | {"sig": mac(joined(PLANT, TS, N, "RAISE", "a-1", 106))}, "alarm"),
        ("severity-name", ALARM | {"sig": mac(joined(PLANT, TS, N, "RAISE", "a-1", 106, "CRITICAL"))}, "alarm"),
        ("code-form", ALARM | {"sig": mac(joined(PLANT, TS, N, "RAISE", "a-1", 106.0, 3))}, "alarm"),
        ("code-form", ALARM | {"sig": mac(joined(PLANT, TS, N, "RAISE", "a-1", "0106", 3))}, "alarm"),
        ("key-order", COMMAND | {"sig": mac(joined(PLANT, "C4D5-a", TS, "CHARGE", compact(P, sort_keys=False)))}, "command"),
        ("body-members", COMMAND | {"sig": mac(joined(PLANT, "C4D5-a", TS, "CHARGE", compact(COMMAND)))}, "command"),
        ("part-order", COMMAND | {"sig": mac(joined(PLANT, TS, "C4D5-a", "CHARGE", compact(P)))}, "command"),
        ("part-missing", COMMAND | {"sig": mac(joined(PLANT, "C4D5-a", TS, "CHARGE"))}, "command"),
        ("p-absent", {"cmdId": "c", "ts": TS, "type": "HOLD", "sig": mac(joined(PLANT, "c", TS, "HOLD", "null"))}, "command"),
    ],
)  # fmt: skip
def test_one_mistake_in_an_ack_an_alarm_or_a_command_is_named(
    mistake: str, message: dict[str, Any], kind: str
) -> None:
    text, mistakes = found(message, kind)
    assert mistakes == (mistake,), text


def test_numbers_are_shown_as_they_were_signed_and_as_voke_has_them() -> None:
    text, _ = found(telemetry(joined(PLANT, TS, N, compact(ODD)), body=ODD))
    assert "231.0 instead of 231" in text
    small = {"devices": [{"externalId": "M1", "type": "METER", "values": {"i": 1e-7}}]}
    text, mistakes = found(telemetry(joined(PLANT, TS, N, compact(small)), body=small))
    assert "1e-07 instead of 1e-7" in text
    assert mistakes == ("number-form",)


def test_numbers_that_were_signed_whole_and_sent_otherwise_are_found() -> None:
    """A language with one number type prints 231 on the wire and 231.0 into its HMAC, or the reverse."""
    body = {"devices": [{"externalId": "M1", "type": "METER", "values": {"u": 231}}]}
    text, mistakes = found(telemetry(joined(PLANT, TS, N, compact(body).replace("231", "231.0")), body=body))
    assert mistakes == ("number-form",)
    assert "231.0 instead of 231" in text


def test_the_defaults_of_pythons_json_are_several_mistakes_at_once() -> None:
    text = joined(PLANT, TS, N, json.dumps(ODD))
    said, mistakes = found(telemetry(text, body=ODD))
    assert set(mistakes) == {"number-form", "key-order", "white-space", "escapes"}, said


def test_a_mistake_in_the_body_and_one_in_the_key_are_both_found() -> None:
    _, mistakes = found(telemetry(joined(PLANT, TS, N, json.dumps(ODD)), KEY + "\n", body=ODD))
    assert set(mistakes) == {"number-form", "key-order", "white-space", "escapes", "key-newline"}


def test_two_mistakes_beside_the_body_are_both_found() -> None:
    text = joined(PLANT.upper(), TS // 1000, N, compact(BODY))
    assert set(found(telemetry(text))[1]) == {"plant-id-upper-case", "ts-seconds"}
    text = joined(PLANT, TS // 1000, N, compact(BODY))
    assert set(found(telemetry(text, bytes.fromhex(KEY)))[1]) == {"key-hex-decoded", "ts-seconds"}
    assert set(found(telemetry(text) | {"sig": mac(text).upper()})[1]) == {"upper-case-hex", "ts-seconds"}


def test_keys_beyond_the_first_unicode_plane_sort_by_utf_16_unit() -> None:
    values = {"\uff61": 1, "😀": 2}
    body = {"devices": [{"externalId": "M1", "type": "METER", "values": values}]}
    assert found(telemetry(joined(PLANT, TS, N, compact(body)), body=body))[1] == ("key-order",)


def test_go_and_csharp_escape_what_javascript_does_not() -> None:
    body = {"devices": [{"externalId": "M1", "type": "METER", "values": {"s": "a<b", "t": "ž"}}]}
    go = compact(body).replace("<", "\\u003c")
    csharp = compact(body).replace("ž", "\\u017E")
    assert found(telemetry(joined(PLANT, TS, N, go), body=body))[1] == ("escapes",)
    assert found(telemetry(joined(PLANT, TS, N, csharp), body=body))[1] == ("escapes",)


def test_a_signature_over_the_message_as_it_was_before_it_had_one_is_recognised() -> None:
    unsigned = {"ts": TS, "n": N, **BODY}
    message = unsigned | {"sig": mac(joined(PLANT, TS, N, json.dumps(unsigned)))}
    assert set(found(message)[1]) == {"body-members", "key-order", "white-space"}


def test_a_ts_sent_in_seconds_is_an_envelope_fault_though_the_signature_fits_it() -> None:
    text = joined(PLANT, TS // 1000, N, compact(BODY))
    message = telemetry(text) | {"ts": TS // 1000}
    assert found(message) == ("right", ())
    diagnosis = diagnose(
        Captured(json.dumps(message).encode(), f"cpi/{PLANT}/telemetry"),
        Known(key=KEY.encode(), at=TS / 1000, window=30, command_window=300),
    )
    assert not diagnosis.accepted
    assert any("in seconds" in finding.message for finding in diagnosis.findings)


def test_a_ts_sent_as_a_string_is_said_to_be_that_even_where_the_signature_fits() -> None:
    text, mistakes = found(telemetry(RIGHT) | {"ts": str(TS)})
    assert mistakes == ()
    assert "not what Voke takes" in text


def test_the_key_of_another_plant_is_recognised() -> None:
    _, mistakes = found(telemetry(RIGHT, "other" * 8), other_keys={"brno": b"other" * 8})
    assert mistakes == ("other-plant-key",)


def test_an_unknown_cause_shows_the_text_that_has_to_be_signed() -> None:
    text, _ = found(telemetry(RIGHT, "another key"))
    assert RIGHT in text


scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8), scalars, min_size=1, max_size=5), st.booleans())
def test_whatever_python_sends_and_signs_is_right_or_explained(
    values: dict[str, Any],
    ascii_only: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    body = {"devices": [{"externalId": "M1", "type": "METER", "values": values}]}
    try:
        text = compact(body, ensure_ascii=ascii_only)
        text.encode()
    except UnicodeEncodeError:
        return
    message = compact(telemetry(joined(PLANT, TS, N, text), body=body), sort_keys=False)
    if any(isinstance(value, float) and value in (float("inf"), float("-inf")) for value in values.values()):
        return
    said, mistakes = found(message)
    assert said == "right" or set(mistakes) <= {"number-form", "key-order", "escapes"}, said


def test_outcomes_are_words_for_scripts() -> None:
    assert {str(outcome) for outcome in Outcome} == {"ok", "refused", "warning", "unchecked"}


def test_giving_up_on_a_full_message_says_so() -> None:
    devices = [
        {"type": "METER", "externalId": f"M{i}", "values": {"žu": 231.5, "p/q": 1e-7, "r": 12.0}}
        for i in range(80)
    ]
    body = {"timestamp": BODY["timestamp"], "devices": devices}
    text, mistakes = found(telemetry("changed", body=body))
    assert mistakes == ("unknown",), text
