"""What is read from a gateway's pod, and what a person hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from voke_operator.status.pods import Pod, read_pod, trouble

KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
CRASHED = {"terminated": {"reason": "Error", "exitCode": 1}}
BACK_OFF = {
    "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container=gateway"}
}
RUNNING = {"running": {"startedAt": "2026-11-25T20:00:00Z"}}


def document(*containers: dict[str, Any], ready: bool = False, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {"resourceVersion": "7"},
        "spec": {"containers": [{"name": "gateway", "resources": {"limits": {"memory": "24Mi"}}}], **spec},
        "status": {"conditions": conditions, "containerStatuses": list(containers)},
    }


def gateway(
    state: dict[str, Any], last: dict[str, Any] | None = None, *, name: str = "gateway"
) -> dict[str, Any]:
    return {"name": name, "state": state, "lastState": last or {}}


def unscheduled(message: str, **spec: Any) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {**document(**spec), "status": {"conditions": [condition]}}


def test_a_pod_says_why_it_is_not_ready() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    found = read_pod(document(gateway(waiting)))
    assert (found.ready, found.problem, found.failing) == (False, "ErrImagePull: no such image", True)
    assert read_pod(unscheduled("no room")).problem == "Unschedulable: no room"
    assert read_pod(document(gateway(RUNNING), ready=True)).problem == ""
    assert read_pod({"metadata": {"resourceVersion": "7"}}) == Pod(version="7", ready=False)


@pytest.mark.parametrize(
    ("container", "problem", "failing"),
    [
        (gateway(BACK_OFF, KILLED), "CrashLoopBackOff: OOMKilled, exit code 137", True),
        (gateway(BACK_OFF, CRASHED), "CrashLoopBackOff: Error, exit code 1", True),
        (gateway(CRASHED), "Error, exit code 1", False),
        (gateway(RUNNING, CRASHED), "Error, exit code 1", False),
        (gateway(CRASHED, KILLED), "Error, exit code 1", False),
    ],
)
def test_how_it_ended_is_said_rather_than_that_it_waits(
    container: dict[str, Any], problem: str, *, failing: bool
) -> None:
    found = read_pod(document(container))
    assert (found.problem, found.failing) == (problem, failing)


@pytest.mark.parametrize(
    ("container", "killed"),
    [
        (gateway(RUNNING, KILLED), True),
        (gateway(KILLED), True),
        (gateway(BACK_OFF, KILLED), True),
        (gateway(CRASHED, KILLED), False),
        (gateway(RUNNING), False),
        (gateway(RUNNING, KILLED, name="proxy-of-a-mesh"), False),
    ],
)
def test_it_was_killed_for_its_memory_if_that_is_how_it_ended_last(
    container: dict[str, Any], *, killed: bool
) -> None:
    found = read_pod(document(container))
    assert (found.out_of_memory, found.memory_limit) == (killed, "24Mi")


def said(pod: Pod, *, answers: bool) -> tuple[str, str] | None:
    cause = trouble(pod, namespace="energy", pool="north", gateway="voke-gw-north-0", answers=answers)
    return None if cause is None else (cause.reason, cause.message)


OUT_OF_MEMORY = (
    "GatewayOutOfMemory",
    (
        "gateway voke-gw-north-0 was killed because of its memory (OOMKilled): its limit is 24Mi. Raise "
        "spec.pod.resources.limits.memory of GatewayPool north (where that says nothing of resources, the chart's "
        "gateway.resources). When it was: kubectl -n energy describe pod voke-gw-north-0-0"
    ),
)


def test_a_gateway_that_was_killed_for_its_memory_is_spoken_of_also_when_it_is_back() -> None:
    back = read_pod(document(gateway(RUNNING, KILLED), ready=True))
    assert said(back, answers=True) == OUT_OF_MEMORY
    assert said(read_pod(document(gateway(BACK_OFF, KILLED))), answers=False) == OUT_OF_MEMORY
    assert said(back, answers=False) is None, "it runs, so something else keeps it silent"


def test_a_pod_that_is_well_explains_no_silence_and_one_that_starts_says_what_it_waits_for() -> None:
    assert said(read_pod(document(gateway(RUNNING), ready=True)), answers=False) is None
    starting = read_pod(document(gateway({"waiting": {"reason": "ContainerCreating"}})))
    assert said(starting, answers=True) is None
    assert said(starting, answers=False) == (
        "GatewayUnreachable",
        (
            "gateway voke-gw-north-0 does not answer the operator: its pod is not ready (ContainerCreating). See to it: "
            "kubectl -n energy describe pod voke-gw-north-0-0"
        ),
    )


def test_a_claim_that_cannot_be_bound_is_named_with_what_to_do() -> None:
    why = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes"
    volumes = [
        {"name": "tmp"},
        {"name": "outbox", "persistentVolumeClaim": {"claimName": "outbox-voke-gw-north-0-0"}},
    ]
    assert said(read_pod(unscheduled(why, volumes=volumes)), answers=False) == (
        "GatewayUnschedulable",
        (
            "gateway voke-gw-north-0 does not run, as Kubernetes has no node for it: 0/1 nodes are available: pod has "
            "unbound immediate PersistentVolumeClaims. Provide the volume, or the StorageClass, that its claim asks for; "
            "or delete the pool, apply it with another shard.storage, and then: kubectl delete statefulset -n energy "
            "voke-gw-north-0. What the claim waits for: kubectl -n energy describe pvc outbox-voke-gw-north-0-0"
        ),
    )
    for other in (
        unscheduled("0/3 nodes are available: 3 Insufficient memory.", volumes=volumes),
        unscheduled(why),
    ):
        reason, message = said(read_pod(other), answers=False) or ("", "")
        assert reason == "GatewayUnschedulable"
        assert (
            "mend spec.pod of GatewayPool north (resources, nodeSelector, tolerations, affinity)" in message
        )
