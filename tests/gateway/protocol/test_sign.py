"""Signatures: known digests, refusal without exceptions, and no key in sight."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_gateway.protocol.sign import (
    Signer,
    sign_ack,
    sign_alarm,
    sign_command,
    sign_telemetry,
    signatures_equal,
    verify_ack,
    verify_alarm,
    verify_command,
    verify_telemetry,
)

KEY = b"test-secret-32-characters-long!!"
TS = 1_700_000_000_000

TELEMETRY = "915666220f5e4906b5ef0ebeb44e115378799236e72d02b922eb37796a1c2fe5"
ACK = "6093baa16660a9cc5828b46f1836694bebe26acd5b5e8c9fc7538e3666e09de9"
ALARM = "03b8dfeadab9f11daaac08fda0f2afda5167dcf111c3484698dbe626a7c3a478"
COMMAND = "6bb889a1835c3bd6c10cd99056dfcf2987ce6c10830732bf31a901f1f12580ea"
BODY = b'{"humidity":60,"temperature":22.5}'

texts = st.text(st.characters(), max_size=12)
anything = (
    st.none()
    | st.integers()
    | st.binary()
    | st.text()
    | st.text(alphabet="0123456789abcdef", min_size=64, max_size=64)
)


def test_the_digest_of_joined_parts() -> None:
    """Underneath: the message is the parts joined with a pipe, the key the secret's bytes."""
    digest = hmac.new(KEY, b"device-1|1700000000000|abc123", hashlib.sha256).hexdigest()
    assert digest == "9076966e76ac9cf7d68429fbcaee50224bbf6a8792655915cd2b870b4822a185"


def test_known_digest_of_telemetry() -> None:
    assert sign_telemetry("device-abc", TS, "nonce-xyz", BODY, KEY) == TELEMETRY
    assert Signer("device-abc", KEY).telemetry(TS, "nonce-xyz", BODY) == TELEMETRY
    assert verify_telemetry("device-abc", TS, "nonce-xyz", BODY, KEY, TELEMETRY)
    assert not verify_telemetry("device-abc", TS + 1, "nonce-xyz", BODY, KEY, TELEMETRY)


def test_known_digest_of_an_acknowledgement() -> None:
    assert sign_ack("device-1", "cmd-1", TS, "COMPLETED", "ack-nonce-xyz", KEY) == ACK
    assert Signer("device-1", KEY).ack("cmd-1", TS, "COMPLETED", "ack-nonce-xyz") == ACK
    assert verify_ack("device-1", "cmd-1", TS, "COMPLETED", "ack-nonce-xyz", KEY, ACK)
    assert not verify_ack("device-1", "cmd-1", TS, "FAILED", "ack-nonce-xyz", KEY, ACK)


def test_known_digest_of_an_alarm() -> None:
    assert sign_alarm("device-1", TS, "a1b2c3d4", "RAISE", "alarm-1", 106, 3, KEY) == ALARM
    assert Signer("device-1", KEY).alarm(TS, "a1b2c3d4", "RAISE", "alarm-1", 106, 3) == ALARM
    assert verify_alarm("device-1", TS, "a1b2c3d4", "RAISE", "alarm-1", 106, 3, KEY, ALARM)
    assert not verify_alarm("device-1", TS, "a1b2c3d4", "RESOLVE", "alarm-1", 106, 3, KEY, ALARM)


def test_known_digest_of_a_command() -> None:
    signer = Signer("device-1", KEY)
    assert sign_command("device-1", "cmd-1", TS, "GET_INFO", b"{}", KEY) == COMMAND
    assert signer.command("cmd-1", TS, "GET_INFO", b"{}") == COMMAND
    assert verify_command("device-1", "cmd-1", TS, "GET_INFO", b"{}", KEY, COMMAND)
    assert signer.verifies_command("cmd-1", TS, "GET_INFO", b"{}", COMMAND)
    assert not signer.verifies_command("cmd-1", TS, "CHARGE", b"{}", COMMAND)


@pytest.mark.parametrize("signed_as", [b"", b"{}"], ids=["nothing", "{}"])
def test_an_absent_p_may_have_been_signed_in_two_ways(signed_as: bytes) -> None:
    sig = sign_command("device-1", "cmd-1", TS, "HOLD", signed_as, KEY)
    assert verify_command("device-1", "cmd-1", TS, "HOLD", None, KEY, sig)
    assert Signer("device-1", KEY).verifies_command("cmd-1", TS, "HOLD", None, sig)


def test_a_present_p_is_verified_as_it_is() -> None:
    for signed_as, sent in ((b"", b"{}"), (b"{}", b'{"a":1}'), (b"null", b"{}")):
        sig = sign_command("device-1", "cmd-1", TS, "HOLD", signed_as, KEY)
        assert not verify_command("device-1", "cmd-1", TS, "HOLD", sent, KEY, sig)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        1,
        b"x",
        [],
        "",
        "é" * 64,
        "\ud800",
        TELEMETRY.upper(),
        TELEMETRY[:-1],
        TELEMETRY + "0",
        TELEMETRY.encode(),
    ],
    ids=ascii,
)
def test_what_is_not_the_signature_is_refused_quietly(signature: object) -> None:
    assert not signatures_equal(TELEMETRY, signature)
    assert not verify_telemetry("device-abc", TS, "nonce-xyz", BODY, KEY, signature)


@given(st.lists(texts, min_size=3, max_size=3), st.integers(), st.none() | st.binary(max_size=8), anything)
def test_verifying_never_raises(parts: list[str], ts: int, p: bytes | None, signature: object) -> None:
    plant, one, other = parts
    assert not verify_command(plant, one, ts, other, p, KEY, signature)
    assert not verify_ack(plant, one, ts, other, one, KEY, signature)
    assert not verify_alarm(plant, ts, one, other, one, ts, ts, KEY, signature)
    assert not verify_telemetry(plant, ts, one, p or b"", KEY, signature)
    assert not verify_command(plant, one, ts, other, p, b"", signature)


@given(
    st.text(st.characters(exclude_characters="|", codec="utf-8"), max_size=9),
    st.integers(0, 2**53),
    st.binary(),
)
def test_what_was_signed_verifies_and_nothing_else(part: str, ts: int, body: bytes) -> None:
    signer = Signer("plant", KEY)
    sig = signer.telemetry(ts, part, body)
    assert sig == sign_telemetry("plant", ts, part, body, KEY)
    assert verify_telemetry("plant", ts, part, body, KEY, sig)
    assert not verify_telemetry("plant", ts, part, body + b"0", KEY, sig)
    assert not verify_telemetry("plant", ts, f"{part}0", body, KEY, sig)
    assert not verify_telemetry("plant2", ts, part, body, KEY, sig)
    assert not verify_telemetry("plant", ts, part, body, KEY + b"!", sig)


def test_a_separator_inside_a_part_is_refused() -> None:
    signer = Signer("plant", KEY)
    for sign in (
        lambda: signer.telemetry(TS, "a|b", b"{}"),
        lambda: signer.ack("cmd-1", TS, "FAILED|", "n"),
        lambda: signer.alarm(TS, "n", "RAISE", "a|1", 1, 1),
        lambda: Signer("plant|1", KEY),
    ):
        with pytest.raises(ValueError, match=r"must not contain '\|'"):
            sign()


def test_a_pipe_in_text_of_the_body_is_fine() -> None:
    body = b'{"state":"a|b"}'
    assert verify_telemetry("plant", TS, "n", body, KEY, sign_telemetry("plant", TS, "n", body, KEY))


def test_the_key_is_not_shown() -> None:
    signer = Signer("plant", KEY)
    assert repr(signer) == "Signer('plant')"
    assert KEY.decode() not in f"{signer!r} {signer}"


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="key is empty"):
        Signer("plant", b"")
