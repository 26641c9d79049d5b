"""Kubernetes Secrets as plain data; nothing here ever shows what is in one."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voke_api.problems import Path


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A Kubernetes Secret, from a file or a cluster; its repr names keys only."""

    name: str
    namespace: str
    labels: Mapping[str, str]
    data: Mapping[str, bytes]
    places: Mapping[str, Path] = field(default_factory=dict)
    """Where each key of ``data`` is in the file that it is from."""
    type: str = "Opaque"
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[Mapping[str, Any], ...] = ()
    """Its ``ownerReferences``."""
    uid: str = ""
    resource_version: str = ""
    """Empty, as ``uid``, in a Secret that is to be created."""

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, keys={sorted(self.data)})"

    def place(self, key: str) -> Path:
        """Where a key is in the document."""
        return self.places.get(key, ("data", key))


def from_document(document: Mapping[str, Any]) -> Secret:
    """A Secret as the API server gives it."""
    metadata = document["metadata"]
    return Secret(
        name=metadata["name"],
        namespace=metadata["namespace"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        data={key: b64decode(content) for key, content in (document.get("data") or {}).items()},
        type=document.get("type") or "Opaque",
        owners=tuple(metadata.get("ownerReferences") or ()),
        uid=metadata.get("uid") or "",
        resource_version=metadata.get("resourceVersion") or "",
    )


def to_document(secret: Secret) -> dict[str, Any]:
    """A Secret as the API server takes it. Holds what is secret.

    With a resource version it is for a replacement of that very version: another one is a conflict.
    """
    metadata: dict[str, Any] = {
        "name": secret.name,
        "namespace": secret.namespace,
        "labels": dict(secret.labels),
        "annotations": dict(secret.annotations),
        "ownerReferences": [dict(owner) for owner in secret.owners],
    }
    if secret.resource_version:
        metadata |= {"uid": secret.uid, "resourceVersion": secret.resource_version}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": secret.type,
        "data": {key: b64encode(content).decode() for key, content in sorted(secret.data.items())},
    }
