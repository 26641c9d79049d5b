"""Key pairs, tokens and TLS contexts of plants."""

from __future__ import annotations

import ssl
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voke_sim.voke import PasswordLogin


@cache
def rsa_key(name: str = "plant", bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key pair, made once per name: RSA keys are slow to make."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def pkcs1_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)


def spki_der(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def token(key: Any, sub: str, *, lifetime: float = 3600, algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode(
        {"sub": sub, "iat": now, "exp": now + int(lifetime), **claims}, key, algorithm=algorithm
    )


def password_login(made: PasswordLogin) -> dict[str, Any]:
    """Arguments of :func:`~tests.sim.voke.mqtt.connect`."""
    return {"client_id": made.client_id, "username": made.username, "password": made.password}


def jwt_login(plant_id: str, password: str | None) -> dict[str, Any]:
    """The same with a token."""
    return {"client_id": plant_id, "username": plant_id, "password": password}


def client_tls(ca_pem: bytes, certificate: bytes, key: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca_pem.decode())
    with tempfile.TemporaryDirectory() as directory:
        chain = Path(directory) / "chain.pem"
        chain.write_bytes(certificate + key)
        context.load_cert_chain(chain)
    return context
