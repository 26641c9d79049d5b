"""Sees what there is of the objects that the operator makes, and makes one step after another on them.

Every write of what is there carries the version that was seen, a server-side apply as well: so a leader that was
stopped in the middle of its work cannot write over its successor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import structlog

from voke_operator import names
from voke_operator.kube.client import NOT_THERE, Client, Object
from voke_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from voke_operator.kube.objects import Metadata, Objects, metadata_of
from voke_operator.kube.resources import (
    DISRUPTION_BUDGETS,
    NETWORK_POLICIES,
    PODS,
    SECRETS,
    SERVICES,
    STATEFUL_SETS,
    Resource,
)
from voke_operator.plan.difference import (
    Action,
    Conflict,
    ObjectRef,
    Observed,
    Step,
    apply_steps,
    not_ours,
    ref_of,
)
from voke_operator.reconcile.fleet import Name
from voke_operator.reconcile.queue import Key, Kind

RESOURCES: Final = {
    each.kind: each for each in (SECRETS, STATEFUL_SETS, SERVICES, DISRUPTION_BUDGETS, NETWORK_POLICIES)
}
"""By kind."""

_SHARD: Final = r"(?P<pool>.+)-(?P<number>\d+)"
_NAMES: Final = {
    SECRETS.kind: re.compile(names.bundle_secret_prefix() + _SHARD),
    STATEFUL_SETS.kind: re.compile(names.gateway_prefix() + _SHARD),
    SERVICES.kind: re.compile(names.gateway_prefix() + _SHARD),
    PODS.kind: re.compile(names.gateway_prefix() + _SHARD + "-0"),
    DISRUPTION_BUDGETS.kind: re.compile(names.gateway_prefix() + "(?P<pool>.+)"),
    NETWORK_POLICIES.kind: re.compile(names.gateway_prefix() + "(?P<pool>.+)"),
}
"""What the objects of shards and pools are called, by kind."""

Drifted = Callable[[str, Literal["restored", "refused"]], None]
"""Told of the kind of an object that was not as we left it, and of what was done about it."""

log = structlog.get_logger(__name__)


class NotOursError(Exception):
    """An object of the name that we need was not made by us; it is not touched. The message says what to do."""

    def __init__(self, conflict: Conflict) -> None:
        self.kind = conflict.ref.kind
        super().__init__(conflict.message)


class Children:
    """The bundles, StatefulSets, Services, budgets and policies of the fleet."""

    def __init__(self, client: Client, objects: Objects, *, drifted: Drifted) -> None:
        self._client = client
        self._objects = objects
        self._drifted = drifted
        self._right: dict[ObjectRef, tuple[str, str, int]] = {}
        """Uid, hash and generation with which an object was found to be as wanted."""

    def known(self, refs: Iterable[ObjectRef]) -> dict[ObjectRef, Observed]:
        """What the watches tell of objects: no content."""
        found = ((ref, self._objects.get(RESOURCES[ref.kind], ref.namespace, ref.name)) for ref in refs)
        return {ref: _observed(ref, metadata) for ref, metadata in found if metadata is not None}

    async def observe(self, wanted: Iterable[Object]) -> dict[ObjectRef, Observed]:
        """What there is of objects that are ``wanted``, which carry their own hash.

        One that somebody may have changed since it was found to be right is read.

        Raises:
            KubeError: try again.
        """
        seen: dict[ObjectRef, Observed] = {}
        for document in wanted:
            ref = ref_of(document)
            resource = RESOURCES[ref.kind]
            metadata = self._objects.get(resource, ref.namespace, ref.name)
            if metadata is None:
                continue
            right = (metadata.uid, _hash_of(document), metadata.generation)
            if self._right.get(ref) == right and _is_marked(metadata, document):
                seen[ref] = _observed(ref, metadata)
                continue
            try:
                live = await self._client.get(resource, ref.namespace, ref.name)
            except NotFoundError:
                self._objects.drop(resource, metadata)
                continue
            seen[ref] = _observed(ref, metadata_of(live), live)
            if next(apply_steps([document], seen), None) is None:
                self._note_right(ref, live, document)
        return seen

    async def make(self, step: Step) -> Object | None:
        """Make one step; the object as it is now, None if it was deleted.

        Raises:
            NotOursError: somebody else's has the name.
            ConflictError, KubeError: observe and plan again.
        """
        resource, ref = RESOURCES[step.ref.kind], step.ref
        if step.action is Action.DELETE:
            await self._delete(step)
            return None
        assert step.document is not None
        body = dict(step.document)
        if not step.resource_version:
            written = await self._make_new(step.action, ref, body)
        elif step.action is Action.UPDATE:
            written = await self._client.replace(resource, body)
        else:
            written = await self._apply(resource, body, await self._take_over(step))
        self._objects.written(resource, written)
        if step.action is Action.APPLY:
            log.info("object written", reason=step.reason, **_where(ref))
            if (right := self._right.get(ref)) and (not step.uid or right[:2] == (step.uid, _hash_of(body))):
                self._drifted(ref.kind, "restored")  # it was gone, or not as this process left it
            self._note_right(ref, written, body)
        return written

    async def _apply(self, resource: Resource, body: Object, version: str) -> Object:
        metadata = {**body["metadata"], "resourceVersion": version}
        return await self._client.apply(resource, {**body, "metadata": metadata})

    async def _take_over(self, step: Step) -> str:
        """Have all that was ever written of an object belong to apply, if it does not yet; its version then."""
        if step.managed_fields is None:
            return step.resource_version
        resource, ref = RESOURCES[step.ref.kind], step.ref
        patch = {"metadata": {"managedFields": list(step.managed_fields)}}
        written = await self._client.patch(
            resource, ref.namespace, ref.name, patch, resource_version=step.resource_version
        )
        self._objects.written(resource, written)
        log.info("object taken over from 0.1.0", **_where(ref))
        return metadata_of(written).resource_version

    async def _make_new(self, action: Action, ref: ObjectRef, body: Object) -> Object:
        """Never over what is there."""
        resource = RESOURCES[ref.kind]
        try:
            if action is Action.CREATE:
                return await self._client.create(resource, body)
            return await self._apply(resource, body, NOT_THERE)
        except (AlreadyExistsError, ConflictError):
            there = metadata_of(await self._client.get_metadata(resource, ref.namespace, ref.name))
            if not _observed(ref, there).ours:
                raise NotOursError(not_ours(ref)) from None
            raise ConflictError(f"{ref} was made meanwhile") from None

    async def _delete(self, step: Step) -> None:
        resource, ref = RESOURCES[step.ref.kind], step.ref
        try:
            await self._client.delete(
                resource, ref.namespace, ref.name, uid=step.uid, resource_version=step.resource_version
            )
            log.info("object removed", reason=step.reason, **_where(ref))
        except NotFoundError:
            known = self._objects.get(resource, ref.namespace, ref.name)
            if known is not None:
                self._objects.drop(resource, known)
        self._right.pop(ref, None)

    def _note_right(self, ref: ObjectRef, live: Object, wanted: Mapping[str, Any]) -> None:
        metadata = live["metadata"]
        self._right[ref] = metadata["uid"], _hash_of(wanted), metadata.get("generation", 0)


def owner_of(kind: str, name: Name) -> Key | None:
    """The shard or the pool that an object of ours belongs to, by what it is called; None: to neither."""
    found = _NAMES[kind].fullmatch(name.name) if kind in _NAMES else None
    if found is None:
        return None
    pool, number = found["pool"], found.groupdict().get("number")
    return (
        Key(Kind.POOL, name.namespace, pool)
        if number is None
        else Key(Kind.SHARD, name.namespace, pool, int(number))
    )


def _hash_of(document: Mapping[str, Any]) -> str:
    return str(document["metadata"]["annotations"][names.HASH_ANNOTATION])


def _is_marked(metadata: Metadata, wanted: Mapping[str, Any]) -> bool:
    """Whether an object has the labels and annotations that are wanted: its generation says nothing of them."""
    said = wanted["metadata"]
    marks = ((metadata.labels, said["labels"]), (metadata.annotations, said["annotations"]))
    return all(ours.items() <= there.items() for there, ours in marks)


def _observed(ref: ObjectRef, metadata: Metadata, live: Object | None = None) -> Observed:
    return Observed(
        ref=ref,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        labels=metadata.labels,
        annotations=metadata.annotations,
        deleting=metadata.deleting,
        content=live,
    )


def _where(ref: ObjectRef) -> dict[str, str]:
    return {"kind": ref.kind, "name": ref.name, "namespace": ref.namespace}
