"""A gateway's pod as Kubernetes sees it, and what a person is to know of that.

A gateway that was killed cannot say so itself, and one whose pod has no node was never asked. Pure: from the pod's
document to a cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from voke_operator.plan.objects import CONTAINER
from voke_operator.status import causes
from voke_operator.status.facts import Cause

_FAILING: Final = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
"""Reasons for which a container waits that only a person ends."""
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A gateway's pod, as far as its metadata do not say."""

    version: str
    """``resourceVersion`` that this is from."""
    ready: bool
    problem: str = ""
    """Why it is not ready, as Kubernetes says it, such as "ImagePullBackOff: no such image"."""
    failing: bool = False
    """It will not become ready by waiting alone."""
    unscheduled: str = ""
    """Why it has no node, in the scheduler's words; empty: it has one, or is about to."""
    claim: str = ""
    """The PersistentVolumeClaim that it mounts."""
    out_of_memory: bool = False
    """The kernel ended the gateway the last time that it ended, because of its memory."""
    memory_limit: str = ""
    """Of the gateway's container, such as "512Mi"; empty: it has none."""


def read_pod(document: Mapping[str, Any]) -> Pod:
    """What matters of a pod's document."""
    status, spec = document.get("status") or {}, document.get("spec") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready", {}).get("status") == "True"
    scheduled = conditions.get("PodScheduled", {})
    containers = status.get("containerStatuses") or ()
    waiting = [found for each in containers if (found := (each.get("state") or {}).get("waiting"))]
    ends = [end for each in containers if each.get("name") == CONTAINER for end in _ends(each)]
    no_node = scheduled if scheduled.get("status") == "False" else {}
    said = waiting[0] if waiting else no_node
    if ends and (
        not said or said.get("reason") == "CrashLoopBackOff"
    ):  # how it ended says more than that it waits
        said = {**said, "message": f"{ends[0].get('reason')}, exit code {ends[0].get('exitCode')}"}
    problem = ": ".join(str(said[part]) for part in ("reason", "message") if said.get(part))
    claims = [
        each["persistentVolumeClaim"] for each in spec.get("volumes") or () if "persistentVolumeClaim" in each
    ]
    limits = [
        (each.get("resources") or {}).get("limits") or {}
        for each in spec.get("containers") or ()
        if each.get("name") == CONTAINER
    ]
    return Pod(
        version=document["metadata"]["resourceVersion"],
        ready=ready,
        problem="" if ready else problem[:_LONGEST],
        failing=not ready and said.get("reason") in _FAILING,
        unscheduled=str(no_node.get("message") or "").partition(" preemption:")[0][:_LONGEST],
        claim=claims[0]["claimName"] if claims else "",
        out_of_memory=bool(ends) and ends[0].get("reason") == "OOMKilled",
        memory_limit=str(limits[0].get("memory", "")) if limits else "",
    )


def _ends(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """How a container ended, the newest first."""
    for state in ("state", "lastState"):
        found = (container.get(state) or {}).get("terminated")
        if found:
            yield found


def trouble(pod: Pod, *, namespace: str, pool: str, gateway: str, answers: bool) -> Cause | None:
    """What Kubernetes says is wrong with a gateway's pod.

    Args:
        pod: Of the gateway.
        namespace: Of the gateway.
        pool: Of the gateway.
        gateway: Its StatefulSet.
        answers: Whether it answers the operator. If it does, only what is sure to come again is worth a word.
    """
    if pod.out_of_memory and (answers or not pod.ready):
        return causes.out_of_memory(namespace=namespace, pool=pool, gateway=gateway, limit=pod.memory_limit)
    if answers or pod.ready:
        return None
    if pod.unscheduled:
        return causes.unschedulable(
            namespace=namespace, pool=pool, gateway=gateway, why=pod.unscheduled, claim=pod.claim
        )
    return (
        causes.not_ready(namespace=namespace, gateway=gateway, problem=pod.problem) if pod.problem else None
    )
