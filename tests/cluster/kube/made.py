"""Objects for the tests of this folder."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from voke_operator.kube.resources import PLANTS, POOLS, PROFILES, Resource
from voke_operator.names import OWNED, PLANT_LABEL, PLANT_SECRET_TYPE


def plant(namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    """A Plant with one PLC, and with ``spec`` besides or instead."""
    whole = {
        "plantId": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{namespace}")),
        "auth": {"method": "MTLS"},
        "connections": [{"name": "plc1", "modbusTcp": {"host": f"{name}.example"}}],
        "devices": [{"externalId": "INV1", "type": "INVERTER", "connection": "plc1", "profile": "acme"}],
    }
    return custom(PLANTS, namespace, name, **whole | spec)


def profile(namespace: str, name: str) -> dict[str, Any]:
    """A DeviceProfile with one point."""
    points = [{"field": "powerKw", "table": "input", "address": 30, "type": "int32"}]
    return custom(PROFILES, namespace, name, type="INVERTER", points=points)


def pool(namespace: str, name: str) -> dict[str, Any]:
    """A GatewayPool in which everything is left to its default."""
    return custom(POOLS, namespace, name)


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
