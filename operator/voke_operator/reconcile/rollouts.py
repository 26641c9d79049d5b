"""What the gateways of a pool are to be, and which of them may restart for it now.

The order is decided in :mod:`voke_operator.plan.rollout`; here is what it is decided on, from what is observed. What
was allowed is noted with the shard. A restarted operator does not know which sessions were up before: it waits until
no plant that could have one lacks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import structlog

from voke_api.resources.common import Json, listed
from voke_api.resources.pool import GatewayPoolSpec
from voke_operator import names
from voke_operator.kube.objects import Metadata, Objects
from voke_operator.kube.resources import PODS, STATEFUL_SETS
from voke_operator.plan.difference import restarts
from voke_operator.plan.objects import Defaults, kept_storage, shard_objects, template_hash
from voke_operator.plan.rollout import Restartable, Rollout, rollout
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, Restart, ShardRecord
from voke_operator.status import causes
from voke_operator.status.facts import Cause
from voke_operator.status.poll import Gateways, Shard, View
from voke_operator.status.pools import gets_through, sessions
from voke_operator.status.reasons import Reason

_PATIENCE: Final = 180.0
"""Seconds after which a gateway that is not back is said to be stuck: pulling an image may take two minutes."""

log = structlog.get_logger(__name__)


class Rollouts:
    """Decides for one pool after another."""

    def __init__(
        self,
        objects: Objects,
        documents: Documents,
        fleet: Fleet,
        gateways: Gateways,
        *,
        defaults: Defaults,
        clock: Callable[[], float],
    ) -> None:
        """``clock``: the loop's."""
        self._objects = objects
        self._documents = documents
        self._fleet = fleet
        self._gateways = gateways
        self._defaults = defaults
        self._clock = clock

    def wanted(self, shard: Shard) -> tuple[Json, ...]:
        """Service and StatefulSet of a gateway, as they are to be; none: it goes on as it is, for lack of its pool."""
        pool = self._documents.pool(Name(shard.namespace, shard.pool))
        there = self._objects.get(STATEFUL_SETS, shard.namespace, str(shard.local))
        return () if pool is None else self._made(shard, pool.spec, there)

    def _made(self, shard: Shard, pool: GatewayPoolSpec, there: Metadata | None) -> tuple[Json, ...]:
        annotations = None if there is None else there.annotations
        return shard_objects(shard.local, shard.namespace, pool, self._defaults, annotations=annotations)

    def kept(self, shard: Shard) -> Cause | None:
        """That a gateway has another storage than its pool wants."""
        pool = self._documents.pool(Name(shard.namespace, shard.pool))
        there = self._objects.get(STATEFUL_SETS, shard.namespace, str(shard.local))
        held = None if pool is None or there is None else kept_storage(pool.spec, there.annotations)
        if pool is None or held is None:
            return None
        return causes.storage_kept(
            namespace=shard.namespace,
            gateway=str(shard.local),
            held=held,
            wanted=pool.spec.shard.storage,
        )

    def may_restart(self, shard: Shard, template: str) -> bool:
        """Whether a gateway may restart for that pod template."""
        restart = self._fleet.shard(shard).restart
        return restart is not None and restart.template == template

    def proceed(self, pool: Name) -> list[Shard]:
        """Allow restarts of a pool's gateways as far as there is room, and note how far it is; returns the allowed."""
        wanted = self._documents.pool(pool)
        stateful_sets = {} if wanted is None else dict(self._stateful_sets(pool, wanted.spec))
        gateways = list(self._gateways_of(stateful_sets))
        found = rollout(
            gateways, max_unavailable=1 if wanted is None else wanted.spec.rollout.max_unavailable
        )
        chosen = [Shard.of(pool.namespace, each) for each in found.now]
        allowed = [shard for shard in chosen if self._allow(shard, stateful_sets[shard])]
        waits_for = [Shard.of(pool.namespace, each.shard) for each in found.waits_for]
        self._note_away(pool, waits_for)
        records = [self._fleet.shard(shard) for shard in waits_for]
        if not found.now and not found.later and not any(record.restart for record in records):
            self._fleet.rollouts.pop(pool, None)
            for record in self._fleet.shards_of(pool).values():
                record.restart = None
            return allowed
        self._say(pool, self._cause(pool, found, records))
        return allowed

    def _stateful_sets(self, pool: Name, spec: GatewayPoolSpec) -> Iterator[tuple[Shard, Json]]:
        """As they are wanted, of gateways that have one."""
        for number in self._fleet.shards_of(pool):
            shard = Shard(*pool, number)
            there = self._objects.get(STATEFUL_SETS, shard.namespace, str(shard.local))
            if there is not None and not there.deleting:
                yield shard, self._made(shard, spec, there)[-1]

    def _gateways_of(self, stateful_sets: Mapping[Shard, Json]) -> Iterator[Restartable]:
        for shard, wanted in stateful_sets.items():
            record = self._fleet.shard(shard)
            there = self._objects.get(STATEFUL_SETS, shard.namespace, str(shard.local))
            assert there is not None
            yield Restartable(
                shard=shard.local,
                new=not restarts(wanted, there.annotations) or self.may_restart(shard, template_hash(wanted)),
                away=self._away(shard, record, there.annotations.get(names.TEMPLATE_HASH_ANNOTATION, "")),
            )

    def _away(self, shard: Shard, record: ShardRecord, template: str) -> str:
        """Why a gateway does not work as before; empty: it does."""
        pod = self._objects.get(PODS, shard.namespace, names.gateway_pod(shard.pool, shard.number))
        if pod is None or pod.deleting:
            return "it has no pod"
        if pod.annotations.get(names.TEMPLATE_HASH_ANNOTATION) != template:
            return "its pod is still the one before"
        if record.pod is None or not record.pod.ready:
            problem = "" if record.pod is None else record.pod.problem
            return f"its pod is not ready ({problem})" if problem else "its pod is not ready"
        return missing(self._gateways.view(shard), record)

    def restarts_not(self, shard: Shard) -> None:
        """What was allowed to a gateway is done, and its pod stays: nothing in it is superfluous."""
        record = self._fleet.shard(shard)
        if record.restart is not None:
            record.restart = replace(record.restart, started_at=None)

    def _allow(self, shard: Shard, wanted: Json) -> bool:
        """Note what is to be back after its restart; False: that is not known yet, as it was not asked."""
        record, view, template = self._fleet.shard(shard), self._gateways.view(shard), template_hash(wanted)
        pod = self._objects.get(PODS, shard.namespace, names.gateway_pod(shard.pool, shard.number))
        there = self._objects.get(STATEFUL_SETS, shard.namespace, str(shard.local))
        if pod is not None and view.gateway is None and view.silence is None:
            return False
        is_new = (
            pod is not None
            and pod.annotations.get(names.TEMPLATE_HASH_ANNOTATION) == template
            and there is not None
            and there.annotations.get(names.TEMPLATE_HASH_ANNOTATION) != template
        )
        through = frozenset(name for name, report in view.plants.items() if gets_through(report))
        record.restart = Restart(
            template=template,
            sessions=None if view.gateway is None else through,
            started_at=None if view.gateway is None or is_new else view.gateway.started_at,
        )
        log.info("gateway may restart for its new pod template", shard=str(shard), template=template)
        return True

    def _note_away(self, pool: Name, waits_for: list[Shard]) -> None:
        for number, record in self._fleet.shards_of(pool).items():
            if Shard(*pool, number) not in waits_for:
                record.away_since = None
            elif record.away_since is None:
                record.away_since = self._clock()

    def _cause(self, pool: Name, found: Rollout, records: list[ShardRecord]) -> Cause:
        stuck = [
            each.shard
            for each, record in zip(found.waits_for, records, strict=True)
            if (record.pod is not None and record.pod.failing)
            or self._clock() - (record.away_since or self._clock()) > _PATIENCE
        ]
        if not stuck:
            return causes.of(Reason.ROLLING_OUT, f"a new pod template is being rolled out: {found.message}")
        return causes.rollout_stuck(
            namespace=pool.namespace, pool=pool.name, gateway=str(stuck[0]), state=found.message
        )

    def _say(self, pool: Name, cause: Cause) -> None:
        if self._fleet.rollouts.get(pool) == cause:
            return
        self._fleet.rollouts[pool] = cause
        say = log.warning if cause.reason is Reason.ROLLOUT_STUCK else log.info
        say("rollout", pool=pool.name, namespace=pool.namespace, state=cause.message)


def missing(view: View, record: ShardRecord) -> str:
    """What is missing at a gateway whose pod is ready, for people; empty: nothing is."""
    restart, gateway = record.restart, view.gateway
    if view.silence is not None:
        return f"it does not answer the operator: {view.silence.problem}"
    if gateway is None or (restart is not None and gateway.started_at == restart.started_at):
        return "it has not answered yet"
    if gateway.bundle_generation is None:
        return "it has not taken in its bundle yet"
    suspended = {name for name, report in view.plants.items() if report.state == "Suspended"}
    through = {name for name, report in view.plants.items() if gets_through(report)}
    if restart is not None and restart.sessions is not None:
        expected = restart.sessions & record.plants.keys()
    else:
        counted = sessions(view.plants.values())
        is_well = not counted.cut_off and (counted.through or not counted.troubled)
        expected = frozenset() if is_well else frozenset(view.plants)
    lost = expected - suspended - through
    return f"sessions with Voke are missing, of {listed(sorted(lost), at_most=3)}" if lost else ""
