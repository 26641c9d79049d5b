"""Which gateway each plant is on: sticky, explained, never on two at once."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from voke_api.bundle import Leaving
from voke_api.status import GatewayStatus
from voke_operator.plan.packing import Limits, Weight
from voke_operator.plan.placement import Claim, Placement, Reason, Seen, ShardId, place

LIMITS = {"default": Limits(max_plants=2), "other": Limits(max_plants=2)}
FIRST, SECOND, ELSEWHERE = ShardId("default", 0), ShardId("default", 1), ShardId("other", 0)


def claim(name: str, pool: str = "default", **more: Any) -> Claim:
    return Claim(plant=name, plant_id=f"id-{name}", pool=pool, **more)


def seen(shard: ShardId, *plants: str, **more: Any) -> Seen:
    return Seen(shard=shard, plants={name: f"id-{name}" for name in plants}, **more)


def left(name: str, since: int = 5) -> Leaving:
    return Leaving(plant=name, plant_id=f"id-{name}", since=since)


def status(generation: int, *plants: str) -> GatewayStatus:
    return GatewayStatus.model_validate(
        {
            "gateway": "g",
            "version": "1",
            "startedAt": 0.0,
            "bundleGeneration": generation,
            "plants": [{"name": name, "plantId": f"id-{name}"} for name in plants],
        }
    )


def where(placement: Placement) -> dict[str, ShardId | None]:
    return {name: decision.shard for name, decision in placement.decisions.items()}


def test_new_plants_fill_the_first_shard_and_then_open_another() -> None:
    placement = place([claim(name) for name in "abc"], LIMITS, [])
    assert where(placement) == {"a": FIRST, "b": FIRST, "c": SECOND}
    assert placement.decisions["b"].message == "placed on voke-gw-default-0, the first gateway with room"
    assert "a new gateway, as no other has room" in placement.decisions["c"].message
    assert placement.shards[FIRST].plants == ("a", "b")


def test_adding_a_plant_moves_no_other() -> None:
    there = [seen(FIRST, "z"), seen(SECOND, "a", "b")]
    placement = place([claim(name) for name in "0abz"], LIMITS, there)
    assert where(placement) == {"0": FIRST, "a": SECOND, "b": SECOND, "z": FIRST}


def test_a_placed_plant_stays_though_its_shard_is_over_its_limits() -> None:
    placement = place([claim(name) for name in "abc"], LIMITS, [seen(FIRST, "a", "b", "c")])
    assert set(where(placement).values()) == {FIRST}
    assert placement.shards[FIRST].over == ("3 plants, of at most 2",)


def test_a_plant_that_no_gateway_can_carry_has_no_place() -> None:
    placement = place([claim("a", weight=Weight(bytes=10**6))], LIMITS, [])
    assert placement.decisions["a"].reason is Reason.TOO_LARGE
    assert placement.decisions["a"].shard is None
    assert not placement.shards


def test_a_plant_whose_newest_version_is_unusable_stays_where_it_is() -> None:
    broken = [claim(name, "gone", unusable="there is no GatewayPool gone") for name in "ab"]
    placement = place(broken, LIMITS, [seen(FIRST, "a")])
    assert where(placement) == {"a": FIRST, "b": None}
    assert placement.decisions["a"].message == (
        "stays on voke-gw-default-0 as it was: there is no GatewayPool gone"
    )


def test_a_duplicate_has_no_place() -> None:
    placement = place([claim("a", duplicate="Plant b has this plantId")], LIMITS, [seen(FIRST, "a")])
    assert where(placement) == {"a": None}
    assert placement.decisions["a"].reason is Reason.DUPLICATE
    assert placement.shards[FIRST].leaving == (left("a", since=0),)


def test_a_plant_whose_pool_changes_stops_first() -> None:
    placement = place([claim("a", "other")], LIMITS, [seen(FIRST, "a", status=status(5, "a"))])
    assert placement.decisions["a"].reason is Reason.MOVING
    assert placement.decisions["a"].waits_for == (FIRST,)
    assert "voke-gw-default-0" in placement.decisions["a"].message
    assert placement.shards[FIRST].plants == ()
    assert placement.shards[FIRST].leaving == (left("a", since=0),)
    assert not placement.shards[FIRST].remove


def test_an_answer_from_before_the_plant_ran_does_not_mean_that_it_has_stopped() -> None:
    there = seen(FIRST, "a", status=status(5))
    assert place([claim("a", "other")], LIMITS, [there]).decisions["a"].waits_for == (FIRST,)


def test_it_starts_elsewhere_when_its_gateway_has_been_seen_without_it() -> None:
    def moved(**shard: Any) -> ShardId | None:
        there = seen(FIRST, leaving=(left("a", since=5),), **shard)
        return place([claim("a", "other")], LIMITS, [there]).decisions["a"].shard

    assert moved(status=None) is None
    assert moved(status=status(4)) is None, "an answer from before it was told"
    assert moved(status=status(5, "a")) is None, "still draining"
    assert moved(status=status(5)) == ELSEWHERE
    assert moved(status=None, may_run=False) == ELSEWHERE


def test_a_person_can_say_that_a_gateway_is_dead_for_a_plant() -> None:
    there = seen(FIRST, leaving=(left("a"),))
    dead = claim("a", "other", released=[str(FIRST)])
    assert place([dead], LIMITS, [there]).decisions["a"].shard == ELSEWHERE
    another = claim("a", "other", released=[str(SECOND)])
    assert place([another], LIMITS, [there]).decisions["a"].shard is None


def test_a_plant_that_changes_its_mind_goes_back_without_waiting() -> None:
    there = [seen(FIRST, "b"), seen(SECOND, leaving=(left("a"),))]
    placement = place([claim("a"), claim("b")], LIMITS, there)
    assert placement.decisions["a"].shard == SECOND
    assert placement.shards[SECOND].leaving == ()


def test_a_plant_that_would_fit_nowhere_in_its_new_pool_stays_where_it_is() -> None:
    tight = {**LIMITS, "other": Limits(max_requests_per_second=1)}
    placement = place([claim("a", "other", weight=Weight(millirequests=2000))], tight, [seen(FIRST, "a")])
    assert placement.decisions["a"].shard == FIRST
    assert placement.decisions["a"].reason is Reason.TOO_LARGE


def test_a_plant_id_is_waited_for_under_whatever_name_it_ran() -> None:
    renamed = replace(claim("b", "other"), plant_id="id-a")
    placement = place([renamed], LIMITS, [seen(FIRST, "a", status=status(5, "a"))])
    assert placement.decisions["b"].waits_for == (FIRST,)


def test_another_plant_id_under_the_same_name_is_another_plant() -> None:
    new = replace(claim("a", "other"), plant_id="id-new")
    placement = place([new], LIMITS, [seen(FIRST, "a")])
    assert placement.decisions["a"].shard == ELSEWHERE
    assert placement.shards[FIRST].leaving == (left("a", since=0),)


def test_an_empty_shard_goes_when_nothing_is_left_to_be_let_go_of() -> None:
    def goes(*plants: str, **shard: Any) -> bool:
        return place([], LIMITS, [seen(FIRST, *plants, **shard)]).shards[FIRST].remove

    assert goes()
    assert goes("a"), "of a gateway that cannot be asked there is nothing to wait for"
    assert not goes("a", status=status(5, "a")), "first it delivers what it has read"
    assert goes(leaving=(left("a"),), status=status(5))


def test_an_empty_shard_stays_while_somebody_waits_for_what_it_holds() -> None:
    placement = place([claim("a", "other")], LIMITS, [seen(FIRST, leaving=(left("a"),))])
    assert not placement.shards[FIRST].remove


def test_a_gateway_whose_bundle_nobody_can_read_may_run_any_plant() -> None:
    unknown = seen(FIRST, "a", is_known=False)
    placement = place([claim("a"), claim("b", "other")], LIMITS, [unknown, seen(ELSEWHERE)])
    assert where(placement) == {"a": FIRST, "b": None}
    assert placement.decisions["b"].waits_for == (FIRST,)
    assert not place([], LIMITS, [unknown]).shards[FIRST].remove
    released = place([claim("b", "other", released=[str(FIRST)])], LIMITS, [unknown, seen(ELSEWHERE)])
    assert where(released) == {"b": ELSEWHERE}


def test_a_plant_that_is_listed_twice_stays_on_one() -> None:
    placement = place([claim("a")], LIMITS, [seen(SECOND, "a"), seen(FIRST, "a")])
    assert placement.decisions["a"].shard == FIRST
    assert placement.shards[SECOND].leaving == (left("a", since=0),)


NAMES = st.sampled_from("abcdefgh")
WEIGHTS = st.builds(Weight, millirequests=st.integers(0, 4000), bytes=st.integers(0, 4000))
CLAIMS = st.lists(
    st.builds(
        claim,
        NAMES,
        st.sampled_from(["default", "other"]),
        weight=WEIGHTS,
        unusable=st.none() | st.none() | st.just("broken"),
    ),
    unique_by=lambda each: each.plant,
)
SHARDS = st.lists(
    st.builds(ShardId, st.sampled_from(["default", "other"]), st.integers(0, 3)), unique=True, max_size=4
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Claim], list[Seen]]:
    shards = draw(SHARDS)
    listed = draw(st.dictionaries(NAMES, st.sampled_from(shards))) if shards else {}
    return draw(CLAIMS), [
        seen(shard, *(name for name, on in listed.items() if on == shard)) for shard in shards
    ]


TIGHT = dict.fromkeys(
    ["default", "other"], Limits(max_plants=3, max_requests_per_second=6, max_bytes=9000, room_bytes=7000)
)


@settings(deadline=None)
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_given_does_not_matter(
    situation: tuple[list[Claim], list[Seen]], random: Random
) -> None:
    claims, there = situation
    first = place(claims, TIGHT, there)
    random.shuffle(claims)
    random.shuffle(there)
    again = place(claims, TIGHT, there)
    assert again == first
    assert list(again.shards) == list(first.shards)


@settings(deadline=None)
@given(situations())
def test_every_plant_is_decided_on_and_listed_where_the_decision_says(
    situation: tuple[list[Claim], list[Seen]],
) -> None:
    claims, there = situation
    placement = place(claims, TIGHT, there)
    assert set(placement.decisions) == {each.plant for each in claims}
    listed = {(plant, shard) for shard, plan in placement.shards.items() for plant in plan.plants}
    assert listed == {(d.plant, d.shard) for d in placement.decisions.values() if d.shard is not None}


@settings(deadline=None)
@given(situations())
def test_only_plants_that_were_there_make_a_shard_too_full(
    situation: tuple[list[Claim], list[Seen]],
) -> None:
    claims, there = situation
    placement = place(claims, TIGHT, there)
    before = {each.shard: each.plants for each in there}
    for shard, plan in placement.shards.items():
        if plan.over:
            assert set(plan.plants) <= before[shard].keys()


@settings(deadline=None)
@given(situations())
def test_what_was_decided_is_decided_again(situation: tuple[list[Claim], list[Seen]]) -> None:
    claims, there = situation
    first = place(claims, TIGHT, there)
    now = [
        seen(shard, *plan.plants, leaving=tuple(replace(each, since=9) for each in plan.leaving))
        for shard, plan in first.shards.items()
        if not plan.remove
    ]
    again = place(claims, TIGHT, now)
    stable = {name: shard for name, shard in where(first).items() if shard is not None}
    assert {name: shard for name, shard in where(again).items() if name in stable} == stable
