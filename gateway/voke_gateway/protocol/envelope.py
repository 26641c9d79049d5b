"""Envelopes: what turns content into a wire message and back (protocol §6).

The receiver signs what it has parsed, so the order of keys on the wire is free. A message is therefore its
canonical content with ``n``, ``sig`` and ``ts`` put behind it, and canonical text is made once.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from voke_gateway.protocol.canonical import NotJsonError, canonical, parse
from voke_gateway.protocol.sign import Signer

MAX_BYTES: Final = 8192
"""Largest payload that Voke's broker takes (protocol §6, §7)."""
MAX_COMMAND_ID: Final = 128
"""Longest ``cmdId`` in characters; Voke's are UUIDs."""

_LARGEST_EXACT: Final = 2**53
_NONCE_BYTES: Final = 8
_SIGNATURE_CHARACTERS: Final = 64
_TS_DIGITS: Final = 13
ENVELOPE_BYTES: Final = len(b',"n":"","sig":"","ts":') + 2 * _NONCE_BYTES + _SIGNATURE_CHARACTERS + _TS_DIGITS
"""What sealing adds, for a nonce of :func:`new_nonce` and a ``ts`` of 13 digits (until the year 2286)."""


class MalformedCommandError(ValueError):
    """Not a command that could be verified or answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandMessage:
    """A command as received, not yet verified (protocol §6.3)."""

    cmd_id: str
    ts: int
    """Unix milliseconds."""
    type: str
    p: Any
    """Parsed; any JSON value. None if absent, too."""
    p_canonical: bytes | None
    """Canonical JSON of ``p``; None: the message has no ``p``."""
    sig: str | None
    """As received; None if absent or not a string."""


def new_nonce() -> str:
    """64 random bits in 16 hex digits."""
    return secrets.token_hex(_NONCE_BYTES)


def iso_timestamp(epoch_seconds: float) -> str:
    """UTC in ISO 8601 with whole milliseconds, rounded down: ``2026-11-22T09:30:00.250Z``."""
    second, millisecond = divmod(math.floor(epoch_seconds * 1000), 1000)
    return f"{_second(second)}.{millisecond:03}Z"


@lru_cache(maxsize=64)
def _second(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).isoformat().removesuffix("+00:00")


def fits(content: bytes) -> bool:
    """Whether ``content`` is at most :data:`MAX_BYTES` once sealed."""
    return len(content) + ENVELOPE_BYTES <= MAX_BYTES


def seal_telemetry(signer: Signer, body: bytes, ts: int, n: str) -> bytes:
    """The wire message of a snapshot; ``body`` is its canonical JSON object without ts, n and sig."""
    return _sealed(body, ts, n, signer.telemetry(ts, n, body))


def seal_info(signer: Signer, content: bytes, ts: int, n: str) -> bytes:
    """The wire message of ``info``. No source tells how it is signed; we sign it like telemetry."""
    return seal_telemetry(signer, content, ts, n)


def seal_ack(signer: Signer, content: bytes, ts: int, n: str) -> bytes:
    """The wire message of an acknowledgement.

    Raises:
        ValueError: ``content`` lacks cmdId or st, or one of them is no string.
    """
    fields = _object(content)
    cmd_id, st = _string(fields, "cmdId"), _string(fields, "st")
    return _sealed(content, ts, n, signer.ack(cmd_id, ts, st, n))


def seal_alarm(signer: Signer, content: bytes, ts: int, n: str) -> bytes:
    """The wire message of an alarm event.

    Raises:
        ValueError: ``content`` lacks ev, alarmId, code or sev, or one of them has the wrong type.
    """
    fields = _object(content)
    ev, alarm_id = _string(fields, "ev"), _string(fields, "alarmId")
    code, sev = _whole(fields, "code"), _whole(fields, "sev")
    return _sealed(content, ts, n, signer.alarm(ts, n, ev, alarm_id, code, sev))


def parse_command(payload: bytes) -> CommandMessage:
    """Take a command apart. Unknown keys are ignored: no signature covers them.

    Raises:
        MalformedCommandError: not a JSON object; cmdId is not a string of 1 to 128 characters without ``|``;
            ts is not a whole number; type is not a string without ``|``.
    """
    try:
        fields = _object(payload)
        cmd_id, ts, type_ = _string(fields, "cmdId"), _whole(fields, "ts"), _string(fields, "type")
    except ValueError as error:
        raise MalformedCommandError(str(error)) from None
    if len(cmd_id) > MAX_COMMAND_ID:
        raise MalformedCommandError(f"cmdId has {len(cmd_id)} characters, at most {MAX_COMMAND_ID} are taken")
    sig = fields.get("sig")
    return CommandMessage(
        cmd_id=cmd_id,
        ts=ts,
        type=type_,
        p=fields.get("p"),
        p_canonical=canonical(fields["p"]) if "p" in fields else None,
        sig=sig if isinstance(sig, str) else None,
    )


def _sealed(content: bytes, ts: int, n: str, sig: str) -> bytes:
    comma = b"," if len(content) > len(b"{}") else b""
    nonce = b'"%b"' % n.encode() if n.isascii() and n.isalnum() else canonical(n)
    return b'%b%b"n":%b,"sig":"%b","ts":%d}' % (content[:-1], comma, nonce, sig.encode(), ts)


def _object(text: bytes) -> dict[str, Any]:
    value = parse(text)
    if not isinstance(value, dict):
        raise NotJsonError("not a JSON object")
    return value


def _string(fields: dict[str, Any], key: str) -> str:
    """A part of a signature: text in Unicode, not empty, without the separator."""
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a non-empty string")
    if "|" in value:
        raise ValueError(f"{key} must not contain '|', which separates the parts of a signature")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key} is not Unicode text") from None
    return value


def _whole(fields: dict[str, Any], key: str) -> int:
    """A number that JavaScript prints as a plain integer and both sides hold exactly."""
    value: Any = fields.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and abs(value) <= _LARGEST_EXACT and value == int(value):
        return int(value)
    raise ValueError(f"{key} must be a whole number within ±2^53")
