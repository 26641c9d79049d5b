"""Gives one plant after another its place, by the rules of :mod:`voke_operator.plan.placement`."""

from __future__ import annotations

from voke_api.fleet import Endpoint, endpoints, taken_endpoints
from voke_api.problems import Problem
from voke_api.resources import Plant
from voke_operator import names
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import PLANTS, PODS, STATEFUL_SETS
from voke_operator.plan.packing import Limits
from voke_operator.plan.placement import Claim, Decision, Reason, lets_go, search, stay
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name
from voke_operator.status import causes
from voke_operator.status.facts import Cause, PlacementFacts
from voke_operator.status.poll import Gateways, Shard


class NotYetError(Exception):
    """Not before all plants that the pool's bundles list were looked at: how full its shards are is not known."""

    def __init__(self, pool: str, changed: set[Shard]) -> None:
        super().__init__(f"not all plants of pool {pool} were looked at")
        self.changed = changed
        """Shards whose bundles have to change all the same."""


class Placing:
    """Decides where plants run, and writes that into the fleet's records."""

    def __init__(self, objects: Objects, documents: Documents, fleet: Fleet, gateways: Gateways) -> None:
        self._objects = objects
        self._documents = documents
        self._fleet = fleet
        self._gateways = gateways
        self._all_visited = False

    def duplicate_of(self, name: Name, plant_id: str) -> Cause | None:
        """Why another Plant has this plantId and keeps it; None: nobody else does."""
        running = [
            each
            for each in self._fleet.listed_with_plant_id(plant_id)
            if self._is_known_to_run(each, plant_id)
        ]
        holder = min(running, key=self._age, default=self._fleet.oldest_with_plant_id(plant_id))
        if holder is None or holder == name:
            return None
        why = "which runs already" if holder in running else "which is older"
        return causes.of(
            Reason.DUPLICATE,
            f"plantId {plant_id} belongs to Plant {holder.name} in namespace {holder.namespace}, {why}. Delete one of "
            "the two; or, if this one is another site, delete it and apply it with its own plantId.",
        )

    def _age(self, name: Name) -> tuple[str, Name]:
        return self._fleet.plant(name).references.created, name

    def conflicts(self, name: Name, plant: Plant) -> tuple[Problem, ...]:
        """Which of its PLCs belong to other Plants of its pool, or to two of its own connections."""
        owners = {place: self._owner(name, plant.spec.pool, place) for place in endpoints(plant)}
        taken = {place: owner for place, owner in owners.items() if owner != name.name}
        return tuple(taken_endpoints(plant, taken))

    def _owner(self, name: Name, pool: str, place: Endpoint) -> str:
        """Which Plant may have a PLC: the one that has it, else the one that comes first.

        By what is at hand, and without reading a Plant: whoever writes Plants may give a thousand the same PLC.
        """

        def rank(each: Name) -> tuple[bool, bool, str, str]:
            record, metadata = self._fleet.plant(each), self._objects.get(PLANTS, *each)
            has = record.shard is not None and record.packed is not None and place in record.packed.endpoints
            runs = self._runs(each, record.references.plant_id)
            return not has, not runs, "" if metadata is None else metadata.created, each.name

        users = self._fleet.with_endpoint(Name(name.namespace, pool), place)
        there = [each for each in users if self._objects.get(PLANTS, *each) is not None]
        return min(there, key=rank, default=name).name

    def place(self, name: Name, claim: Claim, limits: Limits | None, duplicate: Cause | None) -> set[Shard]:
        """Give the plant its place; returns the shards whose bundles have to change for that.

        Raises:
            NotYetError: try again soon.
        """
        record = self._fleet.plant(name)
        here = record.shard
        listed = [here.local] if here is not None and self._runs(name, claim.plant_id) else []
        decision = stay(claim, listed, limits)
        if decision is None:
            assert limits is not None
            # Off its shard first: that has to let go of it, and plants that change places must not wait for each other.
            self._fleet.assign(name, None)
            if not self._knows_loads(Name(name.namespace, claim.pool)):
                raise NotYetError(claim.pool, set() if here is None else {here})
            decision = self._search(name, claim, limits)
        target = None if decision.shard is None else Shard.of(name.namespace, decision.shard)
        self._fleet.assign(name, target, claim.plant_id)
        record.placement = PlacementFacts(
            shard=None if target is None else target.number,
            gateway="" if target is None else names.gateway(target.pool, target.number),
            cause=_cause(name, decision, duplicate),
        )
        if target is not None:
            self._gateways.watch(target)
        return {shard for shard in (here, target) if shard is not None}

    def settle_leaving(self, shard: Shard) -> None:
        """Forget about plants that the shard's gateway has let go of."""
        record, view = self._fleet.shard(shard), self._gateways.view(shard)
        for left in list(record.leaving.values()):
            applied = (
                None if view.gateway is None or view.silence is not None else view.gateway.bundle_generation
            )
            running = (plant.plant_id for plant in view.plants.values())
            if not self.may_run(shard) or lets_go(left, applied, running):
                self._fleet.let_go(shard, left.plant_id)

    def may_run(self, shard: Shard) -> bool:
        """False only if it is certain that no process of the shard's gateway runs."""
        gateway, pod = (
            names.gateway(shard.pool, shard.number),
            names.gateway_pod(shard.pool, shard.number),
        )
        return (
            self._objects.get(STATEFUL_SETS, shard.namespace, gateway) is not None
            or self._objects.get(PODS, shard.namespace, pod) is not None
        )

    def all_visited(self) -> None:
        """Every plant that was there at the start has been looked at since, so that all loads are known."""
        self._all_visited = True

    def _knows_loads(self, pool: Name) -> bool:
        """Whether it is known how full a pool's shards are."""
        return self._all_visited or all(
            record.visited
            for number in self._fleet.shards_of(pool)
            for _, record in self._fleet.members(Shard(pool.namespace, pool.name, number))
        )

    def _search(self, name: Name, claim: Claim, limits: Limits) -> Decision:
        holders = self._fleet.holders(claim.plant_id)
        elsewhere = sorted(
            shard
            for shard in holders
            if shard.namespace != name.namespace
            and str(shard) not in claim.released
            and not self._is_idle_talk(shard, claim.plant_id)
        )
        if elsewhere:
            who = " and ".join(map(str, elsewhere))
            return Decision(
                plant=claim.plant,
                shard=None,
                reason=Reason.MOVING,
                message=f"runs nowhere until {who} has let go of it",
            )
        shards = self._fleet.shards_of(Name(name.namespace, claim.pool))
        loads = {number: self._fleet.load(Shard(name.namespace, claim.pool, number)) for number in shards}
        here = [
            shard.local
            for shard in sorted(holders | self._fleet.unknown(name.namespace))
            if shard.namespace == name.namespace
        ]
        return search(claim, here, loads, limits)

    def _is_idle_talk(self, shard: Shard, plant_id: str) -> bool:
        """Whether only a bundle says that a shard may run a plant, and no gateway answers for it."""
        return plant_id in self._fleet.shard(shard).hearsay and self._gateways.view(shard).silence is not None

    def _is_known_to_run(self, name: Name, plant_id: str) -> bool:
        shard = self._fleet.plant(name).shard
        return (
            self._runs(name, plant_id)
            and shard is not None
            and plant_id not in self._fleet.shard(shard).hearsay
        )

    def _runs(self, name: Name, plant_id: str) -> bool:
        record = self._fleet.plants.get(name)
        if record is None or record.shard is None:
            return False
        return self._fleet.shard(record.shard).plants.get(name.name) == plant_id


def _cause(name: Name, decision: Decision, duplicate: Cause | None) -> Cause | None:
    match decision.reason:
        case Reason.DUPLICATE:
            return duplicate
        case Reason.MOVING:
            return causes.moving(decision.message, namespace=name.namespace, plant=name.name)
        case Reason.TOO_LARGE:
            return causes.of(decision.reason, decision.message)
        case _:
            return None
