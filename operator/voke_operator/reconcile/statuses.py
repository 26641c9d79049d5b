"""Writes ``.status`` of Plants and pools, when it is time to.

What a status says is worked out in :mod:`voke_operator.status`; here it is put together from what was reconciled
and what the gateways say, and written at the version that is known, so that nothing is overwritten unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from voke_api.resources import Plant
from voke_api.resources.observed import PlantObserved, PoolObserved
from voke_operator import names
from voke_operator.kube.client import Client
from voke_operator.kube.errors import ConflictError, NotFoundError
from voke_operator.kube.objects import Metadata, Objects
from voke_operator.kube.resources import PLANTS, POOLS, Resource
from voke_operator.reconcile.credentials import SeenPlant
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, PlantRecord, ShardRecord
from voke_operator.reconcile.queue import Key, Kind
from voke_operator.runtime.metrics import Fleet as FleetFigures
from voke_operator.status import pods
from voke_operator.status.conditions import plant_status
from voke_operator.status.damping import Damper
from voke_operator.status.events import EventWriter, Regarding, transition
from voke_operator.status.facts import (
    BundleFacts,
    Cause,
    CredentialFacts,
    PlacementFacts,
    PlantFacts,
    Seen,
    ShardFacts,
)
from voke_operator.status.poll import Gateways, Shard
from voke_operator.status.pools import Outage, PoolFacts, outage, pool_status

BUNDLE_WITHIN: Final = 120.0
"""Seconds in which a gateway takes a bundle in, even if kubelet looks at the Secret in its own time."""
_OUTAGE_LOOK: Final = 15.0
"""Seconds after which an outage is looked at again."""


class Statuses:
    """The statuses of all Plants and pools."""

    def __init__(
        self,
        client: Client,
        objects: Objects,
        documents: Documents,
        fleet: Fleet,
        gateways: Gateways,
        *,
        damper: Damper,
        events: EventWriter,
        figures: FleetFigures,
        wake: Callable[[Key], None],
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """``wake`` has the status of a key looked at soon."""
        self._client = client
        self._objects = objects
        self._documents = documents
        self._fleet = fleet
        self._gateways = gateways
        self._damper = damper
        self._events = events
        self._figures = figures
        self._wake = wake
        self._wall_clock = wall_clock
        self._clock = clock
        self._outages: dict[Name, Outage] = {}

    async def settle(self, key: Key) -> float | None:
        """Write the status of a Plant or a pool if it is time; seconds until it may be.

        Raises:
            KubeError: try again; after a conflict what is known is up to date.
        """
        if key.kind is Kind.PLANT:
            return await self._settle_plant(Name(key.namespace, key.name))
        return await self._settle_pool(Name(key.namespace, key.name))

    def seen(self, plant: Plant) -> SeenPlant:
        """A Plant with its status, as far as is known."""
        name = Name(plant.metadata.namespace, plant.metadata.name)
        metadata = self._objects.get(PLANTS, *name)
        if metadata is None:
            return SeenPlant(plant=plant, observed=PlantObserved(), version="")
        observed = observed_in(PlantObserved, self._objects.status(PLANTS, *name))
        return SeenPlant(plant=plant, observed=observed, version=metadata.resource_version)

    async def read(self, seen: SeenPlant) -> SeenPlant:
        """Read the Plant from the API server.

        Raises:
            ConflictError: another Plant has its name.
            NotFoundError: it is gone.
        """
        name = Name(seen.plant.metadata.namespace, seen.plant.metadata.name)
        self._objects.written(PLANTS, await self._client.get(PLANTS, *name))
        plant = self._documents.plant(name)
        if plant is None or plant.metadata.uid != seen.plant.metadata.uid:
            raise ConflictError(f"Plant {name.name} in namespace {name.namespace} is another one now")
        return self.seen(plant)

    async def record(self, seen: SeenPlant, credentials: CredentialFacts) -> SeenPlant:
        """Write now which credentials a Plant has, and with it whatever else its status is to say.

        Raises:
            ConflictError: the Plant is not at the version any more that was decided on.
            NotFoundError: it is gone.
        """
        name = Name(seen.plant.metadata.namespace, seen.plant.metadata.name)
        metadata = self._objects.get(PLANTS, *name)
        if metadata is None or metadata.resource_version != seen.version:
            raise ConflictError(f"Plant {name.name} in namespace {name.namespace} has changed meanwhile")
        self._fleet.plant(name).credentials = credentials
        registered = {"plant_id": seen.plant.spec.plant_id, "credentials": credentials.in_use}
        await self._settle_plant(name, registered=registered)
        return self.seen(seen.plant)

    def outage(self, pool: Name) -> bool:
        """Whether no plant of a pool gets through to Voke."""
        found = self._outages.get(pool)
        return found is not None and found.quiet

    def forget(self, name: Name) -> None:
        """The Plant is gone."""
        self._damper.forget(Key(Kind.PLANT, *name))
        self._figures.forget(name)

    async def _settle_plant(
        self, name: Name, *, registered: Mapping[str, object] | None = None
    ) -> float | None:
        """``registered``: which credentials are in force, if that is to be written whatever else is."""
        metadata, status = self._objects.get(PLANTS, *name), self._objects.status(PLANTS, *name)
        record = self._fleet.plants.get(name)
        if metadata is None or record is None:
            self.forget(name)
            return None
        wanted = plant_status(self._facts(name, metadata, record))
        before, now = observed_in(PlantObserved, status), self._clock()
        key = Key(Kind.PLANT, *name)
        decision = self._damper.judge(
            key, wanted, before, now, at=self._wall_clock(), along=registered is not None
        )
        after = decision.write
        if registered is not None:
            after = (after or before).model_copy(update=registered)
        if after is not None:
            await self._write(PLANTS, metadata, status, after)
            self._damper.written(key, now)
            occurrence = transition(before.conditions, after.conditions, regarding(PLANTS, metadata))
            if occurrence is not None:
                self._events.note(occurrence)
        shown = after or before
        self._figures.note(name, shown.conditions, shown.credentials)
        return None if decision.due is None else max(0.1, decision.due - now)

    def _facts(self, name: Name, metadata: Metadata, record: PlantRecord) -> PlantFacts:
        pool = Name(name.namespace, record.references.pool)
        shard = record.shard
        return PlantFacts(
            name=name.name,
            namespace=name.namespace,
            generation=metadata.generation,
            plant=self._documents.plant(name),
            problems=record.problems,
            credentials=record.credentials,
            placement=self._placement(record),
            bundle=BundleFacts(
                generation=record.written,
                plant_generation=None if record.written is None else record.packed_generation,
                newest=0 if shard is None else self._fleet.shard(shard).generation,
                late=self._late(shard, record.written),
            ),
            seen=Seen() if shard is None else self._gateways.view(shard).of(name.name),
            pod=None if shard is None else self._pod(shard),
            outage=self.outage(pool),
        )

    def _placement(self, record: PlantRecord) -> PlacementFacts:
        shard = ShardRecord() if record.shard is None else self._fleet.shard(record.shard)
        cause = shard.trouble or record.full or record.placement.cause
        return replace(record.placement, cause=cause, remark=shard.remark)

    def _pod(self, shard: Shard) -> Cause | None:
        """What Kubernetes says is wrong with a gateway's pod."""
        pod = self._fleet.shard(shard).pod
        if pod is None:
            return None
        answers = self._gateways.view(shard).silence is None
        return pods.trouble(
            pod, namespace=shard.namespace, pool=shard.pool, gateway=str(shard.local), answers=answers
        )

    def _trouble(self, pool: Name) -> Cause | None:
        """What is in the way of a pool's objects, or of those of one of its gateways."""
        shards = self._fleet.shards_of(pool).values()
        found = [self._fleet.troubles.get(pool), *(each.trouble for each in shards)]
        return next((each for each in [*found, *(each.remark for each in shards)] if each is not None), None)

    def _late(self, shard: Shard | None, written: int | None) -> bool:
        """Whether its gateway had more time than it needs to take the bundle in."""
        if shard is None or written is None:
            return False
        record, view = self._fleet.shard(shard), self._gateways.view(shard)
        applied = None if view.gateway is None else view.gateway.bundle_generation
        if record.written_at is None or (applied or 0) >= written:
            return False
        return self._clock() - record.written_at > BUNDLE_WITHIN

    async def _settle_pool(self, name: Name) -> float | None:
        seen, now = self._gateways.sessions(*name), self._wall_clock()
        before = self._outages.get(name)
        found = outage(seen, before, now)
        if found is None:
            self._outages.pop(name, None)
        else:
            self._outages[name] = found
        if (found is not None and found.quiet) != (before is not None and before.quiet):
            for plant in self._fleet.in_pool(name):
                self._wake(Key(Kind.PLANT, *plant))
        again = _OUTAGE_LOOK if found is not None else None
        self._figures.pool(*name, reachable=None if not seen.through and found is None else found is None)
        metadata, status = self._objects.get(POOLS, *name), self._objects.status(POOLS, *name)
        if metadata is None:
            return again
        shards = self._fleet.shards_of(name)
        facts = PoolFacts(
            name=name.name,
            namespace=name.namespace,
            generation=metadata.generation,
            cause=self._trouble(name),
            rollout=self._fleet.rollouts.get(name),
            restarting={
                names.gateway(name.name, number)
                for number, each in shards.items()
                if each.restart is not None
            },
            plants=sum(len(record.plants) for record in shards.values()),
            shards=[
                ShardFacts(
                    gateway=names.gateway(name.name, number),
                    asked=view.gateway is not None or view.silence is not None,
                    silence=view.silence,
                    pod=self._pod(shard),
                )
                for number in shards
                for shard in (Shard(*name, number),)
                for view in (self._gateways.view(shard),)
            ],
            sessions=seen,
            outage=found,
        )
        written, key = observed_in(PoolObserved, status), Key(Kind.POOL, *name)
        clock = self._clock()
        decision = self._damper.judge(key, pool_status(facts), written, clock, at=now)
        if decision.write is not None:
            await self._write(POOLS, metadata, status, decision.write)
            self._damper.written(key, clock)
            occurrence = transition(written.conditions, decision.write.conditions, regarding(POOLS, metadata))
            if occurrence is not None:
                self._events.note(occurrence)
        waits = [wait for wait in (again, None if decision.due is None else decision.due - clock) if wait]
        return max(0.1, min(waits)) if waits else None

    async def _write(
        self,
        resource: Resource,
        metadata: Metadata,
        before: Mapping[str, Any],
        status: PlantObserved | PoolObserved,
    ) -> None:
        where = metadata.namespace, metadata.name
        body = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        for gone in before.keys() - body.keys():
            body[gone] = None
        try:
            answer = await self._client.patch_status(
                resource, *where, body, resource_version=metadata.resource_version
            )
        except ConflictError:
            self._objects.written(resource, await self._client.get(resource, *where))
            raise
        except NotFoundError:
            self._objects.drop(resource, metadata)
            raise
        self._objects.written(resource, answer)


def regarding(resource: Resource, metadata: Metadata) -> Regarding:
    """What an Event about an object names."""
    return Regarding(
        api_version=resource.api_version,
        kind=resource.kind,
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
    )


ObservedT = TypeVar("ObservedT", PlantObserved, PoolObserved)


def observed_in(model: type[ObservedT], status: Mapping[str, Any]) -> ObservedT:
    """The status of a Plant or a pool; empty if there is none, or it is not ours."""
    try:
        return model.model_validate(status)
    except ValidationError:
        return model()
