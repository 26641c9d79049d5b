"""What others found wrong with a Plant, as causes: the credentials, the placement, the Secrets that it refers to.

Whoever finds something says it in a sentence with its remedy. Here are the words for what they find as bare facts.
"""

from __future__ import annotations

import re
from typing import Final

from voke_api.problems import Problem, dotted
from voke_api.resources.pool import Storage
from voke_operator.names import ALLOW_LABEL, gateways_in, pod_of
from voke_operator.status.facts import Cause
from voke_operator.status.reasons import Reason, known

_LABELS: Final = ("metadata", "labels")
_REFERENCE: Final = ("secretRef", "name")
_GENERATED: Final = ("hmac", "mtls", "jwt")
_IS_ABOUT_VOLUMES: Final = re.compile("volume|storageclass", re.IGNORECASE)
"""In the scheduler's words."""


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


def bundle_full(*, gateway: str, note: str) -> Cause:
    """A gateway's bundle has no room for the newest version of a plant; ``note``: what would not fit."""
    return Cause(
        Reason.BUNDLE_FULL,
        f"gateway {gateway}: {note}. What it ran before runs on. Move points that devices have in common into a "
        "DeviceProfile, or delete Plants of that gateway.",
    )


def format_mismatch(*, pool: str, gateway: str, image: str | None, why: str) -> Cause:
    """A gateway and the operator know no bundle format in common; ``image``: of ``spec.pod``, None if it names none."""
    whose = (
        "the one that the operator was installed with (gateway.image in the values of the chart)"
        if image is None
        else f"{image}, by spec.pod.image of GatewayPool {pool}; without that it is the one that the operator was "
        "installed with"
    )
    return Cause(
        Reason.FORMAT_MISMATCH,
        f"gateway {gateway}: {why}. It cannot read its bundle, so it runs no plant. Its image is {whose}.",
    )


def bundle_unknown(*, namespace: str, gateway: str, secret: str, why: str) -> Cause:
    """An operator of another version has written a gateway's bundle, and this one cannot read it."""
    return Cause(
        Reason.FORMAT_MISMATCH,
        f"gateway {gateway}: {why}. What it runs, it runs on; nothing new reaches it. Take an operator of the version "
        "before, or a newer one. If there is none, have the bundle written anew, which forgets what gateways were still "
        f"to let go of: kubectl delete secret -n {namespace} {secret}",
    )


def moving(waiting: str, *, namespace: str, plant: str) -> Cause:
    """A plant waits until other gateways have let go of it; ``waiting`` names them."""
    return Cause(
        Reason.MOVING,
        f"{waiting}; if that is dead for good, say so: kubectl voke release {plant} -n {namespace}",
    )


def waits_for(message: str) -> tuple[str, ...]:
    """The gateways that a message of :func:`moving` names."""
    return gateways_in(message.partition(";")[0])


def storage_kept(*, namespace: str, gateway: str, held: Storage, wanted: Storage) -> Cause:
    """A gateway has another storage than its pool wants, which cannot be changed."""
    return Cause(
        Reason.STORAGE_KEPT,
        f"gateway {gateway} keeps its storage, {_storage(held)}: that of a gateway cannot be changed, and the pool wants "
        f"{_storage(wanted)}. Apply the pool with the storage before; or have the gateway made anew, which loses what it "
        f"has not delivered yet: kubectl delete statefulset -n {namespace} {gateway}",
    )


def rollout_stuck(*, namespace: str, pool: str, gateway: str, state: str) -> Cause:
    """A gateway does not come back with a new pod template."""
    return Cause(
        Reason.ROLLOUT_STUCK,
        f"the new pod template is not rolled out any further: {state}. Mend spec.pod of GatewayPool {pool}, or the image "
        f"that the operator was installed with; {gateway} gets the next one first, and the others stay as they are "
        f"until it is back. See to it: kubectl -n {namespace} describe pod {pod_of(gateway)}",
    )


def out_of_memory(*, namespace: str, pool: str, gateway: str, limit: str) -> Cause:
    """The kernel killed a gateway; ``limit``: of its memory, empty if it has none and its node had no more."""
    had = f"its limit is {limit}" if limit else "its node had no more"
    return Cause(
        Reason.GATEWAY_OUT_OF_MEMORY,
        f"gateway {gateway} was killed because of its memory (OOMKilled): {had}. Raise spec.pod.resources.limits.memory "
        f"of GatewayPool {pool} (where that says nothing of resources, the chart's gateway.resources). When it was: "
        f"kubectl -n {namespace} describe pod {pod_of(gateway)}",
    )


def unschedulable(*, namespace: str, pool: str, gateway: str, why: str, claim: str) -> Cause:
    """There is no node for a gateway; ``why``: in the scheduler's words, ``claim``: that its pod mounts, if any."""
    if claim and _IS_ABOUT_VOLUMES.search(why):
        remedy = (
            "Provide the volume, or the StorageClass, that its claim asks for; or delete the pool, apply it with another "
            f"shard.storage, and then: kubectl delete statefulset -n {namespace} {gateway}. What the claim waits for: "
            f"kubectl -n {namespace} describe pvc {claim}"
        )
    else:
        remedy = (
            f"Add nodes, or mend spec.pod of GatewayPool {pool} (resources, nodeSelector, tolerations, affinity). See to "
            f"it: kubectl -n {namespace} describe pod {pod_of(gateway)}"
        )
    return Cause(
        Reason.GATEWAY_UNSCHEDULABLE,
        f"gateway {gateway} does not run, as Kubernetes has no node for it: {why.rstrip('.')}. {remedy}",
    )


def not_ready(*, namespace: str, gateway: str, problem: str) -> Cause:
    """A gateway that does not answer, and ``problem`` is what Kubernetes says of its pod."""
    return Cause(
        Reason.GATEWAY_UNREACHABLE,
        f"gateway {gateway} does not answer the operator: its pod is not ready ({problem}). See to it: "
        f"kubectl -n {namespace} describe pod {pod_of(gateway)}",
    )


def _storage(storage: Storage) -> str:
    claim = storage.persistent_volume_claim
    if claim is None:
        return "an emptyDir"
    of_class = claim.get("storageClassName")
    return f"a claim of {claim['size']}" + (f" of class {of_class}" if of_class else "")
