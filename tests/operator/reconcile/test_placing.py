"""Where plants run, worked out from the records of a fleet: nothing runs twice, and nobody waits for himself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from voke_api.bundle import Leaving
from voke_operator import names
from voke_operator.kube.objects import Objects, known_of
from voke_operator.kube.resources import STATEFUL_SETS
from voke_operator.plan.objects import Defaults
from voke_operator.plan.packing import Limits
from voke_operator.plan.placement import Claim
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, References
from voke_operator.reconcile.placing import NotYetError, Placing
from voke_operator.status.facts import Silence
from voke_operator.status.poll import FetchError, Gateways, Shard, View

EAST, WEST = Shard("site", "east", 0), Shard("site", "west", 0)
LIMITS = Limits()


@dataclass
class World:
    fleet: Fleet
    placing: Placing
    gateways: Gateways

    def lists(self, shard: Shard, **plants: str) -> None:
        """The bundle of a shard, as an operator reads it that has just started; its gateway cannot be asked."""
        for plant, plant_id in plants.items():
            self.fleet.assign(Name(shard.namespace, plant), shard, plant_id)

    def place(self, plant: str, plant_id: str, pool: str) -> set[Shard]:
        """As when a Plant is reconciled."""
        claim = Claim(plant=plant, plant_id=plant_id, pool=pool)
        changed = self.placing.place(Name("site", plant), claim, LIMITS, None)
        self.fleet.plant(Name("site", plant)).visited = True
        return changed

    def shard(self, plant: str) -> Shard | None:
        return self.fleet.plant(Name("site", plant)).shard


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async def unreachable(_url: str) -> bytes:
        raise FetchError("nobody is there")

    objects, fleet = Objects(), Fleet()
    for shard in (EAST, WEST):
        metadata = {
            "namespace": shard.namespace,
            "name": names.gateway(shard.pool, shard.number),
            "uid": shard.pool,
            "resourceVersion": "1",
        }
        objects.put(STATEFUL_SETS, known_of(STATEFUL_SETS, {"metadata": metadata}))
    gateways = Gateways(
        fetch=unreachable, locate=lambda _: None, changed=lambda _: None, wall_clock=lambda: 0.0
    )
    yield World(
        fleet,
        Placing(objects, Documents(objects, defaults=Defaults(image="voke-gateway:1")), fleet, gateways),
        gateways,
    )
    await gateways.close()


async def test_a_plant_that_changes_its_pool_runs_nowhere_until_its_gateway_has_let_go(world: World) -> None:
    world.lists(EAST, roof="id-1")
    assert world.place("roof", "id-1", "west") == {EAST}
    assert world.shard("roof") is None
    cause = world.fleet.plant(Name("site", "roof")).placement.cause
    assert cause is not None
    assert "runs nowhere until voke-gw-east-0 has let go of it" in cause.message
    world.fleet.let_go(EAST, "id-1")
    assert world.place("roof", "id-1", "west") == {WEST}
    assert world.shard("roof") == WEST


async def test_plants_that_were_made_anew_with_other_ids_do_not_wait_for_each_other(world: World) -> None:
    world.lists(EAST, roof="old-1", barn="old-2", shed="id-3")
    for plant, plant_id in (("roof", "id-1"), ("barn", "id-2")):
        with pytest.raises(NotYetError) as error:
            world.place(plant, plant_id, "east")
        assert error.value.changed == {EAST}, "what it listed is dropped all the same"
    world.place("shed", "id-3", "east")
    for plant, plant_id in (("roof", "id-1"), ("barn", "id-2")):
        assert world.place(plant, plant_id, "east") == {EAST}
    assert world.fleet.shard(EAST).plants == {"roof": "id-1", "barn": "id-2", "shed": "id-3"}
    assert world.fleet.shard(EAST).leaving.keys() == {"old-1", "old-2"}


def claims(world: World, plant_id: str, *plants: str) -> None:
    """Plants of one id, created on one day after the other."""
    for day, plant in enumerate(plants):
        created = f"2026-01-{day + 1:02}T00:00:00Z"
        world.fleet.refer(Name("site", plant), References(plant_id=plant_id, created=created))


def in_the_right(world: World, plant_id: str, *plants: str) -> set[str]:
    return {each for each in plants if world.placing.duplicate_of(Name("site", each), plant_id) is None}


async def test_of_plants_with_one_id_the_running_one_is_in_the_right_then_the_older(world: World) -> None:
    plants = ("roof", "barn", "annexe")
    claims(world, "id-1", *plants)
    assert in_the_right(world, "id-1", *plants) == {"roof"}
    world.lists(EAST, barn="id-1")
    assert in_the_right(world, "id-1", *plants) == {"barn"}
    said = world.placing.duplicate_of(Name("site", "roof"), "id-1")
    assert said is not None
    assert "belongs to Plant barn in namespace site, which runs already" in said.message
    for gone, next_ in (("barn", "roof"), ("roof", "annexe")):
        world.fleet.forget(Name("site", gone))
        assert in_the_right(world, "id-1", *set(plants) - {"barn", gone}) == {next_}
    claims(world, "id-2", "annexe")
    assert world.fleet.with_plant_id("id-1") == frozenset()


async def test_a_plant_that_runs_is_in_the_right_before_it_was_looked_at(world: World) -> None:
    """After a start: the other one must get no keys."""
    world.lists(EAST, barn="id-1")
    claims(world, "id-1", "roof")
    assert in_the_right(world, "id-1", "roof") == set()


async def test_thousands_of_plants_with_one_id_cost_a_look_at_each(world: World) -> None:
    plants = [Name("site", f"plant-{number}") for number in range(20_000)]
    began = time.process_time()
    for name in plants:
        world.fleet.refer(name, References(plant_id="id-1", created="2026-01-01T00:00:00Z"))
        world.placing.duplicate_of(name, "id-1")
    right = [name for name in plants if world.placing.duplicate_of(name, "id-1") is None]
    for name in plants:
        world.fleet.forget(name)
    took = time.process_time() - began
    assert right == [min(plants)]
    assert took < 10, "each pair of them would take minutes"


async def test_a_gateway_whose_bundle_nobody_can_read_may_run_any_plant_of_its_namespace(
    world: World,
) -> None:
    world.fleet.shard(EAST).unknown = "bundle format 99 is not supported"
    world.fleet.shard(WEST)
    world.placing.all_visited()
    world.place("roof", "id-1", "west")
    assert world.shard("roof") is None
    world.fleet.shard(EAST).unknown = ""
    world.place("roof", "id-1", "west")
    assert world.shard("roof") == WEST


async def test_plants_that_change_pools_with_each_other_do_not_wait_for_each_other(world: World) -> None:
    world.lists(EAST, roof="id-1")
    world.lists(WEST, barn="id-2")
    with contextlib.suppress(NotYetError):
        world.place("roof", "id-1", "west")
    world.place("barn", "id-2", "east")
    world.fleet.let_go(EAST, "id-1")
    world.fleet.let_go(WEST, "id-2")
    world.place("roof", "id-1", "west")
    world.place("barn", "id-2", "east")
    assert (world.shard("roof"), world.shard("barn")) == (WEST, EAST)


async def test_what_only_a_foreign_bundle_says_keeps_no_plant_from_running(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write Secrets in one namespace must not hold up the plants of another."""
    elsewhere = Shard("attacker", "default", 0)
    world.lists(elsewhere, anything="id-1")
    world.fleet.leave(elsewhere, Leaving(plant="gone", plant_id="id-2", since=2**40))
    world.fleet.shard(elsewhere).hearsay |= {"id-1", "id-2"}
    world.fleet.assign(Name("attacker", "anything"), None)
    world.placing.all_visited()
    for plant, plant_id in (("roof", "id-1"), ("barn", "id-2")):
        world.place(plant, plant_id, "east")
        assert world.shard(plant) is None, "its gateway may still answer, if there is one"
    monkeypatch.setattr(world.gateways, "view", lambda _: View(silence=Silence(0.0, "nobody is there")))
    for plant, plant_id in (("roof", "id-1"), ("barn", "id-2")):
        world.place(plant, plant_id, "east")
        assert world.shard(plant) == EAST


async def test_what_was_placed_here_keeps_a_plant_of_another_namespace_waiting(world: World) -> None:
    elsewhere = Shard("other", "default", 0)
    world.fleet.shard(elsewhere).hearsay.add("id-1")
    world.lists(elsewhere, roof="id-1")  # as placed by this operator
    world.fleet.assign(Name("other", "roof"), None)
    world.placing.all_visited()
    world.place("roof", "id-1", "east")
    assert world.shard("roof") is None
