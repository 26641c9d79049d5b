"""What whoever calls ``kubectl voke`` must be allowed to do, each right with its reason. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from voke_api.resources.common import GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One verb on one kind of object, in the namespace of the Plant."""

    verb: str
    resource: str
    group: str = ""
    reason: str
    """For people who decide whether to grant it."""

    def __str__(self) -> str:
        """For a sentence: ``get pods/proxy``."""
        return f"{self.verb} {self.resource}"


GET_PLANT: Final = Right(verb="get", resource="plants", group=GROUP, reason="one Plant and its conditions")
LIST_PLANTS: Final = Right(verb="list", resource="plants", group=GROUP, reason="all Plants")
PATCH_PLANT: Final = Right(verb="patch", resource="plants", group=GROUP, reason="its annotations")
LIST_PROFILES: Final = Right(
    verb="list", resource="deviceprofiles", group=GROUP, reason="the register maps that its devices refer to"
)
GET_SECRET: Final = Right(
    verb="get", resource="secrets", reason="what was generated for the Plant, `voke-plant-NAME`"
)
GET_POD: Final = Right(verb="get", resource="pods", reason="whether its gateway's pod runs")
ASK_POD: Final = Right(
    verb="get",
    resource="pods/proxy",
    reason="what its gateway says of itself; without it the answer is what the Plant's conditions say",
)
FORWARD: Final = Right(
    verb="create", resource="pods/portforward", reason="the way to the loopback address of its gateway's pod"
)

_PLANNED: Final = (
    *((GROUP, each) for each in ("plants", "deviceprofiles", "gatewaypools")),
    *(("", each) for each in ("secrets", "services", "pods")),
    ("apps", "statefulsets"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "networkpolicies"),
)
_FOR_A_PLAN: Final = tuple(
    Right(verb=verb, resource=resource, group=group, reason="what there is, to compare with")
    for group, resource in _PLANNED
    for verb in ("get", "list")
)

RIGHTS: Final[dict[str, tuple[Right, ...]]] = {
    "status": (GET_PLANT, LIST_PLANTS, ASK_POD),
    "plan": _FOR_A_PLAN,
    "credentials": (GET_PLANT, GET_SECRET, PATCH_PLANT),
    "probe": (GET_PLANT, LIST_PROFILES, GET_POD, FORWARD),
    "release": (GET_PLANT, GET_POD, ASK_POD, PATCH_PLANT),
}
"""By command."""
