"""JSON web tokens that a plant logs in with: RS256, ``sub`` = user name = plant id (protocol §3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from voke_gateway.uplink.session import CredentialsError

DEFAULT_LIFETIME = 3600.0
"""Seconds."""
MAX_LIFETIME = 86_400.0
"""Seconds; Voke takes no longer-lived token (protocol §3)."""

_MIN_BITS = 2048
_MAX_BITS = 4096
_RENEW_BETWEEN = (0.7, 0.9)


@dataclass(frozen=True, slots=True)
class Token:
    """A signed token and its times (epoch seconds)."""

    text: str = field(repr=False)
    issued_at: int
    expires_at: int
    renew_at: float
    """When to log in anew: at 70–90 % of its life, spread so that a fleet does not renew at once."""


def mint(
    private_key: bytes,
    plant_id: str,
    *,
    now: float,
    random: Random,
    lifetime: float = DEFAULT_LIFETIME,
) -> Token:
    """Sign a token for one plant. ``private_key`` is PEM; ``now`` epoch seconds; ``lifetime`` seconds.

    Raises:
        CredentialsError: the key is unreadable, encrypted, not RSA or too short.
        ValueError: a lifetime that Voke would refuse.
    """
    if not 1 <= lifetime <= MAX_LIFETIME:
        raise ValueError(f"a token lives between one second and {MAX_LIFETIME:.0f} s, not {lifetime} s")
    issued_at = int(now)
    expires_at = issued_at + int(lifetime)
    claims = {"sub": plant_id, "iat": issued_at, "exp": expires_at, "jti": f"{random.getrandbits(128):032x}"}
    return Token(
        text=jwt.encode(claims, signing_key(private_key), algorithm="RS256"),
        issued_at=issued_at,
        expires_at=expires_at,
        renew_at=issued_at + (expires_at - issued_at) * random.uniform(*_RENEW_BETWEEN),
    )


@lru_cache(maxsize=5000)  # a shard's most plants
def signing_key(pem: bytes) -> RSAPrivateKey:
    """The private key of ``pem``.

    That its primes are prime is not checked: that takes 37 ms for each plant. Whoever wrote the bundle has seen
    that the numbers belong together, and of a key that is wrong nevertheless Voke refuses every token.

    Raises:
        CredentialsError: see :func:`mint`.
    """
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise CredentialsError(
            "the token key (jwt-private.pem) is encrypted: store it without a passphrase"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialsError(
            "the token key (jwt-private.pem) is not a readable PEM private key; "
            "it has to start with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY-----"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise CredentialsError("the token key (jwt-private.pem) is not an RSA key, which RS256 needs")
    if key.key_size < _MIN_BITS:
        raise CredentialsError(
            f"the token key (jwt-private.pem) has {key.key_size} bits; RS256 needs at least {_MIN_BITS}"
        )
    if key.key_size > _MAX_BITS:
        raise CredentialsError(
            f"the token key (jwt-private.pem) has {key.key_size} bits; {_MAX_BITS} are the most, for signing with more "
            "holds up all plants"
        )
    return key
