"""Objects for the tests of this folder."""

from __future__ import annotations

import base64
from typing import Any

from voke_operator.kube.resources import PLANTS, Resource
from voke_operator.names import OWNED, PLANT_LABEL, PLANT_SECRET_TYPE


def plant(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A Plant."""
    return custom(PLANTS, namespace, name, **spec)


def custom(resource: Resource, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A custom resource of ours."""
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def secret(
    namespace: str, name: str, *, labels: dict[str, str] | None = None, **data: bytes
) -> dict[str, Any]:
    """A Secret as the operator makes them for plants."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": PLANT_SECRET_TYPE,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {**OWNED, PLANT_LABEL: name} if labels is None else labels,
        },
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
