"""Everything that a leader does, put together: what changes becomes keys, keys are reconciled, statuses written.

::

    Sources ─▶ Objects ─changed─▶ work queue ─▶ plants, shards, pools ─▶ Secrets, StatefulSets, …
                                      ▲                │
    gateways' /status ─news───────────┤                ▼
                                      └───────── status queue ─▶ .status, Events
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

import structlog

from voke_operator.credentials.material import USUAL, Life
from voke_operator.kube.client import Client
from voke_operator.kube.errors import NotFoundError, PermanentError, RetryError
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import EVENTS, PLANTS, POOLS
from voke_operator.kube.sources import Scope, Sources
from voke_operator.plan.objects import Defaults
from voke_operator.reconcile.children import Children
from voke_operator.reconcile.copies import BundleCopies
from voke_operator.reconcile.credentials import CredentialKeeper, ReferencedSecrets
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name
from voke_operator.reconcile.issuer import IssuerKeeper
from voke_operator.reconcile.placing import Placing
from voke_operator.reconcile.plants import PlantReconciler
from voke_operator.reconcile.pools import PoolReconciler
from voke_operator.reconcile.queue import SHARD_WINDOW, Key, Kind, Observer, Queue
from voke_operator.reconcile.rollouts import Rollouts
from voke_operator.reconcile.shards import ShardReconciler
from voke_operator.reconcile.statuses import Statuses
from voke_operator.reconcile.tally import Tally
from voke_operator.reconcile.triggers import Triggers
from voke_operator.runtime.metrics import Fleet as FleetFigures
from voke_operator.runtime.metrics import OperatorMetrics
from voke_operator.status.damping import Damper, Rate
from voke_operator.status.events import EventWriter, Post
from voke_operator.status.poll import Fetch, Gateways, News, Shard

WORKERS: Final = 32
STATUS_WORKERS: Final = 8
STATUS_RATE: Final = 50.0
"""Status writes per second of the whole fleet; what is urgent does not wait for it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator is told."""

    namespace: str
    """Its own, with the CA and the Lease."""
    scope: Scope
    """Where Plants are."""
    issuer: str | None = None
    """Secret in ``namespace`` with the CA that issues client certificates; None: the fleet's own."""
    defaults: Defaults
    life: Life = USUAL
    """Of the client certificates that are issued."""


class Engine:
    """The work of the leader. One for each time of leading; made inside a running loop."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        *,
        fetch: Fetch,
        figures: FleetFigures,
        observer: Observer,
        random: Random,
        wall_clock: Callable[[], float],
        metrics: OperatorMetrics,
        instance: str,
    ) -> None:
        """``client`` is fenced by the Lease; ``instance`` names this process in Events."""
        self._has_begun = False
        self._unseen: set[Key] = set()
        self._all_seen = False
        self._client = client
        self._random = random
        self.objects = Objects(self._changed)
        self.fleet = Fleet()
        self.work = Queue(random=random, workers=WORKERS, observer=observer)
        self.reports = Queue(random=random, workers=STATUS_WORKERS)
        self.sources = Sources(client, self.objects, scope=settings.scope, random=random)
        self.events = EventWriter(
            self._post, instance=instance, wall_clock=wall_clock, dropped=metrics.event_dropped
        )
        self.gateways = Gateways(fetch=fetch, locate=self._locate, changed=self._heard, wall_clock=wall_clock)
        clock = asyncio.get_running_loop().time
        documents = Documents(self.objects, defaults=settings.defaults)
        self._statuses = Statuses(
            client,
            self.objects,
            documents,
            self.fleet,
            self.gateways,
            damper=Damper(Rate(per_second=STATUS_RATE, burst=STATUS_RATE)),
            events=self.events,
            figures=figures,
            wake=self.reports.add,
            wall_clock=wall_clock,
            clock=clock,
        )
        self._placing = placing = Placing(self.objects, documents, self.fleet, self.gateways)
        tally = Tally(metrics, clock=clock)
        self._triggers = Triggers(
            self.fleet, add=self.work.add, report=self.reports.add, taken_in=tally.taken_in
        )
        children = Children(client, self.objects, drifted=metrics.drifted)
        rollouts = Rollouts(
            self.objects, documents, self.fleet, self.gateways, defaults=settings.defaults, clock=clock
        )
        now = lambda: datetime.fromtimestamp(wall_clock(), UTC)  # noqa: E731 - the wall clock in another form
        self._keeper = CredentialKeeper(
            client,
            self.objects,
            issuer=_issuer(client, self.objects, settings, now),
            register=self._statuses,
            copies=BundleCopies(client, self.objects, self.fleet),
            drifted=metrics.drifted,
            now=now,
        )
        self._plants = PlantReconciler(
            self.objects,
            documents,
            self.fleet,
            secrets=ReferencedSecrets(client, self.objects),
            keeper=self._keeper,
            placing=placing,
            statuses=self._statuses,
            tally=tally,
            add=self.work.add,
            report=self.reports.add,
            now=now,
            random=random,
        )
        self._shards = ShardReconciler(
            client,
            self.objects,
            documents,
            self.fleet,
            children=children,
            placing=placing,
            rollouts=rollouts,
            gateways=self.gateways,
            drifted=metrics.drifted,
            add=self.work.add,
            report=self.reports.add,
        )
        self._pools = PoolReconciler(
            documents,
            self.fleet,
            children=children,
            rollouts=rollouts,
            drifted=metrics.drifted,
            add=self.work.add,
            report=self.reports.add,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.sources.run(), name="sources")
                group.create_task(self.events.run(), name="events")
                await self.sources.synced.wait()
                await self._begin()
                group.create_task(self.work.run(self._reconcile), name="work")
                group.create_task(self.reports.run(self._settle), name="statuses")
        finally:
            await self._shards.close()
            await self.gateways.close()
            self._keeper.close()

    @property
    def begun(self) -> bool:
        """Everything has been listed and read, and work goes on."""
        return self._has_begun

    async def _begin(self) -> None:
        """Read what the gateways run now, then look at everything once."""
        while True:
            try:
                await self._shards.read_all()
                break
            except RetryError as error:
                log.warning("bundles cannot be read now, to be tried again", error=str(error))
                await asyncio.sleep(error.retry_after or self._random.uniform(0.5, 2.0))
        self._has_begun = True
        # The oldest first: of Plants with one id that run nowhere, whichever is looked at first gets the place.
        for metadata in sorted(self.objects.all(PLANTS), key=lambda each: each.created):
            self.work.add(Key(Kind.PLANT, metadata.namespace, metadata.name))
        for metadata in self.objects.all(POOLS):
            self.work.add(Key(Kind.POOL, metadata.namespace, metadata.name))
        for name in self.fleet.plants:
            self.work.add(Key(Kind.PLANT, *name))
        self._unseen = {Key(Kind.PLANT, each.namespace, each.name) for each in self.objects.all(PLANTS)}
        self._unseen |= {Key(Kind.PLANT, *name) for name in self.fleet.plants}
        for shard in self.fleet.shards:
            self.work.add(Key.of_shard(shard), after=SHARD_WINDOW)
        log.info("work begins", plants=self.objects.count(PLANTS), shards=len(self.fleet.shards))

    async def _reconcile(self, key: Key) -> float | None:
        match key.kind:
            case Kind.PLANT:
                try:
                    again = await self._plants.reconcile(key)
                except PermanentError:  # until a person has mended it
                    self._looked_at(key)
                    raise
                self._looked_at(key)
                return again
            case Kind.SHARD:
                return await self._shards.reconcile(key)
            case Kind.POOL:
                return await self._pools.reconcile(key)

    async def _settle(self, key: Key) -> float | None:
        """Write a status if it is time to; a Plant's not before it was looked at.

        Until then nothing is known of it but what its status says.
        """
        return None if key in self._unseen else await self._statuses.settle(key)

    def _looked_at(self, key: Key) -> None:
        """Say when every plant that was there at the start has been looked at."""
        self._unseen.discard(key)
        if not self._unseen and not self._all_seen:
            self._all_seen = True
            self._placing.all_visited()
            log.info("everything was looked at", plants=self.objects.count(PLANTS))

    def _changed(self, kind: str, namespace: str, name: str) -> None:
        if self._has_begun:
            self._triggers.changed(kind, Name(namespace, name))

    def _heard(self, news: News) -> None:
        self._triggers.heard(news, self.gateways.view(news.shard))

    def _locate(self, shard: Shard) -> str | None:
        record = self.fleet.shards.get(shard)
        return None if record is None else record.address

    async def _post(self, post: Post) -> None:
        if post.patch is not None:
            try:
                await self._client.patch(EVENTS, post.namespace, post.name, post.patch, resource_version=None)
            except NotFoundError:
                pass  # Events live for an hour
            else:
                return
        await self._client.create(EVENTS, post.event)


def _issuer(
    client: Client, objects: Objects, settings: Settings, now: Callable[[], datetime]
) -> IssuerKeeper:
    return IssuerKeeper(
        client,
        objects,
        namespace=settings.namespace,
        given=settings.issuer,
        life=settings.life,
        now=now,
    )
