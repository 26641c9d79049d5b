"""What the operator must be allowed to do, each rule with its reason. Plain data, from which manifests are made.

RBAC cannot select by label: the right to Secrets is one to all Secrets of the namespaces that are watched. So a list
of namespaces is the better choice wherever there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from voke_api.resources.common import GROUP

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a Role or ClusterRole."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    reason: str
    """For people who decide whether to grant it."""

    @property
    def document(self) -> Object:
        """As RBAC wants it."""
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}


_READ: Final = ("get", "list", "watch")
_OWN: Final = (*_READ, "create", "patch", "delete")

WATCHED: Final = (
    Rule(
        group=GROUP,
        resources=("plants", "deviceprofiles", "gatewaypools"),
        verbs=_READ,
        reason="what people declare",
    ),
    Rule(
        group=GROUP,
        resources=("plants/status", "gatewaypools/status"),
        verbs=("patch",),
        reason="conditions, and which keys are in force",
    ),
    Rule(
        group="",
        resources=("secrets",),
        verbs=(*_READ, "create", "update", "delete"),
        reason="keys of plants, bundles of gateways, and Secrets that Plants refer to; watched as metadata only",
    ),
    Rule(group="apps", resources=("statefulsets",), verbs=_OWN, reason="one per gateway"),
    Rule(group="", resources=("services",), verbs=_OWN, reason="one per gateway"),
    Rule(
        group="policy",
        resources=("poddisruptionbudgets",),
        verbs=_OWN,
        reason="one per pool: not all gateways are drained at once",
    ),
    Rule(
        group="networking.k8s.io",
        resources=("networkpolicies",),
        verbs=_OWN,
        reason="one per pool: what gateways may reach",
    ),
    Rule(group="", resources=("pods",), verbs=_READ, reason="where gateways are to be asked how they are"),
    Rule(
        group="",
        resources=("pods/status",),
        verbs=("patch",),
        reason="an annotation that makes kubelet refresh a changed bundle at once; the pod itself cannot be changed "
        "by way of its status",
    ),
    Rule(group="", resources=("events",), verbs=("create", "patch"), reason="what kubectl describe shows"),
)
"""In every namespace that is watched."""

OWN_NAMESPACE: Final = (
    Rule(
        group="coordination.k8s.io",
        resources=("leases",),
        verbs=("get", "create", "update"),
        reason="which replica leads",
    ),
    Rule(
        group="",
        resources=("secrets",),
        verbs=("get", "create", "update"),
        reason="the CA that issues client certificates",
    ),
)
"""In the operator's own namespace."""


def manifests(*, account: str, namespace: str, watch: Sequence[str] = ()) -> list[Object]:
    """Roles and bindings of the operator.

    Args:
        account: Its ServiceAccount.
        namespace: Its own namespace.
        watch: Namespaces with Plants; none: the whole cluster.
    """
    subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    name = f"{account}-self"
    made = _bound("Role", name, namespace, OWN_NAMESPACE, subject)
    if not watch:
        return [*made, *_bound("ClusterRole", account, None, WATCHED, subject)]
    return [*made, *(each for part in watch for each in _bound("Role", account, part, WATCHED, subject))]


def _bound(
    kind: str, name: str, namespace: str | None, rules: Sequence[Rule], subject: Object
) -> list[Object]:
    api = "rbac.authorization.k8s.io"
    metadata = {"name": name} | ({} if namespace is None else {"namespace": namespace})
    role = {
        "apiVersion": f"{api}/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": [rule.document for rule in rules],
    }
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": api, "kind": kind, "name": name},
        "subjects": [subject],
    }
    return [role, binding]
