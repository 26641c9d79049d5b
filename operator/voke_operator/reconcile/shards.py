"""One shard: its bundle, its StatefulSet and Service, and that its gateway takes the bundle in at once.

A bundle is one Secret, written whole, at the version that was read. It is not written before every plant that it
lists was looked at since the operator started, or a plant would drop out of it only because nobody had got to it
yet. What is in it decides what runs: placement is read from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from voke_api.bundle import (
    BundleUnreadableError,
    UnknownFormatError,
    contents,
    packed_in,
)
from voke_api.resources.observed import PlantObserved
from voke_operator import names
from voke_operator.credentials.secret import from_document
from voke_operator.kube.client import Client, Object
from voke_operator.kube.errors import ConflictError, KubeError, NotFoundError, PermanentError
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import PLANTS, PODS, SECRETS, STATEFUL_SETS
from voke_operator.plan.bundles import ShardBundle, left_alone, shard_bundle
from voke_operator.plan.difference import Conflict, ObjectRef, Observed, Step, not_ours
from voke_operator.plan.objects import HTTP_PORT, shard_in, shard_labels, template_hash
from voke_operator.plan.placement import ShardPlan
from voke_operator.plan.steps import PlannedShard, shard_refs, shard_steps
from voke_operator.reconcile.children import Children, Drifted, NotOursError
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, ShardRecord
from voke_operator.reconcile.placing import Placing
from voke_operator.reconcile.queue import Key, Kind
from voke_operator.reconcile.rollouts import Rollouts
from voke_operator.reconcile.statuses import observed_in
from voke_operator.status import causes
from voke_operator.status.facts import Cause
from voke_operator.status.pods import Pod, read_pod
from voke_operator.status.poll import Gateways, Shard
from voke_operator.status.reasons import Reason

_NOT_VISITED: Final = 0.5
"""Seconds until a shard is looked at again whose plants were not all looked at yet."""
_NAME_TAKEN: Final = 30.0
"""Seconds until it is looked again whether a person has removed what is in the way: no watch tells of it."""
_REFUSED: Final = 60.0
"""Seconds until what the API server has refused is tried again."""
_LET_GO: Final = 2.0
"""Seconds between two looks at whether a gateway has let go of a plant, or its pod is gone."""
_UNKNOWN: Final = "?"
"""Version of a Secret that has to be read again."""
_TOUCHES: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 30.0, 30.0)
"""Seconds to wait before each touch of the pod: kubelet's watch of the Secret may come later than the first.

After an outage of the API server kubelet waits up to half a minute before it watches again.
"""
_STARTING: Final = 15.0
"""Seconds after which a gateway that does not answer is not touched for: it reads the newest bundle when it starts."""

log = structlog.get_logger(__name__)


class RefusedError(Exception):
    """The API server refuses an object of a gateway. A person must act; the message names it."""


class ShardReconciler:
    """Brings one shard after another in order."""

    def __init__(
        self,
        client: Client,
        objects: Objects,
        documents: Documents,
        fleet: Fleet,
        *,
        children: Children,
        placing: Placing,
        rollouts: Rollouts,
        gateways: Gateways,
        drifted: Drifted,
        add: Callable[..., None],
        report: Callable[[Key], None],
    ) -> None:
        """``add`` puts a key into the queue of work, ``report`` into the one of statuses."""
        self._client = client
        self._objects = objects
        self._documents = documents
        self._fleet = fleet
        self._children = children
        self._placing = placing
        self._rollouts = rollouts
        self._gateways = gateways
        self._drifted = drifted
        self._add = add
        self._report = report
        self._touching: dict[Shard, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Touch no pod any more."""
        for task in self._touching.values():
            task.cancel()
        await asyncio.gather(*self._touching.values(), return_exceptions=True)

    async def reconcile(self, key: Key) -> float | None:
        """Bring the shard in order; seconds after which to look again, or None.

        Raises:
            KubeError: try again.
        """
        assert key.number is not None
        shard = Shard(key.namespace, key.name, key.number)
        record = self._fleet.shards.get(shard)
        if record is None:
            return None
        before = record.pod
        await self._locate(shard, record)
        if _without_version(before) != _without_version(record.pod):
            self._tell_members(shard)
        try:
            await self._see(shard, record)
            return await self._bring_in_order(shard, record)
        except NotOursError as error:
            if error.kind == SECRETS.kind and not record.secret_version:  # met when it was to be made
                record.secret_version = _UNKNOWN
                return 0.0
            cause = causes.of(Reason.GATEWAY_CONFLICT, str(error))
            if record.trouble != cause:
                self._drifted(error.kind, "refused")
            self._say(shard, record, cause)
            return _NAME_TAKEN
        except RefusedError as error:
            self._say(shard, record, causes.of(Reason.GATEWAY_REFUSED, str(error)))
            return _REFUSED

    async def _bring_in_order(self, shard: Shard, record: ShardRecord) -> float | None:
        wanted = self._rollouts.wanted(shard)
        objects = await self._children.observe(wanted)
        if any(not plant.visited for _, plant in self._fleet.members(shard)):
            return _NOT_VISITED
        self._settle_leaving(shard, record)
        planned = PlannedShard(
            carries=self._carries(shard, record), bundle=self._bundle(shard, record), objects=wanted
        )
        if not planned.bundle.changed and not planned.bundle.mismatch:
            self._tell_of_bundle(shard, record, planned.bundle)
        objects |= self._known(shard, record, remove=planned.carries.remove)
        may_run = self._placing.may_run(shard)
        for step in shard_steps(
            shard.namespace, planned, objects, files=record.files or None, may_run=may_run
        ):
            if isinstance(step, Conflict):
                raise NotOursError(step)
            if planned.carries.remove and record.plants:  # a plant was placed on it meanwhile
                return 0.0
            if step.restarts and not self._rollouts.may_restart(shard, template_hash(step.document or {})):
                continue  # the pool's reconcile says when
            made = await self._make(shard, record, step, planned.bundle)
            if step.restarts and _same_template(objects.get(step.ref), made):
                self._rollouts.restarts_not(shard)
        if planned.carries.remove:
            return self._forget(shard, record, may_run=may_run)
        mismatch = planned.bundle.mismatch
        trouble = self._mismatch(shard, record, mismatch) if mismatch else None
        self._say(shard, record, trouble, remark=self._rollouts.kept(shard))
        self._add(Key(Kind.POOL, shard.namespace, shard.pool))
        return _LET_GO if record.leaving else None

    def _settle_leaving(self, shard: Shard, record: ShardRecord) -> None:
        before = set(record.leaving)
        self._placing.settle_leaving(shard)
        for plant_id in before - record.leaving.keys():
            for waiting in self._fleet.with_plant_id(plant_id):
                self._add(Key(Kind.PLANT, *waiting), fresh=True)

    def _carries(self, shard: Shard, record: ShardRecord) -> ShardPlan:
        return ShardPlan(
            shard=shard.local,
            plants=tuple(sorted(record.plants)),
            load=self._fleet.load(shard),
            leaving=tuple(record.leaving.values()),
            remove=not record.plants and not self._is_needed(shard, record),
        )

    def _is_needed(self, shard: Shard, record: ShardRecord) -> bool:
        """Whether an empty shard is still to let go of something in good order, is waited for, or is not known to be empty."""
        answers = self._gateways.view(shard).silence is None
        waited_for = any(self._fleet.with_plant_id(plant_id) for plant_id in record.leaving)
        return bool(record.unknown) or (bool(record.leaving) and (answers or waited_for))

    def _known(self, shard: Shard, record: ShardRecord, *, remove: bool) -> dict[ObjectRef, Observed]:
        """What there is, beside what was read: all of a shard that is to be removed, else the bundle, as it was read."""
        refs = shard_refs(shard.namespace, shard.local)
        if remove:
            return self._children.known(refs)
        version, bundle = record.secret_version, refs[-1]
        there = Observed(ref=bundle, resource_version=version, labels=names.OWNED)
        return {bundle: there} if version else {}

    async def _make(
        self, shard: Shard, record: ShardRecord, step: Step, bundle: ShardBundle
    ) -> Object | None:
        try:
            made = await self._children.make(step)
        except (ConflictError, NotFoundError):
            if step.ref.kind == SECRETS.kind:
                record.secret_version = _UNKNOWN
            raise
        except PermanentError as error:
            if step.ref.kind == SECRETS.kind:
                raise
            raise RefusedError(f"the API server refuses {step.ref}: {error}") from None
        if step.ref.kind == SECRETS.kind and made is not None:
            self._note_written(shard, record, bundle, made, changes=step.reason)
        return made

    def _say(
        self, shard: Shard, record: ShardRecord, trouble: Cause | None, *, remark: Cause | None = None
    ) -> None:
        """Note what is in the way of the shard's objects, or remarkable, for the statuses of pool and plants."""
        if (record.trouble, record.remark) == (trouble, remark):
            return
        if trouble is not None:
            log.warning("gateway cannot be brought in order", shard=str(shard), problem=trouble.message)
        record.trouble, record.remark = trouble, remark
        self._tell_members(shard)

    def _tell_members(self, shard: Shard) -> None:
        """Something is new that the statuses of the pool and of the shard's plants speak of."""
        self._report(Key(Kind.POOL, shard.namespace, shard.pool))
        for name, _ in self._fleet.members(shard):
            self._report(Key(Kind.PLANT, *name))

    async def read_all(self) -> None:
        """Read every bundle that there is: what the gateways run now.

        Raises:
            KubeError: try again.
        """
        for metadata in list(self._objects.all(SECRETS)):
            shard = shard_of(metadata.name, metadata.namespace, metadata.labels)
            if shard is not None:
                await self._take_in(shard, await self._client.get(SECRETS, metadata.namespace, metadata.name))
        for metadata in self._objects.all(STATEFUL_SETS):
            found = _labelled(metadata.namespace, metadata.labels)
            if found is not None:
                self._fleet.shard(found)  # if it has neither bundle nor plants, it is to be removed
                self._gateways.watch(found)
        self._recall()

    def _recall(self) -> None:
        """Plants of a bundle that is lost are where their status says, if a gateway is there: it may run them."""
        for metadata in self._objects.all(PLANTS):
            name = Name(metadata.namespace, metadata.name)
            record = self._fleet.plants.get(name)
            if record is not None and record.shard is not None:
                continue
            shard, plant_id = self._said_to_be(name)
            if shard is not None and shard in self._fleet.shards:
                self._fleet.assign(name, shard, plant_id)

    def _said_to_be(self, name: Name) -> tuple[Shard | None, str]:
        """Where a Plant was last, and under which plant id, as its status says, which only an operator writes."""
        observed = observed_in(PlantObserved, self._objects.status(PLANTS, *name))
        if observed.shard is None or observed.plant_id is None:
            return None, ""
        pool = observed.gateway.removeprefix(names.gateway_prefix()).removesuffix(f"-{observed.shard}")
        if observed.gateway != names.gateway(pool, observed.shard):
            return None, ""
        return Shard(name.namespace, pool, observed.shard), observed.plant_id

    async def _take_in(self, shard: Shard, document: Object) -> None:
        """Note what a bundle lists, and keep each plant's file until it is known whether it is still right."""
        record = self._fleet.shard(shard)
        secret = from_document(document)
        record.files, record.secret_version = secret.data, secret.resource_version
        try:
            held = contents(record.files)
        except UnknownFormatError as error:
            record.unknown = str(error)
            return
        except BundleUnreadableError as error:
            log.warning("bundle cannot be read, to be written anew", shard=str(shard), problem=str(error))
            return
        record.generation = held.generation
        for left in held.leaving:
            self._fleet.leave(shard, replace(left, since=min(left.since, held.generation)))
            record.hearsay.add(left.plant_id)
        for plant, packed in (await asyncio.to_thread(packed_in, record.files)).items():
            name = Name(shard.namespace, plant)
            known = self._fleet.plant(name)
            if known.shard is not None:  # another bundle lists it, too: only one may
                log.warning("plant is in two bundles", plant=plant, shards=[str(known.shard), str(shard)])
                continue
            self._fleet.assign(name, shard, packed.plant_id)
            if self._said_to_be(name) != (shard, packed.plant_id):
                record.hearsay.add(packed.plant_id)
            known.packed, known.written = packed, held.generation
        self._gateways.watch(shard)

    async def _see(self, shard: Shard, record: ShardRecord) -> None:
        """If the Secret is not as this process left it, read it: it will be written anew.

        Raises:
            NotOursError: somebody else's has the name.
            KubeError: try again.
        """
        name = names.bundle_secret(shard.pool, shard.number)
        known = self._objects.get(SECRETS, shard.namespace, name)
        version = "" if known is None else known.resource_version
        if version == record.secret_version:
            return
        try:
            document = await self._client.get(SECRETS, shard.namespace, name)
        except NotFoundError:
            if record.files:
                self._drifted(SECRETS.kind, "restored")
            record.files, record.secret_version, record.unknown = {}, "", ""
            return
        secret = from_document(await self._with_our_labels(shard, document))
        if secret.resource_version == record.secret_version:
            return
        log.warning("bundle was changed by somebody else, its plants are read anew", shard=str(shard))
        self._drifted(SECRETS.kind, "restored")
        record.files, record.secret_version = secret.data, secret.resource_version
        for member, plant in self._fleet.members(shard):
            plant.visited, plant.doubtful = False, True
            self._add(Key(Kind.PLANT, *member), fresh=True)
        with suppress(BundleUnreadableError):
            record.generation = max(record.generation, contents(record.files).generation)
            record.unknown = ""

    async def _with_our_labels(self, shard: Shard, document: Object) -> Object:
        """A shard's bundle, with our labels put back if somebody removed them: by its type, which cannot change, it is ours.

        Raises:
            NotOursError: it is not ours, or we may not write it without the label.
            KubeError: try again.
        """
        conflict = not_ours(shard_refs(shard.namespace, shard.local)[-1])
        if document.get("type") != names.BUNDLE_SECRET_TYPE:
            raise NotOursError(conflict)
        metadata = document["metadata"]
        labels = {**(metadata.get("labels") or {}), **shard_labels(shard.local)}
        if metadata.get("labels") == labels:
            return document
        try:
            written = await self._client.replace(
                SECRETS, {**document, "metadata": {**metadata, "labels": labels}}
            )
        except PermanentError:
            raise NotOursError(conflict) from None
        self._objects.written(SECRETS, written)
        log.warning("bundle had lost its labels, they are put back", shard=str(shard))
        return written

    def _bundle(self, shard: Shard, record: ShardRecord) -> ShardBundle:
        if record.unknown:
            return left_alone(record.files, record.unknown)
        members = dict(self._fleet.members(shard))
        packed = [plant.packed for plant in members.values() if plant.packed is not None]
        view = self._gateways.view(shard)
        return shard_bundle(
            packed,
            self._documents.profiles(shard.namespace, {each for one in packed for each in one.profiles}),
            record.files or None,
            leaving=record.leaving.values(),
            notes={name.name: plant.note for name, plant in members.items() if plant.note},
            applied=0 if view.gateway is None else view.gateway.bundle_generation or 0,
            reads=record.reads,
        )

    def _mismatch(self, shard: Shard, record: ShardRecord, why: str) -> Cause:
        """That a bundle is not written for want of a format that everybody knows."""
        gateway = str(shard.local)
        if record.unknown:
            secret = names.bundle_secret(shard.pool, shard.number)
            return causes.bundle_unknown(namespace=shard.namespace, gateway=gateway, secret=secret, why=why)
        pool = self._documents.pool(Name(shard.namespace, shard.pool))
        image = None if pool is None else pool.spec.pod.image
        return causes.format_mismatch(pool=shard.pool, gateway=gateway, image=image, why=why)

    def _note_written(
        self, shard: Shard, record: ShardRecord, bundle: ShardBundle, written: Object, *, changes: str
    ) -> None:
        record.files, record.secret_version = bundle.files, written["metadata"]["resourceVersion"]
        record.generation = bundle.generation
        record.written_at = asyncio.get_running_loop().time()
        record.leaving = {
            plant_id: left if left.since else replace(left, since=record.generation)
            for plant_id, left in record.leaving.items()
        }
        log.info(
            "bundle written",
            shard=str(shard),
            generation=record.generation,
            plants=len(record.plants),
            bytes=bundle.size,
            changes=changes,
        )
        self._touch(shard)
        self._tell_of_bundle(shard, record, bundle)

    def _tell_of_bundle(self, shard: Shard, record: ShardRecord, bundle: ShardBundle) -> None:
        """Note which plants are in the bundle as they are to be."""
        for name, plant in self._fleet.members(shard):
            note = bundle.full or bundle.notes.get(name.name, "")
            before = plant.full, plant.written
            full = note and not plant.note
            plant.full = causes.bundle_full(gateway=str(shard.local), note=note) if full else None
            if plant.full is None and plant.written is None:
                plant.written = record.generation
            if before != (plant.full, plant.written):
                self._report(Key(Kind.PLANT, *name))

    def _touch(self, shard: Shard) -> None:
        running = self._touching.get(shard)
        if running is not None:
            running.cancel()
        self._touching[shard] = asyncio.create_task(self._touch_until_taken(shard), name=f"touch {shard}")

    async def _touch_until_taken(self, shard: Shard) -> None:
        """Make kubelet look at the Secret, again and again until the gateway has it."""
        record = self._fleet.shard(shard)
        pod = names.gateway_pod(shard.pool, shard.number)
        for wait in _TOUCHES:
            await asyncio.sleep(wait)
            view = await self._gateways.ask(shard)
            if view.gateway is not None and (view.gateway.bundle_generation or 0) >= record.generation:
                return
            if view.gateway is None and wait >= _STARTING:
                return
            if self._objects.get(PODS, shard.namespace, pod) is None:
                continue
            try:
                await self._client.annotate_pod(
                    shard.namespace, pod, {names.GENERATION_ANNOTATION: str(record.generation)}
                )
            except KubeError as error:
                log.info("pod not touched", pod=pod, namespace=shard.namespace, why=str(error))
            await asyncio.sleep(0.4)
            await self._gateways.ask(shard)

    def _forget(self, shard: Shard, record: ShardRecord, *, may_run: bool) -> float | None:
        """Nothing is left for it to do; seconds until its pod may be gone, which goes before what it mounts."""
        self._add(Key(Kind.POOL, shard.namespace, shard.pool))
        if may_run or record.plants:
            return _LET_GO
        self._gateways.unwatch(shard)
        task = self._touching.pop(shard, None)
        if task is not None:
            task.cancel()
        self._fleet.shards.pop(shard, None)
        return None

    async def _locate(self, shard: Shard, record: ShardRecord) -> None:
        """Find out where the shard's gateway is to be asked."""
        pod = names.gateway_pod(shard.pool, shard.number)
        known = self._objects.get(PODS, shard.namespace, pod)
        if known is None:
            record.address, record.pod = None, None
            return
        if record.pod is not None and known.resource_version == record.pod.version:
            return
        try:
            found = await self._client.get(PODS, shard.namespace, pod)
        except NotFoundError:
            record.address, record.pod = None, None
            return
        address = found.get("status", {}).get("podIP")
        before = record.address
        record.pod = replace(read_pod(found), version=known.resource_version)
        record.address = None if not address else f"http://{_host(address)}:{HTTP_PORT}"
        if record.address != before and record.address is not None and record.generation:
            self._touch(shard)


def shard_of(name: str, namespace: str, labels: Mapping[str, str]) -> Shard | None:
    """Whose bundle a Secret is; None: it is none of ours."""
    shard = _labelled(namespace, labels)
    return shard if shard is not None and name == names.bundle_secret(shard.pool, shard.number) else None


def _labelled(namespace: str, labels: Mapping[str, str]) -> Shard | None:
    """The shard that labels of ours name."""
    found = shard_in(labels)
    if found is None or labels.get(names.MANAGED_BY) != names.FIELD_MANAGER:
        return None
    return Shard.of(namespace, found)


def _same_template(before: Observed | None, now: Object | None) -> bool:
    """Whether a StatefulSet is known to have the pod template that it had."""
    if before is None or before.content is None or now is None:
        return False
    return bool(before.content["spec"]["template"] == now["spec"]["template"])


def _without_version(pod: Pod | None) -> Pod | None:
    return None if pod is None else replace(pod, version="")


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
