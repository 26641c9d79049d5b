"""One Plant, from what people declared to a packed file in the right bundle.

Level-triggered: every call looks at all that there is, and what is already as it should be costs no write. The
steps stand in the order in which they happen. A version that cannot be used changes nothing but the status: the
one before it stays in the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Final

import structlog

from voke_api.bundle import BundlePlant, hold_the_same, pack_plant
from voke_api.fleet import endpoints
from voke_api.problems import Severity
from voke_api.resolved import PlantCredentials
from voke_api.resources import Plant
from voke_operator import names
from voke_operator.credentials.ids import parse_words
from voke_operator.credentials.secret import Secret
from voke_operator.kube.errors import PermanentError
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import PLANTS, POOLS, PROFILES
from voke_operator.plan.bundles import inputs_of
from voke_operator.plan.candidates import Candidate, Surroundings, candidate
from voke_operator.plan.packing import limits_of, weigh
from voke_operator.plan.placement import Claim
from voke_operator.plan.plan import note
from voke_operator.reconcile.credentials import CredentialKeeper, ReferencedSecrets, secrets_of
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, PlantRecord, References
from voke_operator.reconcile.placing import NotYetError, Placing
from voke_operator.reconcile.queue import SHARD_WINDOW, Key, Kind
from voke_operator.reconcile.statuses import Statuses
from voke_operator.reconcile.tally import Tally
from voke_operator.status.poll import Shard

LOOK_AGAIN: Final = 3600.0
"""Seconds after which a plant is looked at though nothing is known to have changed."""
_SOON: Final = 0.5

log = structlog.get_logger(__name__)


class PlantReconciler:
    """Brings one Plant after another in order."""

    def __init__(
        self,
        objects: Objects,
        documents: Documents,
        fleet: Fleet,
        *,
        secrets: ReferencedSecrets,
        keeper: CredentialKeeper,
        placing: Placing,
        statuses: Statuses,
        tally: Tally,
        add: Callable[..., None],
        report: Callable[[Key], None],
        now: Callable[[], datetime],
        random: Random,
    ) -> None:
        """``add`` puts a key into the queue of work, ``report`` into the one of statuses."""
        self._objects = objects
        self._documents = documents
        self._fleet = fleet
        self._secrets = secrets
        self._keeper = keeper
        self._placing = placing
        self._statuses = statuses
        self._tally = tally
        self._add = add
        self._report = report
        self._now = now
        self._random = random

    async def reconcile(self, key: Key) -> float | None:
        """Bring the Plant in order; seconds after which to look again, or None if it is gone.

        Raises:
            KubeError, UnsettledError: try again.
        """
        name = Name(key.namespace, key.name)
        found = self._documents.read_plant(name)
        if found is None:
            self._gone(name)
            return None
        record = self._fleet.plant(name)
        if isinstance(found, Plant):
            try:
                again = await self._bring_in_order(name, record, found)
            except PermanentError:
                record.visited = True  # others on its shard do not wait until a person has mended it
                raise
        else:
            record.problems, record.note, again = found, note(found), LOOK_AGAIN
        if again is None:
            return _SOON
        record.visited = True
        if record.shard is not None and record.written is None:
            self._dirty(record.shard)
        self._report(key)
        return again * self._random.uniform(0.5, 1) if again == LOOK_AGAIN else again

    async def _bring_in_order(self, name: Name, record: PlantRecord, plant: Plant) -> float | None:
        """Seconds after which to look again; None: nothing could be decided yet."""
        if record.doubtful:
            plant = (await self._statuses.read(self._statuses.seen(plant))).plant
            record.doubtful = False
        one, secrets, versions = await self._judge(name, plant)
        duplicate = self._placing.duplicate_of(name, plant.spec.plant_id)
        own = (
            *(() if duplicate is not None else self._placing.conflicts(name, plant)),
            *(
                each
                for each in one.problems
                if each not in one.given.problems or each.severity is not Severity.ERROR
            ),
        )
        errors = [each for each in own if each.severity is Severity.ERROR]
        record.problems = own
        again: float | None = LOOK_AGAIN
        usable = False
        if not errors and duplicate is None:
            seen, said = self._statuses.seen(plant), record.credentials.cause
            settled = await self._keeper.settle(seen, one.given, secrets)
            record.credentials = settled.facts
            self._tally.settled(record, seen.observed.credentials, said, settled.facts)
            again = min(LOOK_AGAIN, settled.check_after or LOOK_AGAIN)
            if settled.credentials is not None:
                self._pack(name, record, one, settled.credentials, {**versions, **settled.versions})
                usable = True
        cause = record.credentials.cause
        record.note = "" if usable else note(own) or ("" if cause is None else cause.message)
        claim = Claim(
            plant=name.name,
            plant_id=plant.spec.plant_id,
            pool=plant.spec.pool,
            weight=record.weight,
            unusable=None if usable else record.note or "it waits for its credentials",
            duplicate=None if duplicate is None else duplicate.message,
            released=parse_words(plant.metadata.annotations.get(names.RELEASE_ANNOTATION)),
        )
        try:
            limits = None if one.pool is None else limits_of(one.pool.spec)
            changed = self._placing.place(name, claim, limits, duplicate)
        except NotYetError as error:
            changed, again = error.changed, None
        for shard in changed:
            self._dirty(shard)
        return again

    async def _judge(self, name: Name, plant: Plant) -> tuple[Candidate, dict[str, Secret], dict[str, str]]:
        """What the Plant comes to, with the Secrets that it refers to and the versions of all else; and note that it does.

        Versions are those of what was read: another may have arrived by the time that the plant is packed.
        """
        profiles = frozenset(device.profile for device in plant.spec.devices if device.profile is not None)
        pool_name = Name(name.namespace, plant.spec.pool)
        pool = self._documents.pool(pool_name)
        versions = {f"{POOLS.kind} {plant.spec.pool}": self._documents.version(POOLS, pool_name)}
        broken = pool is None and self._objects.get(POOLS, *pool_name) is not None
        wanted = secrets_of(plant, pool)
        before, metadata = self._fleet.plant(name).references, self._objects.get(PLANTS, *name)
        references = References(
            pool=plant.spec.pool,
            plant_id=plant.spec.plant_id,
            created="" if metadata is None else metadata.created,
            profiles=profiles,
            secrets=wanted,
            endpoints=endpoints(plant),
        )
        self._fleet.refer(name, references)
        self._others(name, before, references)
        secrets = await self._secrets.read(name.namespace, wanted)
        for each in profiles:
            version = self._documents.version(PROFILES, Name(name.namespace, each))
            versions[f"{PROFILES.kind} {each}"] = version
        around = Surroundings(
            profiles=self._documents.profiles(name.namespace, profiles),
            pools={} if pool is None else {plant.spec.pool: pool},
            secrets=secrets,
            broken={("GatewayPool", plant.spec.pool)} if broken else frozenset(),
            searched=f"namespace {name.namespace}",
        )
        return candidate(plant, around, now=self._now()), secrets, versions

    def _pack(
        self,
        name: Name,
        record: PlantRecord,
        one: Candidate,
        credentials: PlantCredentials,
        versions: Mapping[str, str],
    ) -> None:
        """Make the plant's file anew, unless it was made from the very same input, also by another life of the operator."""
        metadata = one.plant.metadata
        inputs = inputs_of(uid=metadata.uid or "", generation=metadata.generation or 0, versions=versions)
        before = packed = record.packed
        if packed is None or packed.inputs != inputs:
            item = BundlePlant(plant=one.plant, pool=one.pool, credentials=credentials)
            packed = pack_plant(item, inputs=inputs)
            if before is not None and hold_the_same(before.content, packed.content):
                packed = replace(before, inputs=inputs)
            else:
                record.written, record.full = None, None
            record.packed = packed
        record.packed_generation = metadata.generation
        sizes = self._documents.profile_sizes(name.namespace, record.references.profiles)
        self._fleet.weigh(name, weigh(one.resolved, packed, sizes))

    def _gone(self, name: Name) -> None:
        """The Plant is not there: take it out of its bundle. Its Secret goes with its owner, or stays as asked."""
        record = self._fleet.plants.get(name)
        if record is None:
            return
        references = record.references
        if not references.plant_id and record.shard is not None:
            plant_id = self._fleet.shard(record.shard).plants.get(name.name, "")
            references = replace(references, plant_id=plant_id)
        before = self._fleet.forget(name)
        self._statuses.forget(name)
        if before is not None:
            log.info("plant gone", plant=name.name, namespace=name.namespace)
            self._dirty(before)
        self._others(name, references, References())

    def _others(self, name: Name, before: References, now: References) -> None:
        """Plants that wait for the plant id or a PLC that this one had may be next."""
        waiting: set[Name] = set()
        if before.plant_id and before.plant_id != now.plant_id:
            waiting |= self._fleet.with_plant_id(before.plant_id)
        kept = now.endpoints if now.pool == before.pool else ()
        for place in set(before.endpoints).difference(kept):
            waiting |= self._fleet.with_endpoint(Name(name.namespace, before.pool), place)
        for other in waiting - {name}:
            self._add(Key(Kind.PLANT, *other), fresh=True)

    def _dirty(self, shard: Shard) -> None:
        self._add(Key.of_shard(shard), after=SHARD_WINDOW)
