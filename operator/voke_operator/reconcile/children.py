"""Keeps objects without generated content as they are wanted: made once, mended when they differ, removed by uid.

Every write of what is there carries the version that was seen, a server-side apply as well: so a leader that was
stopped in the middle of its work cannot write over its successor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import structlog

from voke_operator import names
from voke_operator.kube.client import Client, Object
from voke_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from voke_operator.kube.objects import Metadata, Objects
from voke_operator.kube.resources import (
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from voke_operator.plan.difference import Conflict, ObjectRef, Observed, apply_steps, ref_of

_BY_KIND: Final = {
    resource.kind: resource for resource in (STATEFUL_SETS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES)
}

Drifted = Callable[[str, Literal["restored", "refused"]], None]
"""Told of the kind of an object that was not as we left it, and of what was done about it."""

log = structlog.get_logger(__name__)


class NotOursError(Exception):
    """An object of the name that we need was not made by us; it is not touched. The message says what to do."""

    def __init__(self, resource: Resource, namespace: str, name: str) -> None:
        self.kind = resource.kind
        super().__init__(
            f"{resource.kind} {name} in namespace {namespace} was not made by the operator and is not touched; if it "
            f"is not needed: kubectl delete {resource.kind.lower()} -n {namespace} {name}"
        )


class Children:
    """The StatefulSets, Services, budgets and policies of the fleet."""

    def __init__(self, client: Client, objects: Objects, *, drifted: Drifted) -> None:
        self._client = client
        self._objects = objects
        self._drifted = drifted
        self._right: dict[ObjectRef, tuple[str, str, int]] = {}
        """Uid, hash and generation with which an object was found to be as wanted."""

    async def ensure(self, wanted: Object) -> None:
        """Have an object as ``wanted``, which carries its own hash.

        Raises:
            NotOursError: somebody else's has the name.
            ConflictError, KubeError: try again.
        """
        resource, metadata = _BY_KIND[wanted["kind"]], wanted["metadata"]
        hash_ = metadata["annotations"][names.HASH_ANNOTATION]
        known = self._objects.get(resource, metadata["namespace"], metadata["name"])
        ref = ref_of(wanted)
        right = self._right.get(ref)
        if known is not None and right == (known.uid, hash_, known.generation):
            return
        live = None if known is None else await self._live(resource, known)
        observed = {} if live is None else {ref: _observed(wanted, live)}
        step = next(apply_steps([wanted], observed), None)
        if isinstance(step, Conflict):
            raise NotOursError(resource, metadata["namespace"], metadata["name"])
        if step is not None:
            where = {"kind": resource.kind, "name": metadata["name"], "namespace": metadata["namespace"]}
            log.info("object written", reason=step.reason, **where)
            if right is not None and (live is None or right[:2] == (live["metadata"]["uid"], hash_)):
                self._drifted(resource.kind, "restored")  # it is gone, or is not as this process left it
            live = await self._write(resource, wanted, live)
        assert live is not None
        self._right[ref] = live["metadata"]["uid"], hash_, live["metadata"].get("generation", 0)

    async def remove(self, resource: Resource, namespace: str, name: str) -> bool:
        """Delete an object of ours. Whether there was one.

        Raises:
            KubeError: try again.
        """
        known = self._objects.get(resource, namespace, name)
        self._right.pop(ObjectRef(kind=resource.kind, namespace=namespace, name=name), None)
        if known is None or known.deleting:
            return False
        if known.labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
            return False
        try:
            await self._client.delete(
                resource, namespace, name, uid=known.uid, resource_version=known.resource_version
            )
            log.info("object removed", kind=resource.kind, name=name, namespace=namespace)
        except NotFoundError:
            self._objects.drop(resource, known)
        return True

    async def _live(self, resource: Resource, known: Metadata) -> Object | None:
        try:
            return await self._client.get(resource, known.namespace, known.name)
        except NotFoundError:
            self._objects.drop(resource, known)
            return None

    async def _write(self, resource: Resource, wanted: Object, live: Object | None) -> Object:
        metadata = wanted["metadata"]
        if live is None:
            try:
                written = await self._client.create(resource, wanted)
            except AlreadyExistsError:
                there = await self._client.get(resource, metadata["namespace"], metadata["name"])
                if not _observed(wanted, there).ours:
                    raise NotOursError(resource, metadata["namespace"], metadata["name"]) from None
                raise ConflictError(f"{resource.kind} {metadata['name']} was made meanwhile") from None
        else:
            version = live["metadata"]["resourceVersion"]
            written = await self._client.apply(
                resource, {**wanted, "metadata": {**metadata, "resourceVersion": version}}
            )
        self._objects.written(resource, written)
        return written


def _observed(wanted: Object, live: Object) -> Observed:
    metadata = live["metadata"]
    return Observed(
        ref=ref_of(wanted),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        content=live,
    )
