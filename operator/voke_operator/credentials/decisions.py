"""What is to be done about generated credentials, as data: decided in one place, carried out in another.

The caller repeats: observe, decide, carry out, until the decision is to keep or to refuse::

    Mint     make the material that is named (slow, outside), decide again with it
    Create   create the Secret; if it exists already, read that one; decide again
    Update   replace the Secret at its resource version; after a conflict read it; decide again
    Record   write key ids into the Plant's status, at the Plant's resource version, before the Secret holds
             another key or as soon as it does; decide again
    Keep     nothing: this material may go into a bundle
    Refuse   nothing: say why; what runs goes on as it is

Three rules make it safe with several writers, stale caches and crashes anywhere:

- No key reaches a bundle before the status names it, and a status is replaced only at the version that was
  decided on: so two writers cannot put two keys into force.
- A bundle is written at a version that was read before the Plants in it. After a conflict the bundle is read
  again, and then its Plants.
- What :func:`needs_fresh_reads` names is decided once more on objects read from the API server, in the order
  bundle, Secret, Plant, before it is carried out.

No repr shows material.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from voke_api.resources.observed import CredentialInUse
from voke_operator.credentials.material import Material
from voke_operator.credentials.secret import Secret

Name = Literal["hmac", "mtls", "jwt"]
"""A credential that can be generated."""


class Reason(StrEnum):
    """Why something is refused, or what is going to be wrong; stable, for conditions."""

    NAME_CONFLICT = "NameConflict"
    """A Secret of the name that we need is not ours; it is not touched."""
    KEY_LOST = "KeyLost"
    """A key that is in force is nowhere to be found; only a person may have it replaced."""
    ISSUER_UNUSABLE = "IssuerUnusable"
    """The issuing CA cannot issue."""
    ISSUER_EXPIRES = "IssuerExpires"
    """The issuing CA ends soon, and with it what it issued. A warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or going to be."""

    reason: Reason
    message: str
    """For people: what is wrong and what to do; without material."""
    credential: Name | None = None
    """Which one it is about; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """New material is needed: make it with :func:`voke_operator.credentials.ledger.mint`, then decide again.

    Making a JWT key pair takes 100 ms and more of CPU: in a thread.
    """

    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Create this Secret. If one exists already it is read and decided on; never overwritten."""

    secret: Secret
    restored: bool
    """Whether it holds keys that were in force before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Replace the Secret by this one, which carries the resource version that it must have."""

    secret: Secret
    changes: tuple[str, ...]
    """What differs, for logs and events: names, never values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Write this into the Plant's status, at the resource version that was decided on."""

    in_use: tuple[CredentialInUse, ...]
    """The generated credentials, with what is about to take their place; what the Plant brings (:func:`…given.brought`) stands beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """All is as it should be."""

    in_use: tuple[CredentialInUse, ...]
    material: Material = field(repr=False)
    """Of the credentials that the Plant needs now, by file name. Secret."""
    next_check: datetime | None = None
    """When to decide again though nothing has changed: a certificate has to be renewed."""
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Nothing can be done without a person."""

    problems: tuple[Finding, ...]
    """The first is the one to be mended first."""


Decision = Mint | Create | Update | Record | Keep | Refuse


def needs_fresh_reads(decision: Decision) -> bool:
    """Whether this must not be done on the word of a cache.

    A first key may be created from what a cache says, since create never overwrites. To change, restore or
    refuse, and to give a Secret an owner, what was decided on has to be as it is: an owner that is gone would
    take the Secret with it.
    """
    match decision:
        case Create(restored=restored):
            return restored
        case Update() | Refuse():
            return True
        case _:
            return False
