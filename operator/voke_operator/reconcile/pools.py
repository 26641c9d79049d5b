"""What the gateways of a pool have in common: a disruption budget, a network policy, and the order of their restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from voke_operator.plan.difference import Conflict
from voke_operator.plan.objects import pool_objects
from voke_operator.plan.steps import pool_refs, pool_steps
from voke_operator.reconcile.children import Children, Drifted, NotOursError
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name
from voke_operator.reconcile.queue import Key
from voke_operator.reconcile.rollouts import Rollouts
from voke_operator.status import causes
from voke_operator.status.reasons import Reason

_NAME_TAKEN: Final = 30.0
"""Seconds until it is looked again whether a person has removed what is in the way: no watch tells of it."""
_UPGRADING: Final = 1.0
"""Seconds until it is looked again whether a gateway is back, and the next may restart."""

log = structlog.get_logger(__name__)


class PoolReconciler:
    """Brings one pool after another in order."""

    def __init__(
        self,
        documents: Documents,
        fleet: Fleet,
        *,
        children: Children,
        rollouts: Rollouts,
        drifted: Drifted,
        add: Callable[..., None],
        report: Callable[[Key], None],
    ) -> None:
        """``add`` puts a key into the queue of work, ``report`` into the one of statuses."""
        self._documents = documents
        self._fleet = fleet
        self._children = children
        self._rollouts = rollouts
        self._drifted = drifted
        self._add = add
        self._report = report

    async def reconcile(self, key: Key) -> float | None:
        """Bring what belongs to the pool in order.

        Raises:
            KubeError: try again.
        """
        name = Name(key.namespace, key.name)
        self._report(key)
        for shard in self._rollouts.proceed(name):
            self._add(Key.of_shard(shard))
        upgrading = _UPGRADING if name in self._fleet.rollouts else None
        try:
            await self._bring_in_order(name)
        except NotOursError as error:
            log.warning("name taken", pool=name.name, namespace=name.namespace, problem=str(error))
            cause = causes.of(Reason.GATEWAY_CONFLICT, str(error))
            if self._fleet.troubles.get(name) != cause:
                self._drifted(error.kind, "refused")
            self._fleet.troubles[name] = cause
            return upgrading or _NAME_TAKEN
        self._fleet.troubles.pop(name, None)
        return upgrading

    async def _bring_in_order(self, name: Name) -> None:
        pool = self._documents.pool(name)
        spec = None if pool is None else pool.spec
        in_use = bool(self._fleet.shards_of(name))
        wanted = pool_objects(name.name, name.namespace, spec) if in_use and spec is not None else ()
        objects = self._children.known(pool_refs(name.namespace, name.name))
        if in_use:
            objects = await self._children.observe(wanted)
        for step in pool_steps(name.namespace, name.name, spec, in_use=in_use, objects=objects):
            if isinstance(step, Conflict):
                raise NotOursError(step)
            await self._children.make(step)
