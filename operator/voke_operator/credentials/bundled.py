"""From a plant's generated files to the credentials in its bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from voke_api.resolved import PlantCredentials
from voke_operator.credentials.material import HMAC_KEY, JWT_PRIVATE, TLS_CERTIFICATE, TLS_KEY, Material

_FIELDS: Final = {
    HMAC_KEY: "hmac_key",
    TLS_CERTIFICATE: "tls_certificate",
    TLS_KEY: "tls_key",
    JWT_PRIVATE: "jwt_private_key",
}
"""Fields of PlantCredentials by name of the generated file."""


def for_bundle(given: Mapping[str, Any], material: Material) -> PlantCredentials:
    """What its Secrets give a plant (``Given.values``), together with what was generated for it."""
    made: dict[str, Any] = {field: material[name] for name, field in _FIELDS.items() if name in material}
    return PlantCredentials(**given, **made)


def from_bundle(credentials: PlantCredentials) -> Material:
    """The copy of a plant's keys that a bundle holds, by file name; some may be of Secrets that it referred to."""
    held = {name: getattr(credentials, field) for name, field in _FIELDS.items()}
    return {name: content for name, content in held.items() if content is not None}
