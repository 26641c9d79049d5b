"""Who has to look, when something changes in the cluster or at a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.site_facts import gateway
from voke_operator.kube.resources import (
    DISRUPTION_BUDGETS,
    PLANTS,
    PODS,
    POOLS,
    PROFILES,
    SECRETS,
    STATEFUL_SETS,
)
from voke_operator.reconcile.fleet import Fleet, Name, PlantRecord, References
from voke_operator.reconcile.queue import Key, Kind
from voke_operator.reconcile.triggers import Triggers
from voke_operator.status.poll import News, Shard, View
from voke_operator.status.reports import gateway_report

SHARD = Shard("energy", "default", 0)
ROOF, PARK = Name("energy", "roof"), Name("energy", "park")
LOOK_AT_ROOF, LOOK_AT_PARK = Key(Kind.PLANT, *ROOF), Key(Kind.PLANT, *PARK)
LOOK_AT_SHARD, LOOK_AT_POOL = Key.of_shard(SHARD), Key(Kind.POOL, "energy", "default")


@dataclass
class World:
    """Two plants on one gateway, of which the roof has a profile and a Secret."""

    fleet: Fleet = field(default_factory=Fleet)
    to_do: set[Key] = field(default_factory=set)
    to_report: set[Key] = field(default_factory=set)
    taken_in: list[PlantRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.triggers = Triggers(
            self.fleet,
            add=lambda key, **_: self.to_do.add(key),
            report=self.to_report.add,
            taken_in=lambda plant, _: self.taken_in.append(plant),
        )
        self.fleet.refer(
            ROOF, References(pool="default", profiles=frozenset({"acme"}), secrets=frozenset({"keys"}))
        )
        self.fleet.refer(PARK, References(pool="default"))
        self.fleet.assign(ROOF, SHARD, "id-1")
        self.fleet.assign(PARK, SHARD, "id-2")

    def hears(self, *, bundle: int | None, **news: Any) -> None:
        view = View(gateway=None if bundle is None else gateway_report(gateway(bundle=bundle)))
        self.triggers.heard(News(shard=SHARD, **news), view)


@pytest.mark.parametrize(
    ("kind", "name", "concerned"),
    [
        (PLANTS.kind, "roof", {LOOK_AT_ROOF}),
        (PROFILES.kind, "acme", {LOOK_AT_ROOF}),
        (PROFILES.kind, "of nobody", set()),
        (POOLS.kind, "default", {LOOK_AT_POOL, LOOK_AT_SHARD, LOOK_AT_ROOF, LOOK_AT_PARK}),
        (SECRETS.kind, "keys", {LOOK_AT_ROOF}),
        (SECRETS.kind, "voke-plant-park", {LOOK_AT_PARK}),
        (SECRETS.kind, "voke-bundle-default-0", {LOOK_AT_SHARD}),
        (STATEFUL_SETS.kind, "voke-gw-default-0", {LOOK_AT_SHARD}),
        (STATEFUL_SETS.kind, "voke-gw-default-7", set()),
        (PODS.kind, "voke-gw-default-0-0", {LOOK_AT_SHARD}),
        (DISRUPTION_BUDGETS.kind, "voke-gw-default", {LOOK_AT_POOL}),
    ],
)
def test_a_change_is_looked_at_by_whom_it_concerns(kind: str, name: str, concerned: set[Key]) -> None:
    world = World()
    world.triggers.changed(kind, Name("energy", name))
    assert world.to_do == concerned
    assert world.to_report == set()


def test_what_a_gateway_says_of_a_plant_is_reported_of_it_and_of_its_pool() -> None:
    world = World()
    world.hears(bundle=None, plants=frozenset({"roof"}))
    assert world.to_report == {LOOK_AT_ROOF, LOOK_AT_POOL}
    assert world.to_do == set()


def test_a_bundle_that_was_taken_in_concerns_the_plants_that_waited_for_it() -> None:
    world = World()
    world.fleet.plant(ROOF).written = 7
    world.hears(bundle=7, gateway=True)
    assert world.to_report == {LOOK_AT_ROOF, LOOK_AT_POOL}
    assert world.taken_in == [world.fleet.plant(ROOF)]


def test_silence_concerns_all_plants_of_the_gateway() -> None:
    world = World()
    world.hears(bundle=None, silence=True)
    assert world.to_report == {LOOK_AT_ROOF, LOOK_AT_PARK, LOOK_AT_POOL}


def test_a_gateway_that_nobody_knows_any_more_concerns_nobody() -> None:
    world = World()
    world.triggers.heard(News(shard=Shard("energy", "default", 9), silence=True), View())
    assert world.to_report == set()
