"""What a pool says for all its Plants."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.support.site_facts import on_gateway
from voke_api.resources.observed import PoolObserved
from voke_api.status import SessionStatus
from voke_operator.status.damping import LASTING, Damper, Rate
from voke_operator.status.facts import Cause, ShardFacts, Silence
from voke_operator.status.pools import Outage, PoolFacts, Sessions, outage, pool_status, sessions
from voke_operator.status.reasons import Reason
from voke_operator.status.reports import PlantReport, plant_report


def plants(reason: str, count: int = 1, *, connected: bool = False, message: str = "") -> list[PlantReport]:
    session = SessionStatus(connected=connected, reason=reason, message=message)
    return [plant_report(on_gateway(session=session))] * count


THROUGH = plants("", connected=True)
LOST = plants("BrokerUnreachable", message="no connection to mqtt.example:8886")


def lasting(*phases: tuple[list[PlantReport], float]) -> list[Outage | None]:
    """What is judged at the beginning of each phase, and of a last moment after all."""
    now, found, judged = 1000.0, None, []
    for reports, seconds in phases:
        found = outage(sessions(reports), found, now)
        judged.append(found)
        now += seconds
    return judged


def test_sessions_are_counted_by_whose_fault_it_is() -> None:
    reports = [
        *THROUGH * 3,
        *LOST * 2,
        *plants("SessionLost"),
        *plants(""),
        *plants("LoginRefused", 4),
        *plants("NoSubscriber", connected=True),
        replace(LOST[0], state="Suspended"),
    ]
    seen = sessions(reports)
    assert seen.through == 3
    assert seen.cut_off == {"BrokerUnreachable": 2, "SessionLost": 1, "Connecting": 1, "NoSubscriber": 1}
    assert seen.troubled == 4
    assert seen.example == "no connection to mqtt.example:8886"


def test_an_outage_begins_when_nobody_gets_through() -> None:
    before, begun = lasting((THROUGH + LOST * 9, 10), (LOST * 10, 10))
    assert before is None
    assert begun == Outage(1010.0, Reason.BROKER_UNREACHABLE, "no connection to mqtt.example:8886")


def test_a_single_plant_says_itself_that_it_is_cut_off() -> None:
    assert lasting((LOST, 10)) == [None]


def test_plants_that_are_just_starting_are_no_outage() -> None:
    assert lasting((plants("", 500), 5)) == [None]


def test_refused_logins_are_no_outage() -> None:
    assert lasting((plants("LoginRefused", 500), 5)) == [None]


def test_voke_down_behind_its_broker_is_an_outage_too() -> None:
    (found,) = lasting((plants("NoSubscriber", 10, connected=True), 5))
    assert found is not None
    assert found.reason is Reason.NO_SUBSCRIBER


def test_an_outage_ends_when_nearly_all_are_back() -> None:
    begun, easing, over = lasting((LOST * 10, 60), (THROUGH * 5 + LOST * 5, 60), (THROUGH * 9 + LOST, 0))
    assert begun is not None
    assert easing is not None
    assert easing.easing_since == 1060.0
    assert over is None


def test_who_is_not_back_two_minutes_after_the_first_speaks_for_himself() -> None:
    half = THROUGH * 5 + LOST * 5
    judged = lasting((LOST * 10, 60), (half, 60), (half, 59), (half, 1), (half, 0))
    assert [each is not None for each in judged] == [True, True, True, True, False]


def test_a_relapse_is_the_same_outage() -> None:
    judged = lasting((LOST * 10, 60), (THROUGH + LOST * 9, 60), (LOST * 10, 60), (THROUGH + LOST * 9, 0))
    assert [each.since for each in judged if each is not None] == [1000.0] * 4
    assert judged[2] is not None
    assert judged[2].easing_since is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 3)), max_size=30))
def test_an_outage_never_begins_while_somebody_gets_through(counts: list[tuple[int, int, int]]) -> None:
    phases = [(THROUGH * a + LOST * b + plants("LoginRefused", c), 5.0) for a, b, c in counts]
    judged = [None, *lasting(*phases)]
    for (before, after), (through, lost, _) in zip(pairwise(judged), counts, strict=True):
        if before is None and after is not None:
            assert through == 0
            assert lost >= 2


SHARDS = (ShardFacts(gateway="voke-gw-north-0"), ShardFacts(gateway="voke-gw-north-1"))
POOL = PoolFacts(
    name="north",
    namespace="energy",
    generation=2,
    plants=10,
    shards=SHARDS,
    sessions=sessions(THROUGH * 10),
)
DOWN = replace(POOL, sessions=sessions(LOST * 10), outage=outage(sessions(LOST * 10), None, 1000.0))


def said(facts: PoolFacts) -> dict[str, tuple[str, str, str]]:
    findings = pool_status(facts).findings
    return {type_: (each.status, each.reason, each.message) for type_, each in findings.items()}


def test_a_pool_that_is_well() -> None:
    assert said(POOL) == {
        "Ready": ("True", "AllWell", "2 gateways, 10 plants"),
        "CloudReachable": ("True", "Reachable", "plants get through to Voke"),
    }


def test_an_outage_is_said_once_for_all() -> None:
    message = (
        "none of the 10 plants that run gets through to Voke (BrokerUnreachable): no connection to mqtt.example:8886. "
        "Gateways keep what they read and send it later; the conditions of the Plants stay as they were"
    )
    assert said(DOWN) == dict.fromkeys(("Ready", "CloudReachable"), ("False", "CloudOutage", message))


def test_a_silent_gateway_is_named() -> None:
    dead = replace(SHARDS[1], silence=Silence(1000.0, "no answer within 3 s"))
    assert said(replace(POOL, shards=(SHARDS[0], dead)))["Ready"] == (
        "False",
        "GatewaysUnreachable",
        (
            "1 of 2 gateways do not answer the operator: voke-gw-north-1 (no answer within 3 s). See to the pod: "
            "kubectl -n energy describe pod voke-gw-north-1-0"
        ),
    )


def test_what_is_wrong_with_the_pool_itself_comes_first() -> None:
    cause = Cause(Reason.SECRET_MISSING, "spec.voke.ca.secretRef: there is no Secret voke-broker-ca")
    assert said(replace(DOWN, cause=cause))["Ready"][1] == "SecretMissing"


def test_a_pool_without_plants_is_ready_and_says_nothing_of_the_cloud() -> None:
    empty = replace(POOL, plants=0, shards=(), sessions=Sessions())
    assert said(empty)["Ready"][0] == "True"
    assert said(empty)["CloudReachable"][:2] == ("Unknown", "NoPlants")


def test_a_restart_of_the_operator_leaves_a_pool_as_it_is() -> None:
    damper, now = Damper(Rate(per_second=10, burst=10)), 0.0
    first = damper.judge("north", pool_status(DOWN), PoolObserved(), now, at=now)
    assert first.write is not None
    assert (first.write.shards, first.write.plants) == (2, 10)
    fresh = Damper(Rate(per_second=10, burst=10))
    unasked = replace(POOL, sessions=Sessions(), shards=tuple(replace(each, asked=False) for each in SHARDS))
    assert fresh.judge("north", pool_status(unasked), first.write, now + 5, at=now).write is None
    assert fresh.judge("north", pool_status(DOWN), first.write, now + 5 + LASTING, at=now).write is None
