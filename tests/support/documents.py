"""Resources and Secrets as people write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def resource(kind: str, name: str, spec: Json) -> Json:
    """A Plant, a DeviceProfile or a GatewayPool."""
    return {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def secret(name: str, data: Mapping[str, str]) -> Json:
    """A Secret that Plants may refer to."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"voke.lovinka.com/allow": "true"}},
        "stringData": dict(data),
    }
