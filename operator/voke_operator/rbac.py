"""What the operator must be allowed to do, each rule with its reason. Plain data, from which the chart is made.

RBAC cannot select by label: the right to Secrets is one to all Secrets of the namespaces that are watched. So a list
of namespaces is the better choice wherever there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from voke_api.resources.common import GROUP
from voke_operator.names import FLEET_CA


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a Role or ClusterRole."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    reason: str
    """For people who decide whether to grant it."""
    name: str | None = None
    """Of the only object that it is about; None: of any."""


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
        reason="an annotation that makes kubelet refresh a changed bundle at once; pods/status cannot change what a pod "
        "runs, as pods could, and the admission policy confines it to that annotation",
    ),
    Rule(group="", resources=("events",), verbs=("create", "patch"), reason="what kubectl describe shows"),
)
"""In every namespace that is watched."""


def own_namespace(*, lease: str, issuer: str | None) -> tuple[Rule, ...]:
    """In the operator's own namespace: the ``lease``, and the CA.

    ``issuer`` is the Secret of a CA that the operator is given; None: it makes one. No name can be given for making.
    """
    leases, group = "which replica leads", "coordination.k8s.io"
    return (
        Rule(group=group, resources=("leases",), verbs=("create",), reason=leases),
        Rule(group=group, resources=("leases",), verbs=("get", "update"), name=lease, reason=leases),
        *(_FLEET_CA if issuer is None else (_given_ca(issuer),)),
    )


_AUTHORITY: Final = "the CA that issues client certificates"
_FLEET_CA: Final = (
    Rule(group="", resources=("secrets",), verbs=("create",), reason=_AUTHORITY),
    Rule(group="", resources=("secrets",), verbs=("get", "update"), name=FLEET_CA, reason=_AUTHORITY),
)


def _given_ca(secret: str) -> Rule:
    return Rule(group="", resources=("secrets",), verbs=("get",), name=secret, reason=_AUTHORITY)
