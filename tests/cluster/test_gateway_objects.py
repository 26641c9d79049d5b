"""What the plan wants of a cluster, on a real API server: accepted, stable, and no pod with more rights than it needs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from voke_api.resources import GatewayPool
from voke_operator import names
from voke_operator.plan.difference import Observed, apply_steps, differing, ref_of
from voke_operator.plan.objects import Defaults, bundle_secret, pool_objects, shard_objects
from voke_operator.plan.placement import ShardId

SHARD = ShardId("default", 0)
DEFAULTS = Defaults(image="voke-gateway:1")
PLAIN: dict[str, Any] = {}
FULL: dict[str, Any] = {
    "shard": {"storage": {"persistentVolumeClaim": {"size": "1024Mi", "storageClassName": "fast"}}},
    "metrics": {"perConnection": True},
    "pod": {
        "image": "mine:2",
        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"memory": "2048Mi"}},
        "nodeSelector": {"site": "north"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
                }
            }
        },
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": [{"name": "registry"}],
        "annotations": {"team": "energy"},
        "egressCIDRs": ["10.20.0.0/16", "2001:db8::/32"],
    },
}


def wanted(namespace: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    pool = GatewayPool.model_validate({"metadata": {"name": "default"}, "spec": spec}).spec
    return [
        *pool_objects("default", namespace, pool),
        bundle_secret(SHARD, namespace, {"bundle.json": b"{}"}),
        *shard_objects(SHARD, namespace, pool, DEFAULTS),
    ]


def live(plane: ControlPlane, namespace: str, document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = plane.get(document["kind"], document["metadata"]["name"], "-n", namespace)
    return found


@pytest.mark.parametrize("spec", [PLAIN, FULL], ids=["plain", "full"])
def test_what_is_applied_is_found_again_without_a_difference(
    control_plane: ControlPlane, namespace: str, spec: dict[str, Any]
) -> None:
    documents = wanted(namespace, spec)
    control_plane.apply(*documents, namespace=namespace)
    there = {ref_of(document): live(control_plane, namespace, document) for document in documents}
    assert {ref.kind: list(differing(there[ref], w)) for w in documents for ref in (ref_of(w),)} == {
        document["kind"]: [] for document in documents
    }
    observed = {
        ref: Observed(
            ref=ref,
            labels=found["metadata"]["labels"],
            annotations=found["metadata"].get("annotations", {}),
            content=found,
        )
        for ref, found in there.items()
    }
    hashed = [document for document in documents if document["kind"] != "Secret"]
    assert list(apply_steps(hashed, observed)) == []


def test_applied_again_nothing_is_written(control_plane: ControlPlane, namespace: str) -> None:
    documents = wanted(namespace, FULL)
    control_plane.apply(*documents, namespace=namespace)
    stable = [
        document for document in documents if document["kind"] not in {"StatefulSet", "PodDisruptionBudget"}
    ]
    before = [live(control_plane, namespace, document)["metadata"]["resourceVersion"] for document in stable]
    control_plane.apply(*documents, namespace=namespace)
    assert [live(control_plane, namespace, d)["metadata"]["resourceVersion"] for d in stable] == before
    workload = live(control_plane, namespace, documents[-1])
    assert workload["metadata"]["generation"] == 1


def test_the_pod_is_allowed_where_only_restricted_pods_are(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    control_plane.apply(*wanted(namespace, PLAIN), namespace=namespace)
    deadline = time.monotonic() + 30
    name = names.gateway_pod(SHARD.pool, SHARD.number)
    while control_plane.kubectl("get", "pod", name, "-n", namespace, check=False).returncode:
        assert time.monotonic() < deadline, control_plane.kubectl("get", "events", "-n", namespace).stdout
        time.sleep(0.1)
    pod = control_plane.get("pod", name, "-n", namespace)
    volumes = {next(iter(volume.keys() - {"name"})) for volume in pod["spec"]["volumes"]}
    assert volumes == {"secret", "emptyDir"}, "no token is mounted"


def test_what_somebody_else_changes_is_named(control_plane: ControlPlane, namespace: str) -> None:
    documents = wanted(namespace, PLAIN)
    control_plane.apply(*documents, namespace=namespace)
    control_plane.kubectl("scale", "statefulset", str(SHARD), "--replicas=0", "-n", namespace)
    assert list(differing(live(control_plane, namespace, documents[-1]), documents[-1])) == ["spec.replicas"]
