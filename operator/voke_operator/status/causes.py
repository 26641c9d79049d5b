"""Sentences for what can be wrong with a Plant, each with the first thing to do. Written for 3 a.m.

Who found something calls one of these with the names in question; no function is given material.
"""

from __future__ import annotations

from datetime import datetime

from voke_operator.names import ALLOW_LABEL
from voke_operator.status.facts import Cause
from voke_operator.status.reasons import Reason


def secret_missing(*, secret: str, namespace: str, field: str) -> Cause:
    """A Secret that is referred to is not there. ``field`` is the reference's path, as in the document."""
    return Cause(
        Reason.SECRET_MISSING,
        f"{field}: there is no Secret {secret} in namespace {namespace}. Create it with the label "
        f'{ALLOW_LABEL}: "true"{_or_generated(field)}.',
    )


def secret_not_allowed(*, secret: str, namespace: str, field: str) -> Cause:
    """A Secret that is referred to lacks the label."""
    return Cause(
        Reason.SECRET_NOT_ALLOWED,
        f"{field}: Secret {secret} lacks the label that lets Plants use it. If it is meant for this Plant: "
        f"kubectl -n {namespace} label secret {secret} {ALLOW_LABEL}=true",
    )


def secret_invalid(*, secret: str, problem: str) -> Cause:
    """A Secret that is referred to lacks a key or holds what cannot be used; ``problem`` says which and why."""
    return Cause(Reason.SECRET_INVALID, f"Secret {secret}: {problem.rstrip('.')}.")


def name_conflict(*, secret: str, namespace: str, found: str) -> Cause:
    """The Secret for generated keys is somebody else's. ``found``: how that shows, such as "its type is Opaque"."""
    return Cause(
        Reason.NAME_CONFLICT,
        f"Secret {secret} exists and was not made for this Plant ({found}), so it is left alone. If nobody needs it: "
        f"kubectl -n {namespace} delete secret {secret}; otherwise give the Plant another name.",
    )


def key_lost(*, credential: str, key_id: str, secret: str, plant: str, namespace: str) -> Cause:
    """A key that Voke knows is gone for good. ``credential``: hmac, mtls or jwt."""
    return Cause(
        Reason.KEY_LOST,
        f"the {credential} key {key_id}, which Voke knows, is gone: Secret {secret} was deleted or edited, and no copy "
        f"survives. Restore the Secret from a backup. If there is none, ask for a new key and register it at Voke: "
        f"kubectl voke credentials {plant} -n {namespace} --replace {credential}",
    )


def issuer_missing(*, secret: str, namespace: str) -> Cause:
    """The CA that was configured is not there."""
    return Cause(
        Reason.ISSUER_UNUSABLE,
        f"no client certificate can be issued: there is no Secret {secret} with the issuing CA in namespace "
        f"{namespace}. Create it with the keys tls.crt and tls.key.",
    )


def issuer_expired(*, secret: str, namespace: str, expired: datetime) -> Cause:
    """The CA has expired."""
    return Cause(
        Reason.ISSUER_UNUSABLE,
        f"no client certificate can be issued: the CA in Secret {secret} (namespace {namespace}) expired on "
        f"{expired:%Y-%m-%d}. Put a valid CA there, and have Voke trust it.",
    )


def issuer_unusable(*, secret: str, namespace: str, problem: str) -> Cause:
    """The CA cannot issue for another reason, which ``problem`` says."""
    return Cause(
        Reason.ISSUER_UNUSABLE,
        f"no client certificate can be issued with the CA in Secret {secret} (namespace {namespace}): "
        f"{problem.rstrip('.')}. Put a usable CA there.",
    )


def issuer_expires_soon(*, secret: str, namespace: str, expires: datetime) -> Cause:
    """The CA ends within weeks: a warning."""
    return Cause(
        Reason.ISSUER_EXPIRES_SOON,
        f"the issuing CA in Secret {secret} (namespace {namespace}) ends on {expires:%Y-%m-%d}, and so do the "
        "certificates that it issued. Put a new CA there in time, and have Voke trust it.",
    )


def plant_id_in_use(*, plant_id: str, plant: str, namespace: str, running: bool) -> Cause:
    """Another Plant, ``plant`` in ``namespace``, has this plantId and keeps it."""
    why = "which runs already" if running else "which is older"
    return Cause(
        Reason.PLANT_ID_IN_USE,
        f"plantId {plant_id} belongs to Plant {plant} in namespace {namespace}, {why}. Delete one of the two; or, "
        "if this one is another site, delete it and apply it with its own plantId.",
    )


def pool_full(*, pool: str, problem: str) -> Cause:
    """The plant fits on no shard, not even on an empty one; ``problem`` says which limit and by how much."""
    return Cause(
        Reason.POOL_FULL,
        f"no gateway of pool {pool} can take this plant: {problem.rstrip('.')}. Raise that limit, poll less often "
        "(spec.telemetry.interval, every), or split the site into two Plants.",
    )


def bundle_full(*, shard: int, size: int, limit: int, runs: bool) -> Cause:
    """The shard's bundle has no room for this version of the plant. Sizes in bytes."""
    state = "The version before it runs on." if runs else "The plant does not run."
    return Cause(
        Reason.BUNDLE_FULL,
        f"the bundle of shard {shard} would take {_kib(size)}, and {_kib(limit)} are allowed. {state} Move points that "
        "devices have in common into a DeviceProfile, or delete Plants of this shard.",
    )


def moving(*, plant: str, namespace: str, source: str) -> Cause:
    """The plant waits until ``source``, a gateway, has let go of it."""
    return Cause(
        Reason.MOVING,
        f"the plant moves: it starts here as soon as gateway {source} has stopped it. If that gateway is dead for good: "
        f"kubectl voke release {plant} -n {namespace} --force",
    )


def _or_generated(field: str) -> str:
    generated = any(f"credentials.{name}." in f"{field}." for name in ("hmac", "mtls", "jwt"))
    return ", or leave the secretRef out to have it generated" if generated else ""


def _kib(size: int) -> str:
    return f"{-(-size // 1024)} KiB"
