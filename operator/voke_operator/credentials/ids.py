"""Ids of what is generated for plants (:mod:`voke_api.key_ids`), and how annotations list them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voke_api import key_ids

_HMAC_DOMAIN: Final = b"voke-fleet hmac key id\x00"


def hmac_id(generated: bytes) -> str:
    """Of 256 random bits. Never of a key that somebody thought of: its id would confirm a guess."""
    return key_ids.key_id(_HMAC_DOMAIN + generated)


def certificate_id(certificate: x509.Certificate) -> str:
    """Of a client certificate."""
    return key_ids.certificate_id(certificate.fingerprint(SHA256()))


def jwt_id(public: RSAPublicKey) -> str:
    """From the public half."""
    return key_ids.key_id(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def issuer_id(certificate: x509.Certificate) -> str:
    """Of a CA: from its whole certificate, for a renewed CA has to be told to a broker, too."""
    return key_ids.key_id(certificate.public_bytes(Encoding.DER))


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
