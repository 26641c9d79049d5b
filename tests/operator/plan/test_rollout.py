"""Which gateways may restart now."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from voke_operator.plan.placement import ShardId
from voke_operator.plan.rollout import Restartable, Rollout, rollout

SHARDS = [ShardId("default", number) for number in range(6)]


def gateways(states: str) -> list[Restartable]:
    """One per letter: o old and at work, O old and away, n new and at work, N new and away."""
    return [
        Restartable(shard=shard, new=state in "nN", away="" if state in "on" else "it has no pod")
        for shard, state in zip(SHARDS, states, strict=False)
    ]


def now(states: str, most: int = 2) -> list[int]:
    return [shard.number for shard in rollout(gateways(states), max_unavailable=most).now]


def test_one_gateway_is_tried_first() -> None:
    assert now("oooo") == [0]


def test_until_it_is_back_no_other_restarts() -> None:
    waiting = rollout(gateways("Nooo"), max_unavailable=2)
    assert waiting.now == ()
    assert waiting.message == (
        "voke-gw-default-0 is not back: it has no pod; "
        "voke-gw-default-1, voke-gw-default-2, voke-gw-default-3 to follow"
    )


def test_then_as_many_at_once_as_the_pool_allows() -> None:
    assert now("nooo") == [1, 2]
    assert now("nNoo") == [2]
    assert now("nNNo") == []


def test_a_gateway_that_is_down_anyway_comes_first() -> None:
    assert now("ooOo") == [2]


def test_but_not_while_another_tries_a_template_that_nobody_has_proven() -> None:
    assert now("NoOo") == []


def test_when_all_are_new_there_is_nothing_to_do() -> None:
    last = gateways("nnN")[-1]
    assert rollout(gateways("nnN"), max_unavailable=1) == Rollout(now=(), later=(), waits_for=(last,))
    assert rollout(gateways("nn"), max_unavailable=1).message == ""


@settings(deadline=None)
@given(st.text("oOnN", min_size=1, max_size=6), st.integers(1, 4))
def test_an_upgrade_ends_and_never_takes_down_more_than_it_may(states: str, most: int) -> None:
    there = list(states)
    while any(state in "oO" for state in there):
        restarting = now("".join(there), most)
        in_restart = there.count("N") + len(restarting)
        assert len(restarting) == 0 or in_restart <= (most if "n" in there else 1)
        if not restarting:
            there = ["n" if state == "N" else state for state in there]
        for number in restarting:
            there[number] = "N"
