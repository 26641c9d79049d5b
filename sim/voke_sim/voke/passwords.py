"""Password logins as mosquitto and Voke's provisioning want them."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import string
from dataclasses import dataclass, field

_SALT_BYTES = 12  # mosquitto 2.0 takes no other length
_ITERATIONS = 101  # mosquitto's own: it derives the key again at every login and every reload
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """What a plant logs in with on the password listener, as provisioning returns it (protocol §3)."""

    username: str
    password: str = field(repr=False)
    client_id: str


def provision(plant_id: str, taken: set[str]) -> PasswordLogin:
    """User name and client id ``plc-`` and 8 hex digits of the plant id, 32 random letters and digits.

    Eight digits of two plants can be the same; then more of them are used.
    """
    digits = plant_id.replace("-", "")
    username = next(
        candidate
        for length in range(8, len(digits) + 1)
        if (candidate := f"plc-{digits[:length]}") not in taken
    )
    password = "".join(secrets.choice(_ALPHABET) for _ in range(32))
    return PasswordLogin(username=username, password=password, client_id=username)


def hashed(password: str) -> str:
    """The password as mosquitto 2.0 stores it: ``$7$``, PBKDF2-SHA512."""
    salt = os.urandom(_SALT_BYTES)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"$7${_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
