"""Keeps objects without generated content as they are wanted: made once, mended when they differ, removed by uid.

Every write of what is there carries the version that was seen, a server-side apply as well: so a leader that was
stopped in the middle of its work cannot write over its successor.
"""

from __future__ import annotations

from typing import Final

import structlog

from voke_operator import names
from voke_operator.kube.client import Client, Object
from voke_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from voke_operator.kube.objects import Metadata, Objects, metadata_of
from voke_operator.kube.resources import (
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from voke_operator.plan.difference import differing

_BY_KIND: Final = {
    resource.kind: resource for resource in (STATEFUL_SETS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES)
}

log = structlog.get_logger(__name__)


class NotOursError(Exception):
    """An object of the name that we need was not made by us; it is not touched. The message says what to do."""

    def __init__(self, resource: Resource, namespace: str, name: str) -> None:
        super().__init__(
            f"{resource.kind} {name} in namespace {namespace} was not made by the operator and is not touched; if it "
            f"is not needed: kubectl delete {resource.kind.lower()} -n {namespace} {name}"
        )


class Children:
    """The StatefulSets, Services, budgets and policies of the fleet."""

    def __init__(self, client: Client, objects: Objects) -> None:
        self._client = client
        self._objects = objects
        self._right: dict[str, tuple[str, int]] = {}
        """By uid: hash and generation with which an object was found to be as wanted."""

    async def ensure(self, wanted: Object) -> None:
        """Have an object as ``wanted``, which carries its own hash.

        Raises:
            NotOursError: somebody else's has the name.
            ConflictError, KubeError: try again.
        """
        resource, metadata = _BY_KIND[wanted["kind"]], wanted["metadata"]
        known = self._objects.get(resource, metadata["namespace"], metadata["name"])
        if known is None:
            await self._create(resource, wanted)
            return
        _ours(resource, known)
        hash_ = metadata["annotations"][names.HASH_ANNOTATION]
        if self._right.get(known.uid) == (hash_, known.generation):
            return
        live = await self._client.get(resource, known.namespace, known.name)
        if known.annotations.get(names.HASH_ANNOTATION) == hash_ and not any(differing(live, wanted)):
            self._note(live, hash_)
            return
        log.info("object mended", kind=resource.kind, name=known.name, namespace=known.namespace)
        body = {**wanted, "metadata": {**metadata, "resourceVersion": live["metadata"]["resourceVersion"]}}
        self._note(await self._write(resource, body), hash_)

    async def remove(self, resource: Resource, namespace: str, name: str) -> bool:
        """Delete an object of ours. Whether there was one.

        Raises:
            KubeError: try again.
        """
        known = self._objects.get(resource, namespace, name)
        if known is None or known.deleting:
            return False
        if known.labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
            return False
        try:
            await self._client.delete(resource, namespace, name, uid=known.uid)
            log.info("object removed", kind=resource.kind, name=name, namespace=namespace)
        except NotFoundError:
            self._objects.drop(resource, known)
        self._right.pop(known.uid, None)
        return True

    async def _create(self, resource: Resource, wanted: Object) -> None:
        metadata = wanted["metadata"]
        try:
            made = await self._client.create(resource, wanted)
        except AlreadyExistsError:
            there = await self._client.get_metadata(resource, metadata["namespace"], metadata["name"])
            _ours(resource, metadata_of(there))
            raise ConflictError(f"{resource.kind} {metadata['name']} was made meanwhile") from None
        log.info("object made", kind=resource.kind, name=metadata["name"], namespace=metadata["namespace"])
        self._objects.written(resource, made)
        self._note(made, metadata["annotations"][names.HASH_ANNOTATION])

    async def _write(self, resource: Resource, body: Object) -> Object:
        written = await self._client.apply(resource, body)
        self._objects.written(resource, written)
        return written

    def _note(self, live: Object, hash_: str) -> None:
        self._right[live["metadata"]["uid"]] = hash_, live["metadata"].get("generation", 0)


def _ours(resource: Resource, known: Metadata) -> None:
    if known.labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
        raise NotOursError(resource, known.namespace, known.name)
