"""Envelopes: what goes on the wire, and what a command must look like to be taken."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_gateway.clock import milliseconds
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.envelope import (
    ENVELOPE_BYTES,
    MAX_BYTES,
    MalformedCommandError,
    fits,
    iso_timestamp,
    new_nonce,
    parse_command,
    seal_ack,
    seal_alarm,
    seal_info,
    seal_telemetry,
)
from voke_gateway.protocol.sign import Signer

PLANT = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = b"test-secret-32-characters-long!!"
SIGNER = Signer(PLANT, KEY)
TS = 1_700_000_000_000
NONCE = "0123456789abcdef"

COMMAND = {"cmdId": "c-1", "ts": TS, "type": "CHARGE", "p": {"powerW": 5000.0, "a": 1}, "sig": "00"}

WRONG: dict[str, tuple[object, ...]] = {
    "ts": (None, True, "1700000000000", 1700000000000.5, 1e300, 2**60, [], {}),
    "cmdId": (None, 7, "", "a|b", "x" * 129, "\ud800", ["c"]),
    "type": (None, 7, "", "A|B", "\ud800"),
}

bodies = st.dictionaries(st.text(max_size=5), st.floats() | st.text(max_size=5), max_size=4).map(
    lambda body: {key: value for key, value in body.items() if key not in {"ts", "n", "sig"}}
)


@given(bodies)
def test_a_sealed_snapshot_is_the_body_with_an_envelope(body: dict[str, Any]) -> None:
    text = canonical(body)
    message = seal_telemetry(SIGNER, text, TS, NONCE)
    fields = json.loads(message)
    sig = fields.pop("sig")
    assert (fields.pop("n"), fields.pop("ts")) == (NONCE, TS)
    assert canonical(fields) == text
    assert sig == SIGNER.telemetry(TS, NONCE, text)
    assert seal_info(SIGNER, text, TS, NONCE) == message


def test_sealing_adds_what_it_says() -> None:
    body = canonical({"devices": [], "timestamp": "2026-11-22T09:30:00.000Z"})
    assert len(seal_telemetry(SIGNER, body, TS, new_nonce())) == len(body) + ENVELOPE_BYTES
    assert len(seal_telemetry(SIGNER, b"{}", TS, new_nonce())) == len(b"{}") + ENVELOPE_BYTES - 1


def test_what_fits_is_at_most_the_limit_once_sealed() -> None:
    room = MAX_BYTES - ENVELOPE_BYTES - len('{"a":""}')
    largest, larger = canonical({"a": "x" * room}), canonical({"a": "x" * (room + 1)})
    assert fits(largest)
    assert not fits(larger)
    assert len(seal_telemetry(SIGNER, largest, TS, NONCE)) == MAX_BYTES == 8192


def test_a_sealed_acknowledgement() -> None:
    content = canonical({"cmdId": "c-1", "st": "FAILED", "err": "STALE", "msg": "too old"})
    fields = json.loads(seal_ack(SIGNER, content, TS, NONCE))
    assert fields.pop("sig") == SIGNER.ack("c-1", TS, "FAILED", NONCE)
    assert fields == {"cmdId": "c-1", "st": "FAILED", "err": "STALE", "msg": "too old", "ts": TS, "n": NONCE}


def test_a_sealed_alarm() -> None:
    content = canonical(
        {"ev": "RAISE", "alarmId": "a-1", "code": 106, "sev": 3, "detail": {"device": "BAT1"}}
    )
    fields = json.loads(seal_alarm(SIGNER, content, TS, NONCE))
    assert fields.pop("sig") == SIGNER.alarm(TS, NONCE, "RAISE", "a-1", 106, 3)
    assert fields == {**json.loads(content), "ts": TS, "n": NONCE}


@pytest.mark.parametrize("missing", ["ev", "alarmId", "code", "sev"])
def test_an_alarm_without_a_signed_part_is_refused(missing: str) -> None:
    content = {"ev": "RAISE", "alarmId": "a-1", "code": 106, "sev": 3}
    del content[missing]
    with pytest.raises(ValueError, match=missing):
        seal_alarm(SIGNER, canonical(content), TS, NONCE)


@pytest.mark.parametrize("missing", ["cmdId", "st"])
def test_an_acknowledgement_without_a_signed_part_is_refused(missing: str) -> None:
    content = {"cmdId": "c-1", "st": "FAILED"}
    del content[missing]
    with pytest.raises(ValueError, match=missing):
        seal_ack(SIGNER, canonical(content), TS, NONCE)


def test_nonces_are_sixteen_hex_digits_and_differ() -> None:
    nonces = {new_nonce() for _ in range(1000)}
    assert len(nonces) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{16}", nonce) for nonce in nonces)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
        (1_709_164_800.001, "2024-02-29T00:00:00.001Z"),
        (-0.25, "1969-12-31T23:59:59.750Z"),
    ],
)
def test_a_timestamp_is_utc_with_milliseconds_rounded_down(seconds: float, text: str) -> None:
    assert iso_timestamp(seconds) == text


@given(st.floats(0, 250_000_000_000))
def test_a_timestamp_names_the_same_millisecond_as_a_ts(seconds: float) -> None:
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds(seconds))
    assert datetime.fromisoformat(iso_timestamp(seconds)) == expected


def test_a_command_is_taken_apart() -> None:
    message = parse_command(json.dumps(COMMAND).encode())
    assert (message.cmd_id, message.ts, message.type, message.sig) == ("c-1", TS, "CHARGE", "00")
    assert message.p == {"powerW": 5000, "a": 1}
    assert message.p_canonical == b'{"a":1,"powerW":5000}'


def test_a_command_without_p_is_told_from_one_with_null() -> None:
    absent = parse_command(json.dumps({**COMMAND, "p": 0}).replace('"p": 0, ', "").encode())
    null = parse_command(json.dumps({**COMMAND, "p": None}).encode())
    assert (absent.p, absent.p_canonical) == (None, None)
    assert (null.p, null.p_canonical) == (None, b"null")


def test_parameters_that_are_no_object_can_still_be_verified_and_refused() -> None:
    assert parse_command(json.dumps({**COMMAND, "p": [1.0]}).encode()).p_canonical == b"[1]"


@pytest.mark.parametrize("sig", [None, 5, ["00"], {}])
def test_a_signature_that_is_no_string_is_none(sig: object) -> None:
    assert parse_command(json.dumps({**COMMAND, "sig": sig}).encode()).sig is None


def test_unknown_keys_are_ignored() -> None:
    assert parse_command(json.dumps({**COMMAND, "target": "BAT1"}).encode()).cmd_id == "c-1"


@pytest.mark.parametrize("ts", ["1700000000000", "1700000000000.0", "1.7e12", "17E+11"])
def test_a_whole_number_is_a_ts_however_it_is_written(ts: str) -> None:
    message = parse_command(json.dumps(COMMAND).replace(str(TS), ts).encode())
    assert message.ts == TS
    assert type(message.ts) is int


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in WRONG.items() for value in values],
    ids=lambda each: ascii(each)[:20],
)
def test_a_wrong_field_makes_a_command_malformed(key: str, value: object) -> None:
    with pytest.raises(MalformedCommandError, match=key):
        parse_command(json.dumps({**COMMAND, key: value}).encode())


@pytest.mark.parametrize("key", ["ts", "cmdId", "type"])
def test_a_missing_field_makes_a_command_malformed(key: str) -> None:
    with pytest.raises(MalformedCommandError, match=key):
        parse_command(json.dumps({other: value for other, value in COMMAND.items() if other != key}).encode())


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"null", b'"x"', b"[" * 8000], ids=ascii)
def test_what_is_no_object_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedCommandError):
        parse_command(payload)


@pytest.mark.parametrize("ts", ["1e400", "-1e400", "NaN"])
def test_a_ts_beyond_all_doubles_is_malformed(ts: str) -> None:
    with pytest.raises(MalformedCommandError):
        parse_command(json.dumps(COMMAND).replace(str(TS), ts).encode())


def test_the_longest_command_id_is_taken() -> None:
    assert parse_command(json.dumps({**COMMAND, "cmdId": "é" * 128}).encode()).cmd_id == "é" * 128


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.fixed_dictionaries({}, optional={key: odd | st.just(value) for key, value in COMMAND.items()}))
def test_a_command_is_taken_or_malformed_and_nothing_else(fields: dict[str, object]) -> None:
    try:
        message = parse_command(json.dumps(fields).encode())
    except MalformedCommandError:
        return
    assert not SIGNER.verifies_command(
        message.cmd_id, message.ts, message.type, message.p_canonical, message.sig
    )


@given(st.binary(max_size=40))
def test_any_bytes_are_a_command_or_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedCommandError):
        parse_command(payload)
