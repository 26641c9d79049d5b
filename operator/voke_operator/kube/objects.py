"""What is known of the cluster: custom resources whole and packed small, children as metadata.

Filled by :mod:`voke_operator.kube.sources`; says so when something changed that a reconcile would want to know.
A change of ``status`` is no such thing, or every report of ours would wake the reconcile that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from voke_operator.kube.resources import Resource

Changed = Callable[[str, str, str], None]
"""Told of every real change: kind, namespace, name. Also of what is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """The part of an object's ``metadata`` that decisions are made of."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    """0 where the kind has none."""
    created: str
    """RFC 3339."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: str | None
    """uid of the owner that is its controller, or else of the first."""
    deleting: bool
    """A ``deletionTimestamp`` is set."""


def metadata_of(document: Mapping[str, Any]) -> Metadata:
    """Of an object as the API server sends it."""
    raise NotImplementedError


class Objects:
    """What is known, by kind, namespace and name. For one event loop; nothing here waits."""

    def __init__(self, changed: Changed = lambda *_: None) -> None:
        raise NotImplementedError

    def get(self, resource: Resource, namespace: str, name: str) -> Metadata | None:
        """What is known of an object; None if it is not there."""
        raise NotImplementedError

    def document(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A custom resource whole, without ``managedFields``; None if it is not there."""
        raise NotImplementedError

    def all(self, resource: Resource, namespace: str | None = None) -> Iterator[Metadata]:
        """All objects of a kind, in the order of namespace and name."""
        raise NotImplementedError

    def count(self, resource: Resource) -> int:
        """How many objects of a kind are known."""
        raise NotImplementedError

    def put(self, resource: Resource, document: Mapping[str, Any]) -> None:
        """An object is as ``document`` says: an event, or the answer to a write of ours."""

    def drop(self, resource: Resource, document: Mapping[str, Any]) -> None:
        """An object is gone, unless another of its name has taken its place."""
