"""The CA that issues client certificates: one that a person gives, or the fleet's own.

Pure: Secrets and the time are passed in. What a CA has issued stays as it is when the CA changes, until it is
renewed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from voke_operator.credentials.decisions import Create, Finding, Mint, Refuse, Update
from voke_operator.credentials.material import Material
from voke_operator.credentials.secret import Secret


@dataclass(frozen=True, slots=True, repr=False)
class Issuer:
    """A CA with its key; its repr names it only."""

    id: str
    """From its certificate; on every plant's Secret as ISSUER_ANNOTATION."""
    name: str
    not_after: datetime
    material: Material
    """``ca.crt``, ``ca.key``."""

    def __repr__(self) -> str:
        return f"Issuer({self.name!r}, id={self.id}, not_after={self.not_after:%Y-%m-%d})"


def read_issuer(secret: Secret, *, now: datetime) -> Issuer | Finding:
    """The CA in a Secret (``tls.crt`` and ``tls.key``, or ``ca.crt`` and ``ca.key``), or why it is none."""
    raise NotImplementedError


def warnings(issuer: Issuer, *, now: datetime) -> tuple[Finding, ...]:
    """What is going to be wrong with a CA: it ends within 30 days."""
    raise NotImplementedError


def decide_fleet_ca(
    secret: Secret | None,
    *,
    namespace: str,
    issued_by: Collection[str] = (),
    replace: Collection[str] = (),
    now: datetime,
    fresh: Material | None = None,
) -> Mint | Create | Update | Refuse | Issuer:
    """The fleet's own CA, or what is to be done to have it.

    Made once, at first need. It is never made again while plants have certificates of another CA, which would
    not be trusted any more after their renewal, unless a person says so.

    Args:
        secret: The Secret FLEET_CA in the operator's namespace, whoever made it.
        namespace: The operator's.
        issued_by: Values of ISSUER_ANNOTATION of all plants' Secrets.
        replace: Those of them that a person has given up.
        now: With a time zone.
        fresh: What :func:`…material.new_fleet_ca` made after the decision to mint (whose names are empty).
    """
    raise NotImplementedError
