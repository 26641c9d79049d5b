"""From what is wanted and what is observed to steps, each with its reason for people.

What is not ours is never touched: an object of a name that we need, without our label, is a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

from voke_operator import names
from voke_operator.plan.ownership import taken_over


class Action(StrEnum):
    """What is to be done to an object."""

    CREATE = "create"
    """Create it; if one is there already, observe again."""
    UPDATE = "update"
    """Replace it, guarded by the resource version that was observed."""
    APPLY = "apply"
    """Server-side apply."""
    DELETE = "delete"
    """Delete it, if it still has the uid that was observed."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectRef:
    """Which object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is known of an object that there is."""

    ref: ObjectRef
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    """A deletion timestamp is set."""
    content: Mapping[str, Any] | None = field(default=None, repr=False)
    """The whole, fetched when its resource version is not one that we wrote; None: it is as we left it."""

    @property
    def ours(self) -> bool:
        """Whether the operator made it."""
        return self.labels.get(names.MANAGED_BY) == names.FIELD_MANAGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One write."""

    action: Action
    ref: ObjectRef
    reason: str
    """For people, one phrase."""
    document: Mapping[str, Any] | None = field(default=None, repr=False)
    """The object as it is wanted; None: to be deleted. A Secret's holds keys."""
    uid: str = ""
    """Of the object that was observed: a precondition of DELETE. Empty: there is none."""
    resource_version: str = ""
    """Of the object that was observed: a precondition of all but CREATE. Empty: there is none."""
    restarts: bool = False
    """Whether the gateway restarts by it, or may: such steps are made one shard after another."""
    managed_fields: tuple[Mapping[str, Any], ...] | None = field(default=None, repr=False)
    """To be written as ``metadata.managedFields`` first; None: they are as they are to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """An object whose name we need is not ours."""

    ref: ObjectRef
    message: str
    """For people: what is wrong and what to do."""


def ref_of(document: Mapping[str, Any]) -> ObjectRef:
    """Which object a document is of."""
    metadata = document["metadata"]
    return ObjectRef(kind=document["kind"], namespace=metadata["namespace"], name=metadata["name"])


def apply_steps(
    wanted: Iterable[Mapping[str, Any]], observed: Mapping[ObjectRef, Observed]
) -> Iterator[Step | Conflict]:
    """Steps by server-side apply, for objects of which all is declared, in the order in which they are given."""
    for document in wanted:
        ref = ref_of(document)
        there = observed.get(ref)
        if there is None:
            yield Step(action=Action.APPLY, ref=ref, reason="does not exist", document=document)
            continue
        if not there.ours:
            yield not_ours(ref)
            continue
        unapplied = None
        if there.content is not None:
            unapplied = taken_over(there.content["metadata"].get("managedFields") or ())
        reason = _reason(document, there)
        if not reason and unapplied is not None:
            reason = "0.1.0 made it, and what is no longer wanted of it would stay"
        if reason:
            restart = restarts(document, there.annotations)
            reason += f"; {restart}" if restart else ""
            yield Step(
                action=Action.APPLY,
                ref=ref,
                reason=reason,
                document=document,
                uid=there.uid,
                resource_version=there.resource_version,
                restarts=bool(restart),
                managed_fields=unapplied,
            )


def restarts(wanted: Mapping[str, Any], annotations: Mapping[str, str]) -> str:
    """Why a gateway may restart if its StatefulSet is applied as ``wanted``; empty: it does not.

    Args:
        wanted: An object of any kind.
        annotations: Of the one that there is; on what has no pod template they are somebody's.
    """
    said = wanted["metadata"].get("annotations", {})
    if names.TEMPLATE_HASH_ANNOTATION not in said:
        return ""
    if said.get(names.TEMPLATE_HASH_ANNOTATION) != annotations.get(names.TEMPLATE_HASH_ANNOTATION):
        return "the gateway restarts"
    if said.get(names.APPLIED_ANNOTATION) != annotations.get(names.APPLIED_ANNOTATION):
        return "the gateway restarts if its pod has what its pool no longer says"
    return ""


def bundle_step(document: Mapping[str, Any], there: Observed | None, *, reason: str) -> Step | Conflict:
    """The step for a bundle that has changed: created, or replaced at the version that was observed."""
    ref = ref_of(document)
    if there is None:
        return Step(action=Action.CREATE, ref=ref, reason="does not exist", document=document)
    if not there.ours:
        return not_ours(ref)
    metadata = {**document["metadata"], "resourceVersion": there.resource_version}
    return Step(
        action=Action.UPDATE,
        ref=ref,
        reason=reason,
        document={**document, "metadata": metadata},
        resource_version=there.resource_version,
    )


def delete_step(there: Observed, *, reason: str) -> Step | None:
    """The step that removes an object of ours; None if it is not ours, or is being deleted already."""
    if not there.ours or there.deleting:
        return None
    return Step(
        action=Action.DELETE,
        ref=there.ref,
        reason=reason,
        uid=there.uid,
        resource_version=there.resource_version,
    )


def differing(live: object, wanted: object, path: str = "") -> Iterator[str]:
    """Paths at which a live object is not what is wanted; what the API server added to it does not count."""
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            below = f"{path}.{key}" if path else str(key)
            if key in live:
                yield from differing(live[key], value, below)
            elif value not in (None, {}, []):
                yield below
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, (one, other) in enumerate(zip(live, wanted, strict=True)):
            yield from differing(one, other, f"{path}[{index}]")
    elif live != wanted and not _same_quantity(live, wanted):
        yield path


def _reason(document: Mapping[str, Any], there: Observed) -> str:
    """Why an object is to be written; empty: it need not be."""
    if (
        there.annotations.get(names.HASH_ANNOTATION)
        != document["metadata"]["annotations"][names.HASH_ANNOTATION]
    ):
        return "what is wanted of it has changed"
    changed = [] if there.content is None else sorted(differing(there.content, document))
    if changed:
        others = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return f"somebody else changed {', '.join(changed[:_SHOWN])}{others}"
    return ""


_SHOWN: Final = 3


def not_ours(ref: ObjectRef) -> Conflict:
    """An object is somebody else's."""
    return Conflict(
        ref=ref,
        message=f"{ref} in namespace {ref.namespace} was not made by the operator and is not touched; if it is not "
        f"needed: kubectl delete {ref.kind.lower()} -n {ref.namespace} {ref.name}",
    )


def _same_quantity(one: object, other: object) -> bool:
    """Whether two texts are the same quantity, such as 1000m and 1: the API server rewrites them."""
    if not isinstance(one, str | int) or not isinstance(other, str | int):
        return False
    first, second = _quantity(str(one)), _quantity(str(other))
    return first is not None and first == second


_SUFFIXES: Final = {
    **{
        suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
    },
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in zip(range(-3, 7), ("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), strict=True)
        if suffix
    },
}


def _quantity(text: str) -> Decimal | None:
    suffix = next((each for each in _SUFFIXES if text.endswith(each)), "")
    try:
        return Decimal(text.removesuffix(suffix)) * _SUFFIXES.get(suffix, Decimal(1))
    except InvalidOperation:
        return None
