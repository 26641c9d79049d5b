"""Tokens that a broker with the public key accepts, and the keys that cannot make any."""

from __future__ import annotations

from random import Random

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pki import large_rsa_key
from tests.support.uplinks import make_credentials, make_plant
from voke_gateway.runtime.status import credential_status
from voke_gateway.uplink.session import CredentialsError
from voke_gateway.uplink.tokens import MAX_LIFETIME, mint, signing_key

PLANT = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = rsa.generate_private_key(65537, 2048)
NOW = 1_700_000_000.75


def pem(key: PrivateKeyTypes, form: PrivateFormat = PrivateFormat.TraditionalOpenSSL) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


PEM = pem(KEY)


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
def test_a_token_verifies_and_names_the_plant(form: PrivateFormat) -> None:
    token = mint(pem(KEY, form), PLANT, now=NOW, random=Random(1))
    assert jwt.get_unverified_header(token.text) == {"alg": "RS256", "typ": "JWT"}
    claims = jwt.decode(token.text, KEY.public_key(), algorithms=["RS256"], options={"verify_exp": False})
    assert claims["sub"] == PLANT
    assert (claims["iat"], claims["exp"]) == (1_700_000_000, 1_700_003_600)
    assert (token.issued_at, token.expires_at) == (claims["iat"], claims["exp"])


def test_no_two_tokens_are_the_same() -> None:
    random = Random(1)
    assert len({mint(PEM, PLANT, now=NOW, random=random).text for _ in range(10)}) == 10


@given(lifetime=st.floats(1, MAX_LIFETIME), seed=st.integers(), now=st.floats(1_600_000_000, 4_000_000_000))
def test_it_is_renewed_at_70_to_90_percent_of_its_life(lifetime: float, seed: int, now: float) -> None:
    token = mint(PEM, PLANT, now=now, random=Random(seed), lifetime=lifetime)
    life = token.expires_at - token.issued_at
    assert life <= MAX_LIFETIME
    assert 0.7 <= (token.renew_at - token.issued_at) / life <= 0.9 + 1e-6
    assert token.issued_at <= now


def test_a_fleet_does_not_renew_at_once() -> None:
    renewals = sorted(mint(PEM, PLANT, now=NOW, random=Random(seed)).renew_at for seed in range(50))
    assert renewals[-1] - renewals[0] > 0.15 * 3600


@pytest.mark.parametrize("lifetime", [0, 0.5, -1, MAX_LIFETIME + 1, float("nan")])
def test_a_lifetime_that_voke_would_refuse(lifetime: float) -> None:
    with pytest.raises(ValueError, match="a token lives between"):
        mint(PEM, PLANT, now=NOW, random=Random(1), lifetime=lifetime)


def test_a_token_does_not_show_itself() -> None:
    token = mint(PEM, PLANT, now=NOW, random=Random(1))
    assert token.text not in repr(token)
    assert token.text not in str(token)


def test_a_key_is_read_once_for_all_tokens_and_for_the_status() -> None:
    signing_key.cache_clear()
    plant = make_plant(auth_method="JWT")
    for _ in range(3):
        mint(bytes(bytearray(PEM)), PLANT, now=NOW, random=Random(1))
        assert credential_status(plant, make_credentials(plant, jwt_private_key=PEM))[1].name == "jwt"
    assert signing_key.cache_info().misses == 1


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (b"junk", "is not a readable PEM"),
        (b"", "is not a readable PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "is not an RSA key"),
        (pem(rsa.generate_private_key(65537, 1024)), "has 1024 bits"),
        (large_rsa_key(16_384), "has 16384 bits; 4096 are the most"),
        (
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
            "is encrypted",
        ),
    ],
    ids=["junk", "empty", "ec", "short", "long", "encrypted"],
)
def test_keys_that_cannot_sign(key: bytes, problem: str) -> None:
    with pytest.raises(CredentialsError, match=problem) as error:
        mint(key, PLANT, now=NOW, random=Random(1))
    assert "jwt-private.pem" in str(error.value)
