"""Signatures: HMAC-SHA256 over parts joined with ``|``, in lowercase hex (protocol §4).

A :class:`Signer` signs for one plant with the key schedule and the plant id, which comes first in every kind
of message, worked out once. Signing raises ValueError for a part that contains ``|`` or is not Unicode;
verifying never raises.
"""

# ruff: noqa: PLR0917 - the order of a signature's parts is the protocol's
from __future__ import annotations

import hashlib
import hmac
from typing import Final

_SEPARATOR: Final = "|"
_ABSENT: Final = (b"", b"{}")
"""What a command's ``p`` may have been signed as when the message has none (protocol §5)."""


class Signer:
    """Signs, and verifies commands, for one plant. Holds the key; its repr does not show it."""

    __slots__ = ("_fed", "plant_id")

    def __init__(self, plant_id: str, key: bytes) -> None:
        """``key`` is the secret string's UTF-8 bytes, as given by Voke.

        Raises:
            ValueError: an empty key, or a plant id that cannot be signed.
        """
        if not key:
            raise ValueError("the HMAC key is empty")
        self.plant_id = plant_id
        self._fed = hmac.new(key, _parts(plant_id) + b"|", hashlib.sha256)

    def __repr__(self) -> str:
        """Without the key."""
        return f"Signer({self.plant_id!r})"

    def telemetry(self, ts: int, n: str, body: bytes) -> str:
        """Signature of a snapshot; ``body`` is the canonical JSON of everything but ts, n and sig."""
        return self._sign(b"%b|%b" % (_parts(ts, n), body))

    def command(self, cmd_id: str, ts: int, type_: str, p: bytes) -> str:
        """Signature of a command, made by Voke; ``p`` is canonical JSON."""
        return self._sign(b"%b|%b" % (_parts(cmd_id, ts, type_), p))

    def ack(self, cmd_id: str, ts: int, st: str, n: str) -> str:
        """Signature of an acknowledgement."""
        return self._sign(_parts(cmd_id, ts, st, n))

    def alarm(self, ts: int, n: str, ev: str, alarm_id: str, code: int, sev: int) -> str:
        """Signature of an alarm event."""
        return self._sign(_parts(ts, n, ev, alarm_id, code, sev))

    def verifies_command(self, cmd_id: str, ts: int, type_: str, p: bytes | None, signature: object) -> bool:
        """Whether Voke signed this command. For an absent ``p`` (None) see :data:`_ABSENT`."""
        candidates = _ABSENT if p is None else (p,)
        try:
            expected = [self.command(cmd_id, ts, type_, each) for each in candidates]
        except ValueError:
            return False
        return any(signatures_equal(each, signature) for each in expected)

    def _sign(self, rest: bytes) -> str:
        mac = self._fed.copy()
        mac.update(rest)
        return mac.hexdigest()


def signatures_equal(expected: str, given: object) -> bool:
    """Compare in constant time; whatever is not an ASCII str is not equal."""
    return isinstance(given, str) and given.isascii() and hmac.compare_digest(expected, given)


def _parts(*parts: str | int) -> bytes:
    """Parts are not escaped, so a separator inside one would move the border between two of them."""
    text = _SEPARATOR.join(map(str, parts))
    if text.count(_SEPARATOR) >= len(parts):
        raise ValueError(f"a signed part must not contain '|': {text!r}")
    return text.encode()
