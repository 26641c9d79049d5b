"""From what a shard or a pool is to be to steps, in an order that may be interrupted anywhere.

If a step fails, those that follow it for the same shard are not made: observe and plan again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from voke_api.resources.common import Json
from voke_api.resources.pool import GatewayPoolSpec, Storage
from voke_operator import names
from voke_operator.plan.bundles import ShardBundle, changes
from voke_operator.plan.difference import (
    Conflict,
    ObjectRef,
    Observed,
    Step,
    apply_steps,
    bundle_step,
    delete_step,
    ref_of,
)
from voke_operator.plan.objects import bundle_secret, pool_objects
from voke_operator.plan.placement import ShardId, ShardPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """What is to become of a shard."""

    carries: ShardPlan
    bundle: ShardBundle
    objects: tuple[Json, ...] = field(repr=False)
    """What the cluster is to hold for it beside its bundle; none if its pool is not there."""
    kept: Storage | None = None
    """The storage that its StatefulSet has, if that is not what its pool wants."""


def shard_steps(
    namespace: str,
    planned: PlannedShard,
    objects: Mapping[ObjectRef, Observed],
    *,
    files: Mapping[str, bytes] | None,
    may_run: bool,
) -> Iterator[Step | Conflict]:
    """Steps for one shard.

    Args:
        namespace: Its namespace.
        planned: What is to become of it.
        objects: What there is.
        files: Of its bundle as it is; None: there is none.
        may_run: As :class:`voke_operator.plan.placement.Seen`.
    """
    if planned.carries.remove:
        yield from _removal(namespace, planned.carries.shard, objects, may_run=may_run)
        return
    if planned.bundle.changed:  # first, for without it the pod does not start
        document = bundle_secret(planned.carries.shard, namespace, planned.bundle.files)
        reason = changes(files, planned.bundle.files)
        yield bundle_step(document, objects.get(ref_of(document)), reason=reason)
    yield from apply_steps(planned.objects, objects)


def pool_steps(
    namespace: str,
    pool: str,
    spec: GatewayPoolSpec | None,
    *,
    in_use: bool,
    objects: Mapping[ObjectRef, Observed],
) -> Iterator[Step | Conflict]:
    """Steps for what the gateways of a pool have in common.

    Args:
        namespace: Its namespace.
        pool: Its name.
        spec: None: there is no such pool (any more); what its gateways have stays as it is.
        in_use: Whether it has gateways.
        objects: What there is.
    """
    if in_use and spec is not None:
        yield from apply_steps(pool_objects(pool, namespace, spec), objects)
    elif not in_use:
        for ref in pool_refs(namespace, pool):
            yield from _delete(ref, objects, f"the pool {pool} has no gateways any more")


def shard_refs(namespace: str, shard: ShardId) -> tuple[ObjectRef, ObjectRef, ObjectRef]:
    """StatefulSet, Service and bundle of a shard."""
    return (
        ObjectRef(kind="StatefulSet", namespace=namespace, name=str(shard)),
        ObjectRef(kind="Service", namespace=namespace, name=str(shard)),
        ObjectRef(kind="Secret", namespace=namespace, name=names.bundle_secret(shard.pool, shard.number)),
    )


def pool_refs(namespace: str, pool: str) -> tuple[ObjectRef, ObjectRef]:
    """Disruption budget and network policy of a pool."""
    name = names.disruption_budget(pool)
    return (
        ObjectRef(kind="PodDisruptionBudget", namespace=namespace, name=name),
        ObjectRef(kind="NetworkPolicy", namespace=namespace, name=name),
    )


def _removal(
    namespace: str, shard: ShardId, objects: Mapping[ObjectRef, Observed], *, may_run: bool
) -> Iterator[Step]:
    """Its bundle goes last, when no pod is left: it notes whom others may have to wait for."""
    *workload, bundle = shard_refs(namespace, shard)
    for ref in workload if may_run else (*workload, bundle):
        yield from _delete(ref, objects, "no plant is on this gateway any more")


def _delete(ref: ObjectRef, objects: Mapping[ObjectRef, Observed], reason: str) -> Iterator[Step]:
    there = objects.get(ref)
    step = None if there is None else delete_step(there, reason=reason)
    if step is not None:
        yield step
