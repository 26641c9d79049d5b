"""From what a shard or a pool is to be to steps, in an order that may be interrupted anywhere.

If a step fails, those that follow it for the same shard are not made: observe and plan again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from voke_api.resources.common import Json
from voke_api.resources.pool import GatewayPoolSpec
from voke_operator import names
from voke_operator.plan.bundles import HeldShard, ShardBundle, changes
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
from voke_operator.plan.placement import ShardPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """What is to become of a shard."""

    carries: ShardPlan
    bundle: ShardBundle
    objects: tuple[Json, ...] = field(repr=False)
    """What the cluster is to hold for it beside its bundle; none if its pool is not there."""


def shard_steps(
    namespace: str,
    planned: PlannedShard,
    held: HeldShard | None,
    objects: Mapping[ObjectRef, Observed],
) -> Iterator[Step | Conflict]:
    """Steps for one shard.

    Args:
        namespace: Its namespace.
        planned: What is to become of it.
        held: What its bundle says; None: there is nothing of it yet.
        objects: What there is.
    """
    if planned.carries.remove:
        yield from _removal(namespace, planned, held, objects)
        return
    if planned.bundle.changed:  # first, for without it the pod does not start
        document = bundle_secret(planned.carries.shard, namespace, planned.bundle.files)
        reason = changes(None if held is None else held.files, planned.bundle.files)
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
        for kind in ("PodDisruptionBudget", "NetworkPolicy"):
            ref = ObjectRef(kind=kind, namespace=namespace, name=names.disruption_budget(pool))
            yield from _delete(ref, objects, f"the pool {pool} has no gateways any more")


def _removal(
    namespace: str, planned: PlannedShard, held: HeldShard | None, objects: Mapping[ObjectRef, Observed]
) -> Iterator[Step]:
    """Its bundle goes last, when no pod is left: it notes whom others may have to wait for."""
    shard = planned.carries.shard
    wanted = [("StatefulSet", str(shard)), ("Service", str(shard))]
    if held is None or not held.seen.may_run:
        wanted.append(("Secret", names.bundle_secret(shard.pool, shard.number)))
    for kind, name in wanted:
        ref = ObjectRef(kind=kind, namespace=namespace, name=name)
        yield from _delete(ref, objects, "no plant is on this gateway any more")


def _delete(ref: ObjectRef, objects: Mapping[ObjectRef, Observed], reason: str) -> Iterator[Step]:
    there = objects.get(ref)
    step = None if there is None else delete_step(there, reason=reason)
    if step is not None:
        yield step
