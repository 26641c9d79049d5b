"""What is known of the cluster: custom resources whole and packed small, children as metadata.

Filled by :mod:`voke_operator.kube.sources`; says so when something changed that a reconcile would want to know.
A change of ``status`` is no such thing, or every report of ours would wake the reconcile that wrote it.

An event is always taken: the stream that it came by is in order. A list is older than what arrived while it was
read, so what it says is compared by ``resourceVersion``, whose order Kubernetes promises since 1.35 and etcd
always gave.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from voke_api.resources.common import GROUP
from voke_operator.kube.resources import OURS, Resource

Changed = Callable[[str, str, str], None]
"""Told of every real change: kind, namespace, name. Also of what is gone."""

_OURS: Final = f"{GROUP}/"
"""What the annotations begin with that are read. All others, up to 256 KiB of an object, are not stored."""


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
    """uid of its controller, or else of its first owner."""
    deleting: bool
    """A ``deletionTimestamp`` is set."""


def metadata_of(document: Mapping[str, Any]) -> Metadata:
    """Of an object as the API server sends it."""
    metadata = document["metadata"]
    owners = sorted(metadata.get("ownerReferences") or (), key=lambda owner: not owner.get("controller"))
    return Metadata(
        namespace=sys.intern(metadata.get("namespace", "")),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        created=metadata.get("creationTimestamp") or "",
        labels={sys.intern(key): sys.intern(value) for key, value in (metadata.get("labels") or {}).items()},
        annotations=_annotations(metadata),
        owner=owners[0]["uid"] if owners else None,
        deleting=metadata.get("deletionTimestamp") is not None,
    )


@dataclass(frozen=True, slots=True)
class Known:
    """An object as it is kept."""

    metadata: Metadata
    packed: bytes | None
    """A custom resource without ``managedFields`` and ``status``; of a child there is none."""
    status: bytes | None = None
    """Its ``status``, which is small and asked for far more often; None: it has none."""


def known_of(resource: Resource, document: Mapping[str, Any]) -> Known:
    """Make an object small. Pure, so that another thread may do it for thousands of them."""
    if resource not in OURS:
        return Known(metadata_of(document), None)
    status = document.get("status")
    return Known(metadata_of(document), _pack(document), None if status is None else _zip(status))


class Objects:
    """What is known, by kind, namespace and name. For one event loop; nothing here waits."""

    def __init__(self, changed: Changed = lambda *_: None) -> None:
        self._changed = changed
        self._known: dict[Resource, dict[str, dict[str, Known]]] = {}
        self._counts: dict[Resource, int] = {}
        self._listings: list[Listing] = []
        self._listed: dict[tuple[Resource, str | None], int] = {}

    def get(self, resource: Resource, namespace: str, name: str) -> Metadata | None:
        """What is known of an object; None if it is not there."""
        known = self._find(resource, namespace, name)
        return None if known is None else known.metadata

    def document(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """A custom resource whole, without ``managedFields``; None if it is not there."""
        known = self._find(resource, namespace, name)
        if known is None or known.packed is None:
            return None
        document = _unzip(known.packed)
        return document if known.status is None else {**document, "status": _unzip(known.status)}

    def status(self, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
        """The ``status`` of a custom resource; empty if it has none, or is not there."""
        known = self._find(resource, namespace, name)
        return {} if known is None or known.status is None else _unzip(known.status)

    def all(self, resource: Resource, namespace: str | None = None) -> Iterator[Metadata]:
        """All objects of a kind, in the cluster or in a namespace, in no order."""
        namespaces = self._known.get(resource, {})
        chosen = list(namespaces) if namespace is None else [namespace]
        for each in chosen:
            for known in list(namespaces.get(each, {}).values()):
                yield known.metadata

    def count(self, resource: Resource) -> int:
        """How many objects of a kind are known."""
        return self._counts.get(resource, 0)

    def put(self, resource: Resource, known: Known) -> None:
        """An event says that an object is so."""
        metadata = known.metadata
        before = self.get(resource, metadata.namespace, metadata.name)
        names = self._known.setdefault(resource, {}).setdefault(metadata.namespace, {})
        names[metadata.name] = known
        if before is None:
            self._counts[resource] = self.count(resource) + 1
        if before is None or _differ(resource, before, metadata):
            self._changed(resource.kind, metadata.namespace, metadata.name)

    def written(self, resource: Resource, document: Mapping[str, Any]) -> None:
        """A write of ours was answered with ``document``: taken unless a later event has arrived already."""
        known = known_of(resource, document)
        before = self.get(resource, known.metadata.namespace, known.metadata.name)
        if before is None or _version(before.resource_version) < _version(known.metadata.resource_version):
            self.put(resource, known)

    def drop(self, resource: Resource, metadata: Metadata) -> None:
        """An event says that an object is gone; another of its name may have taken its place already."""
        for listing in self._listings:
            if listing.resource == resource:
                listing.gone.add(metadata.uid)
        known = self.get(resource, metadata.namespace, metadata.name)
        if known is not None and known.uid == metadata.uid:
            self._remove(resource, known)

    def listing(self, resource: Resource, namespace: str | None) -> Listing:
        """Begin to take in a list of all objects of a kind, in the cluster or in a namespace. Use it with ``with``."""
        return Listing(self, resource, namespace)

    def _find(self, resource: Resource, namespace: str, name: str) -> Known | None:
        return self._known.get(resource, {}).get(namespace, {}).get(name)

    def _remove(self, resource: Resource, metadata: Metadata) -> None:
        names = self._known[resource][metadata.namespace]
        del names[metadata.name]
        if not names:
            del self._known[resource][metadata.namespace]
        self._counts[resource] -= 1
        self._changed(resource.kind, metadata.namespace, metadata.name)


class Listing:
    """A list being read, page by page, while events go on arriving."""

    def __init__(self, objects: Objects, resource: Resource, namespace: str | None) -> None:
        self.resource = resource
        self.gone: set[str] = set()
        """uids of what vanished since it began: what the list still shows of these is a ghost."""
        self._objects = objects
        self._namespace = namespace
        self._seen: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._objects._listings.append(self)  # noqa: SLF001 – the other half of one thing
        return self

    def __exit__(self, *_exc: object) -> None:
        self._objects._listings.remove(self)  # noqa: SLF001

    def add(self, document: Mapping[str, Any], *, version: str) -> None:
        """The list, whose ``resourceVersion`` is ``version``, holds this."""
        metadata = document["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        self._seen.add((namespace, name))
        known = self._objects.get(self.resource, namespace, name)
        if known is None:
            newer = metadata["uid"] not in self.gone
        else:
            newer = _version(known.resource_version) < _version(metadata["resourceVersion"])
        if newer or self._backwards(version):
            self._objects.put(self.resource, known_of(self.resource, document))

    def finish(self, *, version: str) -> None:
        """That was all of it: what is known, not newer, and not listed is gone."""
        for metadata in self._objects.all(self.resource, self._namespace):
            older = _version(metadata.resource_version) <= _version(version) or self._backwards(version)
            if older and (metadata.namespace, metadata.name) not in self._seen:
                self._objects._remove(self.resource, metadata)  # noqa: SLF001
        self._objects._listed[self.resource, self._namespace] = _version(version)  # noqa: SLF001

    def _backwards(self, version: str) -> bool:
        """The cluster was put back to an earlier state: nothing known can be newer than what it says now."""
        return _version(version) < self._objects._listed.get((self.resource, self._namespace), 0)  # noqa: SLF001


def _version(text: str) -> int:
    return int(text)


def _differ(resource: Resource, before: Metadata, now: Metadata) -> bool:
    if resource not in OURS:
        return before.resource_version != now.resource_version
    return (before.uid, before.generation, before.labels, before.annotations, before.deleting) != (
        now.uid,
        now.generation,
        now.labels,
        now.annotations,
        now.deleting,
    )


def _annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    given = metadata.get("annotations") or {}
    return {sys.intern(key): value for key, value in given.items() if key.startswith(_OURS)}


def _pack(document: Mapping[str, Any]) -> bytes:
    metadata = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    if "annotations" in metadata:
        metadata["annotations"] = _annotations(metadata)
    return _zip({key: value for key, value in document.items() if key != "status"} | {"metadata": metadata})


def _zip(document: Mapping[str, Any]) -> bytes:
    return zlib.compress(orjson.dumps(document), level=1)


def _unzip(packed: bytes) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(zlib.decompress(packed))
    return document
