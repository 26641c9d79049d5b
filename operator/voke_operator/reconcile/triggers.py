"""Who has to look: from what changed in the cluster, and from what gateways say, to keys in the queues."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from voke_operator import names
from voke_operator.kube.resources import PLANTS, POOLS, PROFILES, SECRETS
from voke_operator.reconcile.children import owner_of
from voke_operator.reconcile.fleet import Fleet, Name, PlantRecord, ShardRecord
from voke_operator.reconcile.queue import SHARD_WINDOW, Key, Kind
from voke_operator.status.poll import News, Shard, View


class Triggers:
    """Turns news into keys."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        add: Callable[..., None],
        report: Callable[[Key], None],
        taken_in: Callable[[PlantRecord, int], None],
    ) -> None:
        """``add`` puts a key into the queue of work, ``report`` into the one of statuses.

        ``taken_in`` is told of each plant that waited, and of the generation of the bundle that its gateway works on.
        """
        self._fleet = fleet
        self._add = add
        self._report = report
        self._taken_in = taken_in

    def changed(self, kind: str, name: Name) -> None:
        """An object in the cluster is not as it was, or is gone."""
        match kind:
            case PLANTS.kind:
                self._wake([name])
            case PROFILES.kind:
                self._wake(self._fleet.with_profile(name))
            case POOLS.kind:
                self._add(Key(Kind.POOL, *name), fresh=True)
                self._wake(self._fleet.in_pool(name))
                for number in self._fleet.shards_of(name):
                    self._add(Key(Kind.SHARD, *name, number), after=SHARD_WINDOW)
            case SECRETS.kind:
                plant = name.name.removeprefix(names.plant_secret(""))
                if plant != name.name:
                    self._wake([Name(name.namespace, plant)])
                self._wake(self._fleet.with_secret(name))
        owner = owner_of(kind, name)
        if owner is not None:
            self._child_changed(owner)

    def heard(self, news: News, view: View) -> None:
        """A gateway says something new; ``view`` is all that is known of it now."""
        shard, record = news.shard, self._fleet.shards.get(news.shard)
        if record is None:
            return
        plants = set(news.plants)
        if news.gateway or news.silence:
            plants |= self._concerned(shard, record, view, silence=news.silence)
        for plant in plants:
            self._report(Key(Kind.PLANT, shard.namespace, plant))
        if plants:
            self._report(Key(Kind.POOL, shard.namespace, shard.pool))
        if record.leaving:
            self._add(Key.of_shard(shard))
        if news.silence:
            for plant_id in record.hearsay:
                self._wake(self._fleet.with_plant_id(plant_id))

    def _concerned(self, shard: Shard, record: ShardRecord, view: View, *, silence: bool) -> set[str]:
        """Names of the plants that a gateway's own news are about: all, or those whose bundle it has taken in."""
        reads = None if view.gateway is None else view.gateway.bundle_formats
        if record.reads != reads:
            record.reads = reads
            self._add(Key.of_shard(shard))
        before, record.applied = record.applied, (view.gateway and view.gateway.bundle_generation) or 0
        if silence or record.applied < before:
            return set(record.plants)
        waited = [(name, each) for name, each in self._fleet.members(shard) if (each.written or 0) > before]
        for _, each in waited:
            self._taken_in(each, record.applied)
        return {name.name for name, _ in waited}

    def _child_changed(self, owner: Key) -> None:
        if owner.number is None:
            self._add(owner)
        elif Shard(owner.namespace, owner.name, owner.number) in self._fleet.shards:
            self._add(owner, after=SHARD_WINDOW)

    def _wake(self, plants: Iterable[Name]) -> None:
        for plant in plants:
            self._add(Key(Kind.PLANT, *plant), fresh=True)
