"""Who is selected by labels, as Kubernetes defines it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Pod:
    """What selectors and networks know of a pod."""

    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict, hash=False)
    """Its containers' ports that have a name."""


def pods(documents: Iterable[Json]) -> list[Pod]:
    """From documents of the API."""
    return [
        Pod(
            namespace=each["metadata"]["namespace"],
            name=each["metadata"]["name"],
            labels=each["metadata"].get("labels", {}),
            address=each.get("status", {}).get("podIP", ""),
            ports={
                port["name"]: port["containerPort"]
                for container in each["spec"]["containers"]
                for port in container.get("ports", ())
                if "name" in port
            },
        )
        for each in documents
    ]


def matches(selector: Json, labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes something with these labels; an empty one takes all."""
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _holds(each, labels) for each in selector.get("matchExpressions") or ()
    )


def _holds(expression: Json, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(expression["operator"])
