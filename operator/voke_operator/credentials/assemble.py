"""From a Plant's Secrets and generated material to what a gateway is given."""

from __future__ import annotations

from collections.abc import Mapping

from voke_api.problems import Path, Problem
from voke_api.resolved import PlantCredentials
from voke_api.resources import GatewayPool, Plant
from voke_api.resources.plant import CredentialSource
from voke_operator.credentials.material import HMAC_KEY, JWT_PRIVATE, TLS_CERTIFICATE, TLS_KEY

SecretData = Mapping[str, bytes]
"""Decoded values of one Secret, by key."""


def assemble(
    plant: Plant, pool: GatewayPool | None, secrets: Mapping[str, SecretData], generated: Mapping[str, bytes]
) -> tuple[PlantCredentials | None, list[Problem]]:
    """Pick the material that the plant's method needs.

    Looks at presence only; whether the material is any good is another question.

    Args:
        plant: Says which Secret holds what.
        pool: Says which Secret holds the broker's root; None: the system's trust store.
        secrets: All Secrets at hand, by name.
        generated: Material made for this plant, by file name.

    Returns:
        The credentials, or None and what is missing.
    """
    spec, sources = plant.spec, plant.spec.credentials
    picker = _Picker(plant, secrets, generated)
    hmac_key = picker.pick("hmac", _secret(sources.hmac), HMAC_KEY)
    username = client_id = spec.plant_id
    password = certificate = tls_key = jwt_key = broker_ca = None
    if spec.auth.method == "MTLS":
        name = _secret(sources.mtls)
        certificate = picker.pick("mtls", name, TLS_CERTIFICATE)
        tls_key = picker.pick("mtls", name, TLS_KEY)
    elif spec.auth.method == "JWT":
        jwt_key = picker.pick("jwt", _secret(sources.jwt), JWT_PRIVATE)
    else:
        name = _secret(sources.password)
        username = _text(picker.pick("password", name, "username"))
        password = _text(picker.pick("password", name, "password"))
        client_id = _text(picker.pick("password", name, "clientId", optional=True)) or username
    if pool is not None and pool.spec.voke.ca is not None:
        reference = pool.spec.voke.ca.secret_ref
        broker_ca = secrets.get(reference.name, {}).get(reference.key)
        if broker_ca is None:
            path = ("spec", "voke", "ca", "secretRef")
            picker.missing(path, reference.name, reference.key, kind="GatewayPool", name=pool.metadata.name)
    if picker.problems:
        return None, picker.problems
    credentials = PlantCredentials(
        client_id=client_id,
        username=username,
        hmac_key=hmac_key.rstrip(b"\r\n"),
        password=password,
        tls_certificate=certificate,
        tls_key=tls_key,
        jwt_private_key=jwt_key,
        broker_ca=broker_ca,
    )
    return credentials, []


class _Picker:
    """Takes values out of Secrets and collects what is missing."""

    def __init__(
        self, plant: Plant, secrets: Mapping[str, SecretData], generated: Mapping[str, bytes]
    ) -> None:
        self._plant = plant
        self._secrets = secrets
        self._generated = generated
        self.problems: list[Problem] = []

    def pick(self, credential: str, secret: str | None, key: str, *, optional: bool = False) -> bytes:
        """The value of ``key``; empty if it is missing, which is a problem unless it is optional."""
        held = self._generated if secret is None else self._secrets.get(secret, {})
        value = held.get(key, b"")
        if not value and not optional:
            path: Path = ("spec", "credentials", credential)
            if secret is not None:
                path = (*path, "secretRef", "name")
            self.missing(path, secret, key, kind="Plant", name=self._plant.metadata.name)
        return value

    def missing(self, path: Path, secret: str | None, key: str, *, kind: str, name: str) -> None:
        """Note that a value is not there, and what would mend it."""
        if secret is None:
            message = f"{key} has not been generated"
        elif secret not in self._secrets:
            message = f"there is no Secret {secret!r}; give a file that holds it, with the key {key}"
        else:
            message = f"the Secret {secret!r} has no key {key}, or it is empty"
        self.problems.append(Problem(path=path, message=message, value=secret, kind=kind, name=name))


def _secret(source: CredentialSource | None) -> str | None:
    """Name of the Secret that holds a credential; None: it is generated."""
    return None if source is None else source.secret_ref.name


def _text(value: bytes) -> str:
    """User name or password: UTF-8, without the newline that an editor leaves."""
    return value.decode("utf-8", "replace").rstrip("\r\n")
