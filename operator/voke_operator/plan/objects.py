"""What the cluster is to hold for gateways, of each shard and of each pool.

A shard has its bundle, a StatefulSet and a Service; a pool a disruption budget and a network policy. Plain
documents for server-side apply. The same input gives the same document, and nothing in one changes
without a reason: a gateway restarts when its pod template does. A gateway's pod has no rights in the cluster:
no token, no root, nothing to write to but its outbox.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from voke_api.resources import GatewayPool
from voke_api.resources.common import API_VERSION, Json, Metadata, Model
from voke_api.resources.pool import GatewayPoolSpec, Storage
from voke_operator import names
from voke_operator.plan.difference import differing
from voke_operator.plan.placement import ShardId

HTTP_PORT: Final = 9100
"""Of /healthz, /readyz, /metrics and /status."""
BUNDLE_PATH: Final = "/etc/voke/bundle"
OUTBOX_PATH: Final = "/var/lib/voke"
CONTAINER: Final = "gateway"
"""Of a gateway's pod, beside those that others may put into it."""
GRACE_SECONDS: Final = 30
"""A gateway drains within ten; the rest is for a slow node."""
_DNS_PORTS: Final = (53, 5353)
CLAIM: Final = "outbox"
"""Name of a gateway's volume, and of its claim if it has one."""
_BUNDLE: Final = "bundle"
_TMP: Final = "tmp"


def _usual_resources() -> Json:
    return {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


class Defaults(Model):
    """What the operator was installed with: for pools that do not say, and for the pool ``default``."""

    image: Annotated[str, Field(min_length=1)]
    """Gateway image."""
    pool: GatewayPoolSpec = GatewayPoolSpec()
    """Stands for the pool called default as long as there is no such object."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """Left out: Kubernetes' own rule."""
    image_pull_secrets: tuple[Json, ...] = ()
    """As in a Pod."""
    service_account: Annotated[str, Field(min_length=1)] | None = None
    """Of gateway pods, in their namespace; it needs no rights. Left out: ``default``."""
    resources: Json = Field(default_factory=_usual_resources)
    """Requests and limits of the gateway's container, as in a Pod."""
    user: Annotated[int, Field(ge=1)] | None = 65532
    """User and group of the gateway; null: the platform chooses, as OpenShift does."""


def pool_of(name: str, pools: Mapping[str, GatewayPool], defaults: Defaults) -> GatewayPool | None:
    """The pool of that name; for one called ``default`` that does not exist the installation's settings stand."""
    if name != "default" or name in pools:
        return pools.get(name)
    metadata = Metadata(name=name)
    return GatewayPool(api_version=API_VERSION, kind="GatewayPool", metadata=metadata, spec=defaults.pool)


def bundle_secret(shard: ShardId, namespace: str, files: Mapping[str, bytes]) -> Json:
    """The Secret that a shard's pod mounts. It holds keys."""
    data = {name: b64encode(content).decode() for name, content in sorted(files.items())}
    metadata = _metadata(names.bundle_secret(shard.pool, shard.number), namespace, shard_labels(shard))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": names.BUNDLE_SECRET_TYPE,
        "data": data,
    }


def shard_objects(
    shard: ShardId,
    namespace: str,
    pool: GatewayPoolSpec,
    defaults: Defaults,
    *,
    annotations: Mapping[str, str] | None = None,
) -> tuple[Json, ...]:
    """Service and StatefulSet of a shard.

    Args:
        shard: Which.
        namespace: Its namespace.
        pool: Its pool.
        defaults: For what the pool does not say.
        annotations: Of the StatefulSet that there is. The volumes of that cannot be changed any more, so they stay
            as they are, and all else follows the pool (:func:`kept_storage`).
    """
    kept = kept_storage(pool, annotations)
    if kept is not None:
        pool = pool.model_copy(update={"shard": pool.shard.model_copy(update={"storage": kept})})
    return _hashed(_service(shard, namespace)), _hashed(_stateful_set(shard, namespace, pool, defaults))


def kept_storage(pool: GatewayPoolSpec, annotations: Mapping[str, str] | None) -> Storage | None:
    """The storage that a StatefulSet has and its pool does not want; None: they agree, or can be made to.

    It comes of a pool that was deleted and made anew: what claims it has is immutable in a StatefulSet.
    """
    held = _storage_in(annotations or {})
    if held is None:
        return None
    is_claimed, is_wanted = held.persistent_volume_claim, pool.shard.storage.persistent_volume_claim
    return held if [*differing(is_claimed, is_wanted), *differing(is_wanted, is_claimed)] else None


def pool_objects(pool_name: str, namespace: str, pool: GatewayPoolSpec) -> tuple[Json, ...]:
    """Disruption budget and network policy of a pool that has shards."""
    return (
        _hashed(_disruption_budget(pool_name, namespace)),
        _hashed(_network_policy(pool_name, namespace, pool)),
    )


def template_hash(stateful_set: Mapping[str, Any]) -> str:
    """Hash of the pod template, as its annotation says."""
    return str(stateful_set["metadata"]["annotations"][names.TEMPLATE_HASH_ANNOTATION])


def _service(shard: ShardId, namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(str(shard), namespace, shard_labels(shard)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # its status is wanted most when it is not ready
            "selector": _selector(shard),
            "ports": [{"name": "http", "port": HTTP_PORT, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def _stateful_set(shard: ShardId, namespace: str, pool: GatewayPoolSpec, defaults: Defaults) -> Json:
    template = _pod_template(shard, pool, defaults)
    digest = _hash(template)
    template["metadata"].setdefault("annotations", {})[names.TEMPLATE_HASH_ANNOTATION] = digest
    metadata = _metadata(str(shard), namespace, shard_labels(shard))
    metadata["annotations"] = {
        names.TEMPLATE_HASH_ANNOTATION: digest,
        names.APPLIED_ANNOTATION: names.FIELD_MANAGER,
        names.STORAGE_ANNOTATION: json.dumps(_dumped(pool.shard.storage), sort_keys=True),
    }
    spec: Json = {
        "replicas": 1,
        # By the other policy a pod that never became ready is never replaced, not even by a good template.
        "podManagementPolicy": "Parallel",
        "serviceName": str(shard),
        "selector": {"matchLabels": _selector(shard)},
        "revisionHistoryLimit": 2,
        "template": template,
    }
    claim = pool.shard.storage.persistent_volume_claim
    if claim is not None:
        spec["volumeClaimTemplates"] = [_volume_claim(claim)]
        # The operator removes a StatefulSet only when nothing on its disk is wanted any more.
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}


def _pod_template(shard: ShardId, pool: GatewayPoolSpec, defaults: Defaults) -> Json:
    pod = pool.pod
    metadata: Json = {"labels": shard_labels(shard)}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": _pod_security(defaults.user),
        "containers": [_container(pool, defaults)],
        "volumes": _volumes(shard, pool),
    }
    optional = {
        "serviceAccountName": defaults.service_account,
        "nodeSelector": pod.node_selector,
        "tolerations": list(pod.tolerations) if pod.tolerations else None,
        "affinity": pod.affinity,
        "priorityClassName": pod.priority_class_name,
        "imagePullSecrets": [dict(each) for each in pod.image_pull_secrets or defaults.image_pull_secrets],
    }
    spec |= {key: value for key, value in optional.items() if value}
    return {"metadata": metadata, "spec": spec}


def _container(pool: GatewayPoolSpec, defaults: Defaults) -> Json:
    arguments = ["--bundle", BUNDLE_PATH, "--http", f":{HTTP_PORT}"]
    if not pool.metrics.per_plant:
        arguments.append("--no-plant-metrics")
    if pool.metrics.per_connection:
        arguments.append("--connection-metrics")
    container: Json = {
        "name": CONTAINER,
        "image": pool.pod.image or defaults.image,
        "command": ["python", "-m", "voke_gateway"],
        "args": arguments,
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "resources": dict(defaults.resources if pool.pod.resources is None else pool.pod.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe("/healthz", every=1, failures=60),
        "livenessProbe": _probe("/healthz", every=10, failures=6),
        "readinessProbe": _probe("/readyz", every=5, failures=3),
        "volumeMounts": [
            {"name": _BUNDLE, "mountPath": BUNDLE_PATH, "readOnly": True},
            {"name": CLAIM, "mountPath": OUTBOX_PATH},
            {"name": _TMP, "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }
    if defaults.image_pull_policy is not None:
        container["imagePullPolicy"] = defaults.image_pull_policy
    return container


def _probe(path: str, *, every: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": every,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(shard: ShardId, pool: GatewayPoolSpec) -> list[Json]:
    secret = {"secretName": names.bundle_secret(shard.pool, shard.number), "defaultMode": 0o440}
    volumes: list[Json] = [
        {"name": _BUNDLE, "secret": secret},
        {"name": _TMP, "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    if pool.shard.storage.persistent_volume_claim is None:
        volumes.append({"name": CLAIM, "emptyDir": dict(pool.shard.storage.empty_dir or {})})
    return volumes


def _volume_claim(claim: Mapping[str, Any]) -> Json:
    spec: Json = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": claim["size"]}},
    }
    if claim.get("storageClassName") is not None:
        spec["storageClassName"] = claim["storageClassName"]
    return {"metadata": {"name": CLAIM}, "spec": spec}


def _pod_security(user: int | None) -> Json:
    context: Json = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if user is not None:
        context |= {
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
        }
    return context


def _disruption_budget(pool: str, namespace: str) -> Json:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(names.disruption_budget(pool), namespace, _pool_labels(pool)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _pool_selector(pool)}},
    }


def _network_policy(pool: str, namespace: str, spec: GatewayPoolSpec) -> Json:
    """Into a gateway only its HTTP port is open; out of it what the pool lists, and DNS wherever it is."""
    policy: Json = {
        "podSelector": {"matchLabels": _pool_selector(pool)},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"protocol": "TCP", "port": HTTP_PORT}]}],
    }
    if spec.pod.egress_cidrs:
        dns = [{"protocol": protocol, "port": port} for port in _DNS_PORTS for protocol in ("UDP", "TCP")]
        networks = [{"ipBlock": {"cidr": cidr}} for cidr in spec.pod.egress_cidrs]
        policy["policyTypes"] = ["Ingress", "Egress"]
        policy["egress"] = [{"ports": dns}, {"to": networks}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(names.disruption_budget(pool), namespace, _pool_labels(pool)),
        "spec": policy,
    }


def _pool_selector(pool: str) -> dict[str, str]:
    return {names.POOL_LABEL: pool, names.APP: names.GATEWAY_APP}


def _selector(shard: ShardId) -> dict[str, str]:
    return {**_pool_selector(shard.pool), names.SHARD_LABEL: str(shard.number)}


def shard_in(labels: Mapping[str, str]) -> ShardId | None:
    """The shard that an object's labels name."""
    pool, number = labels.get(names.POOL_LABEL), labels.get(names.SHARD_LABEL, "")
    return ShardId(pool, int(number)) if pool is not None and number.isdecimal() else None


def shard_labels(shard: ShardId) -> dict[str, str]:
    """Labels of all that belongs to a shard."""
    return {**_selector(shard), **names.OWNED}


def _pool_labels(pool: str) -> dict[str, str]:
    return {**_pool_selector(pool), **names.OWNED}


def _metadata(name: str, namespace: str, labels: Mapping[str, str]) -> Json:
    return {"name": name, "namespace": namespace, "labels": dict(labels)}


def _dumped(storage: Storage) -> Json:
    return storage.model_dump(mode="json", by_alias=True, exclude_none=True)


def _storage_in(annotations: Mapping[str, str]) -> Storage | None:
    try:
        return Storage.model_validate_json(annotations.get(names.STORAGE_ANNOTATION, ""))
    except ValidationError:
        return None  # somebody removed or changed the annotation; it is put back


def _hashed(document: Json) -> Json:
    """The document with its own hash."""
    annotations = {
        **document["metadata"].get("annotations", {}),
        names.HASH_ANNOTATION: _hash(document),
    }
    return {**document, "metadata": {**document["metadata"], "annotations": annotations}}


def _hash(document: object) -> str:
    return sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]
