"""What a pool has beside its shards: a disruption budget over all of its gateways, and their network policy."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from voke_operator import names
from voke_operator.kube.resources import DISRUPTION_BUDGETS, NETWORK_POLICIES
from voke_operator.plan.objects import Defaults, pool_objects, pool_of
from voke_operator.reconcile.children import Children, Drifted, NotOursError
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name
from voke_operator.reconcile.queue import Key

log = structlog.get_logger(__name__)


class PoolReconciler:
    """Brings one pool after another in order."""

    def __init__(
        self,
        documents: Documents,
        fleet: Fleet,
        *,
        children: Children,
        defaults: Defaults,
        drifted: Drifted,
        report: Callable[[Key], None],
    ) -> None:
        """``report`` puts a key into the queue of statuses."""
        self._documents = documents
        self._fleet = fleet
        self._children = children
        self._defaults = defaults
        self._drifted = drifted
        self._report = report

    async def reconcile(self, key: Key) -> float | None:
        """Bring what belongs to the pool in order.

        Raises:
            KubeError: try again.
        """
        name = Name(key.namespace, key.name)
        self._report(key)
        before = self._fleet.troubles.pop(name, None)
        if not self._fleet.shards_of(name):
            called = names.disruption_budget(name.name)
            await self._children.remove(DISRUPTION_BUDGETS, name.namespace, called)
            await self._children.remove(NETWORK_POLICIES, name.namespace, called)
            return None
        found = self._documents.pool(name)
        pool = pool_of(name.name, {} if found is None else {name.name: found}, self._defaults)
        if pool is None:
            return None  # deleted while in use: its gateways go on as they are
        try:
            for wanted in pool_objects(name.name, name.namespace, pool.spec):
                await self._children.ensure(wanted)
        except NotOursError as error:
            log.warning("name taken", pool=name.name, namespace=name.namespace, problem=str(error))
            self._fleet.troubles[name] = str(error)
            if before != str(error):
                self._drifted(error.kind, "refused")
            return 30.0
        return None
