"""Ids that name a key without giving it away: in a Plant's status, on its Secret, and in its gateway's ``/status``.

From public halves where there is one. Nothing is derived from a secret that could be guessed.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

_DIGITS: Final = 16
_CERTIFICATE_DIGITS: Final = 32
"""Nobody is to find another certificate with the same id; a key's id only has to tell it from others."""
_AN_ID: Final = re.compile(f"[0-9a-f]{{{_DIGITS}}}|[0-9a-f]{{{_CERTIFICATE_DIGITS}}}")


def is_id(text: str) -> bool:
    """Whether a text has the form of an id: what else an annotation says is somebody's, and is not repeated to people."""
    return _AN_ID.fullmatch(text) is not None


def certificate_id(fingerprint: bytes) -> str:
    """From the SHA-256 of the whole certificate: whoever makes another one can give it any serial number and name."""
    return fingerprint.hex()[:_CERTIFICATE_DIGITS]


def key_id(content: bytes) -> str:
    """From the DER of a public half, or from something else that tells a key from others and is no secret."""
    return sha256(content).hexdigest()[:_DIGITS]
