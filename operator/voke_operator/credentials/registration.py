"""What Voke has to know of a plant's generated credentials, and whether a person says that it does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from voke_api.resources.observed import ConditionStatus, CredentialInUse
from voke_operator.credentials.issuer import Issuer
from voke_operator.credentials.material import Material


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the condition ``Registered`` says."""

    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What Voke has to know of one plant; no private key is among the files."""

    facts: dict[str, str]
    """For people and scripts; not secret."""
    files: dict[str, bytes] = field(repr=False)
    """By name; ``hmac.key`` is secret."""


def confirmation(in_use: Collection[CredentialInUse]) -> str:
    """Value of REGISTERED_ANNOTATION by which a person says that Voke knows these."""
    raise NotImplementedError


def registered(plant: str, in_use: Collection[CredentialInUse], confirmed: str | None) -> Verdict:
    """Whether Voke knows a plant's generated credentials.

    Args:
        plant: Name of the Plant.
        in_use: All of its credentials, from its status.
        confirmed: Value of its annotation REGISTERED_ANNOTATION.
    """
    raise NotImplementedError


def describe(
    name: str, plant_id: str, method: str, material: Material, *, issuer: Issuer | None, now: datetime
) -> Registration:
    """What Voke has to know of a plant that has this material.

    Args:
        name: Of the Plant.
        plant_id: Of the Plant.
        method: How it logs in: MTLS, JWT or PASSWORD.
        material: What was generated for it, by file name.
        issuer: For a revocation list beside the certificate; None, or another CA than its: without.
        now: When the revocation list is made.
    """
    raise NotImplementedError
