"""The kinds of objects that the operator reads and writes, and where the API server serves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from voke_api.resources.common import API_VERSION, GROUP
from voke_operator.names import ALLOW_LABEL, OWNED


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind, as the API server serves it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    selector: str = ""
    """Label selector of those that are listed and watched; empty for all."""

    @property
    def api_version(self) -> str:
        """As ``apiVersion`` of an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def title(self) -> str:
        """As RBAC rules and ``kubectl`` name it: ``plants.voke.lovinka.com``, ``secrets``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Path of one object, or of the collection in a namespace or, without one, in the whole cluster."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/" + "/".join(quote(part, safe="") for part in parts)


_VERSION: Final = API_VERSION.removeprefix(f"{GROUP}/")

PLANTS: Final = Resource(GROUP, _VERSION, "plants", "Plant")
PROFILES: Final = Resource(GROUP, _VERSION, "deviceprofiles", "DeviceProfile")
POOLS: Final = Resource(GROUP, _VERSION, "gatewaypools", "GatewayPool")

_OURS_ONLY: Final = ",".join(f"{label}={value}" for label, value in OWNED.items())

SECRETS: Final = Resource("", "v1", "secrets", "Secret", selector=_OURS_ONLY)
ALLOWED_SECRETS: Final = Resource("", "v1", "secrets", "Secret", selector=f"{ALLOW_LABEL}=true")
"""What Plants and GatewayPools may refer to. A Secret without the label is not there, for all we know."""
STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet", selector=_OURS_ONLY)
SERVICES: Final = Resource("", "v1", "services", "Service", selector=_OURS_ONLY)
DISRUPTION_BUDGETS: Final = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", selector=_OURS_ONLY
)
NETWORK_POLICIES: Final = Resource(
    "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", selector=_OURS_ONLY
)
PODS: Final = Resource("", "v1", "pods", "Pod", selector=_OURS_ONLY)

EVENTS: Final = Resource("", "v1", "events", "Event")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)

OURS: Final = (PLANTS, PROFILES, POOLS)
"""Custom resources: watched whole, through kopf."""
CHILDREN: Final = (
    SECRETS,
    ALLOWED_SECRETS,
    STATEFUL_SETS,
    SERVICES,
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    PODS,
)
"""Watched by label and as metadata only."""
