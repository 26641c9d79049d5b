"""Ids that name a key without giving it away, the same as in a gateway's ``/status``.

From public halves where there is one. Nothing is derived from a secret that could be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_HMAC_DOMAIN: Final = b"voke-fleet hmac key id\x00"
_DIGITS: Final = 16
_CERTIFICATE_DIGITS: Final = 32
"""Nobody is to find another certificate with the same id; a key's id only has to tell it from others."""
_AN_ID: Final = re.compile(f"[0-9a-f]{{{_DIGITS}}}|[0-9a-f]{{{_CERTIFICATE_DIGITS}}}")


def is_id(text: str) -> bool:
    """Whether a text has the form of an id: what else an annotation says is somebody's, and is not repeated to people."""
    return _AN_ID.fullmatch(text) is not None


def hmac_id(generated: bytes) -> str:
    """Of 256 random bits. Never of a key that somebody thought of: its id would confirm a guess."""
    return sha256(_HMAC_DOMAIN + generated).hexdigest()[:_DIGITS]


def certificate_id(certificate: x509.Certificate) -> str:
    """From the whole certificate: whoever makes another one can give it any serial number and name."""
    return certificate.fingerprint(SHA256()).hex()[:_CERTIFICATE_DIGITS]


def jwt_id(public: RSAPublicKey) -> str:
    """From the public half."""
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(encoded).hexdigest()[:_DIGITS]


def issuer_id(certificate: x509.Certificate) -> str:
    """Of a CA: from its whole certificate, for a renewed CA has to be told to a broker, too."""
    return certificate.fingerprint(SHA256()).hex()[:_DIGITS]


def rfc3339(instant: datetime) -> str:
    """An instant as Kubernetes writes it."""
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def format_ids(ids: Mapping[str, str]) -> str:
    """Ids by credential as the value of an annotation: ``hmac=…,mtls=…``."""
    return ",".join(f"{name}={key_id}" for name, key_id in sorted(ids.items()))


def parse_ids(text: str | None) -> dict[str, str]:
    """The other way; what is not of that form is left out."""
    pairs = (word.partition("=") for word in parse_words(text))
    return {name: key_id for name, _, key_id in pairs if name and key_id}


def parse_words(text: str | None) -> tuple[str, ...]:
    """Words between commas and white space."""
    return tuple((text or "").replace(",", " ").split())
