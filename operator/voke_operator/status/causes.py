"""What others found wrong with a Plant, as causes: the credentials, the placement, the Secrets that it refers to.

Whoever finds something says it in a sentence with its remedy. Here are the words for what they find as bare facts.
"""

from __future__ import annotations

from typing import Final

from voke_api.problems import Problem, dotted
from voke_operator.names import ALLOW_LABEL
from voke_operator.status.facts import Cause
from voke_operator.status.reasons import Reason, known

_LABELS: Final = ("metadata", "labels")
_REFERENCE: Final = ("secretRef", "name")
_GENERATED: Final = ("hmac", "mtls", "jwt")
_BYTES: Final = 1024


def of(word: str, message: str) -> Cause:
    """What another part of the operator decided, by its own stable word.

    Raises:
        ValueError: the word is no :class:`Reason`.
    """
    reason = known(word)
    if reason is None:
        raise ValueError(f"{word} is not among the reasons that are documented")
    return Cause(reason, message)


def of_secret(problem: Problem, *, namespace: str) -> Cause:
    """What is wrong with a Secret that a Plant or its pool refers to (:mod:`voke_operator.credentials.given`)."""
    if problem.path[-2:] == _REFERENCE:
        field, secret = dotted(problem.path[:-1]), problem.value
        holder = f"{problem.kind} {problem.name}, {field}"
        generated = (
            ", or leave the secretRef out to have it generated" if problem.path[-3] in _GENERATED else ""
        )
        return Cause(
            Reason.SECRET_MISSING,
            f"{holder}: there is no Secret {secret} in namespace {namespace} with the label {ALLOW_LABEL}=true, which "
            f"lets Plants use it. Create it{generated}; if it is there: kubectl -n {namespace} label secret {secret} "
            f"{ALLOW_LABEL}=true",
        )
    if problem.path == _LABELS:
        return Cause(
            Reason.SECRET_NOT_ALLOWED,
            f"Secret {problem.name} lacks the label that lets Plants use it. If it is meant for this one: "
            f"kubectl -n {namespace} label secret {problem.name} {ALLOW_LABEL}=true",
        )
    place = f", {dotted(problem.path)}" if problem.path else ""
    return Cause(Reason.SECRET_INVALID, f"Secret {problem.name}{place}: {problem.message}")


def bundle_full(*, gateway: str, size: int, limit: int, runs: bool) -> Cause:
    """A gateway's bundle has no room for the newest version of a plant. Sizes in bytes."""
    state = "The version before it runs on." if runs else "The plant does not run."
    return Cause(
        Reason.BUNDLE_FULL,
        f"the bundle of gateway {gateway} would take {_kib(size)}, and {_kib(limit)} are allowed. {state} Move points "
        "that devices have in common into a DeviceProfile, or delete Plants of that gateway.",
    )


def _kib(size: int) -> str:
    return f"{-(-size // _BYTES)} KiB"
