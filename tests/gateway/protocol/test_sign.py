"""Signatures: known digests, refusal without exceptions, and no key in sight."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_gateway.protocol.sign import Signer, signatures_equal

KEY = b"test-secret-32-characters-long!!"
TS = 1_700_000_000_000

TELEMETRY = "915666220f5e4906b5ef0ebeb44e115378799236e72d02b922eb37796a1c2fe5"
ACK = "6093baa16660a9cc5828b46f1836694bebe26acd5b5e8c9fc7538e3666e09de9"
ALARM = "03b8dfeadab9f11daaac08fda0f2afda5167dcf111c3484698dbe626a7c3a478"
COMMAND = "6bb889a1835c3bd6c10cd99056dfcf2987ce6c10830732bf31a901f1f12580ea"
BODY = b'{"humidity":60,"temperature":22.5}'

texts = st.text(st.characters(), max_size=12)
part = st.text(st.characters(exclude_characters="|", codec="utf-8"), max_size=9)
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
    assert Signer("device-abc", KEY).telemetry(TS, "nonce-xyz", BODY) == TELEMETRY


def test_known_digest_of_an_acknowledgement() -> None:
    assert Signer("device-1", KEY).ack("cmd-1", TS, "COMPLETED", "ack-nonce-xyz") == ACK


def test_known_digest_of_an_alarm() -> None:
    assert Signer("device-1", KEY).alarm(TS, "a1b2c3d4", "RAISE", "alarm-1", 106, 3) == ALARM


def test_known_digest_of_a_command() -> None:
    signer = Signer("device-1", KEY)
    assert signer.command("cmd-1", TS, "GET_INFO", b"{}") == COMMAND
    assert signer.verifies_command("cmd-1", TS, "GET_INFO", b"{}", COMMAND)
    assert not signer.verifies_command("cmd-1", TS, "CHARGE", b"{}", COMMAND)


@pytest.mark.parametrize("signed_as", [b"", b"{}"], ids=["nothing", "{}"])
def test_an_absent_p_may_have_been_signed_in_two_ways(signed_as: bytes) -> None:
    signer = Signer("device-1", KEY)
    sig = signer.command("cmd-1", TS, "HOLD", signed_as)
    assert signer.verifies_command("cmd-1", TS, "HOLD", None, sig)


def test_a_present_p_is_verified_as_it_is() -> None:
    signer = Signer("device-1", KEY)
    for signed_as, sent in ((b"", b"{}"), (b"{}", b'{"a":1}'), (b"null", b"{}")):
        sig = signer.command("cmd-1", TS, "HOLD", signed_as)
        assert not signer.verifies_command("cmd-1", TS, "HOLD", sent, sig)


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
        COMMAND.upper(),
        COMMAND[:-1],
        COMMAND + "0",
        COMMAND.encode(),
    ],
    ids=ascii,
)
def test_what_is_not_the_signature_is_refused_quietly(signature: object) -> None:
    assert not signatures_equal(COMMAND, signature)
    assert not Signer("device-1", KEY).verifies_command("cmd-1", TS, "GET_INFO", b"{}", signature)


@given(texts, st.integers(), texts, st.none() | st.binary(max_size=8), anything)
def test_verifying_never_raises(cmd_id: str, ts: int, type_: str, p: bytes | None, signature: object) -> None:
    assert not Signer("plant", KEY).verifies_command(cmd_id, ts, type_, p, signature)


@given(part, st.integers(0, 2**53), st.binary())
def test_what_was_signed_verifies_and_nothing_else(cmd_id: str, ts: int, p: bytes) -> None:
    signer = Signer("plant", KEY)
    sig = signer.command(cmd_id, ts, "HOLD", p)
    assert signer.verifies_command(cmd_id, ts, "HOLD", p, sig)
    assert not signer.verifies_command(cmd_id, ts, "HOLD", p + b"0", sig)
    assert not signer.verifies_command(f"{cmd_id}0", ts, "HOLD", p, sig)
    assert not Signer("plant2", KEY).verifies_command(cmd_id, ts, "HOLD", p, sig)
    assert not Signer("plant", KEY + b"!").verifies_command(cmd_id, ts, "HOLD", p, sig)


@given(part, part, st.binary())
def test_a_signature_is_the_digest_of_the_joined_parts(plant: str, n: str, body: bytes) -> None:
    text = f"{plant}|{TS}|{n}|".encode() + body
    assert Signer(plant, KEY).telemetry(TS, n, body) == hmac.new(KEY, text, hashlib.sha256).hexdigest()


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
    assert Signer("plant", KEY).telemetry(TS, "n", b'{"state":"a|b"}')


def test_the_key_is_not_shown() -> None:
    signer = Signer("plant", KEY)
    assert repr(signer) == "Signer('plant')"
    assert KEY.decode() not in f"{signer!r} {signer}"


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ValueError, match="key is empty"):
        Signer("plant", b"")
