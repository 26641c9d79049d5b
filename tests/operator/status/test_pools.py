"""What a pool says for all its Plants."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.site_facts import WELL, on_gateway, saying
from voke_api.resources.observed import PlantObserved, PoolObserved
from voke_api.status import SessionStatus
from voke_operator.status import causes
from voke_operator.status.conditions import plant_status
from voke_operator.status.damping import COUNTING, INTERVAL, LASTING, STARTING, Damper, Rate
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


def test_an_outage_begins_when_half_of_the_plants_are_cut_off() -> None:
    before, begun, whole = lasting(
        (THROUGH * 6 + LOST * 4, 10), (THROUGH * 5 + LOST * 5, 10), (LOST * 10, 10)
    )
    assert before is None
    assert begun is not None
    assert (begun.since, begun.partly_since, begun.quiet) == (1010.0, 1010.0, True)
    assert whole == Outage(1010.0, Reason.BROKER_UNREACHABLE, "no connection to mqtt.example:8886")


def test_a_share_that_stays_cut_off_speaks_for_itself_after_two_minutes() -> None:
    half = THROUGH * 5 + LOST * 5
    judged = lasting((half, 119), (half, 1), (half, 3600), (half, 0))
    assert [each.quiet for each in judged if each is not None] == [True, True, False, False]


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
    begun, partly, over = lasting((LOST * 10, 60), (THROUGH * 5 + LOST * 5, 60), (THROUGH * 9 + LOST, 0))
    assert begun is not None
    assert partly is not None
    assert partly.partly_since == 1060.0
    assert over is None


def test_who_is_not_back_two_minutes_after_the_first_speaks_for_himself() -> None:
    half = THROUGH * 5 + LOST * 5
    judged = lasting((LOST * 10, 60), (half, 60), (half, 59), (half, 1), (half, 0))
    assert [each.quiet for each in judged if each is not None] == [True, True, True, True, False]


def test_a_relapse_is_the_same_outage() -> None:
    judged = lasting((LOST * 10, 60), (THROUGH + LOST * 9, 60), (LOST * 10, 60), (THROUGH + LOST * 9, 0))
    assert [each.since for each in judged if each is not None] == [1000.0] * 4
    assert [each.partly_since for each in judged if each is not None] == [None, 1060.0, None, 1180.0]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 3)), max_size=30))
@settings(deadline=None)
def test_an_outage_begins_with_half_and_is_whole_only_while_nobody_gets_through(
    counts: list[tuple[int, int, int]],
) -> None:
    phases = [(THROUGH * a + LOST * b + plants("LoginRefused", c), 5.0) for a, b, c in counts]
    judged = [None, *lasting(*phases)]
    for (before, after), (through, lost, _) in zip(pairwise(judged), counts, strict=True):
        if before is None and after is not None:
            assert lost >= max(2, through)
        if after is not None:
            assert (after.partly_since is None) == (through == 0)


def test_a_fleet_that_loses_its_broker_and_gets_it_back_writes_its_pool_and_no_plant() -> None:
    """Noticed within 20 s, gone for ten minutes, back within a minute: as gateways do."""
    damper, clock = Damper(Rate(per_second=50, burst=200)), 0.0
    fleet = range(100)
    lost_at = {plant: 100 + 20 * plant / len(fleet) for plant in fleet}
    back_at = {plant: 720 + 60 * plant / len(fleet) for plant in fleet}
    statuses = dict.fromkeys(fleet, PlantObserved())
    pool, judged, writes = PoolObserved(), None, {"plants": 0, "pool": 0}
    down = saying(on_gateway(session=SessionStatus(reason="BrokerUnreachable", message="no connection")))
    up, off = WELL.seen.plant, down.seen.plant
    assert up is not None
    assert off is not None
    while clock < 1000:
        cut_off = {plant for plant in fleet if lost_at[plant] <= clock < back_at[plant]}
        seen = sessions([off if plant in cut_off else up for plant in fleet])
        judged = outage(seen, judged, clock)
        quiet = judged is not None and judged.quiet
        facts = replace(POOL, sessions=seen, outage=judged)
        decision = damper.judge("pool", pool_status(facts), pool, clock, at=clock)
        if decision.write is not None:
            pool = decision.write
            writes["pool"] += 1
            damper.written("pool", clock)
        well, bad = (plant_status(replace(each, outage=quiet)) for each in (WELL, down))
        for plant in fleet:
            said = damper.judge(plant, bad if plant in cut_off else well, statuses[plant], clock, at=clock)
            if said.write is not None:
                writes["plants"] += bool(statuses[plant].conditions)
                statuses[plant] = said.write
                damper.written(plant, clock)
        clock += 5
    assert writes["plants"] == 0
    assert writes["pool"] == 4, writes
    assert {each.conditions[0].reason for each in statuses.values()} == {"AllWell"}
    assert pool.conditions[0].reason == "AllWell"


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


def test_a_partial_outage_is_said_with_its_share() -> None:
    seen = sessions(THROUGH * 4 + LOST * 6)
    partly = replace(POOL, sessions=seen, outage=outage(seen, None, 1000.0))
    message = (
        "6 of 10 plants do not get through to Voke (BrokerUnreachable): no connection to mqtt.example:8886"
    )
    assert said(partly) == dict.fromkeys(("Ready", "CloudReachable"), ("True", "PartlyReachable", message))


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


KILLED = causes.out_of_memory(namespace="energy", pool="north", gateway="voke-gw-north-1", limit="512Mi")


def test_a_gateway_that_was_killed_for_its_memory_is_said_on_the_pool() -> None:
    killed = replace(SHARDS[1], pod=KILLED)
    assert said(replace(POOL, shards=(SHARDS[0], killed)))["Ready"] == (
        "True",
        "GatewayOutOfMemory",
        KILLED.message,
    )


def test_of_silent_gateways_the_one_is_explained_of_which_most_is_known() -> None:
    silent = [replace(each, silence=Silence(1000.0, "connection refused")) for each in SHARDS]
    silent[1] = replace(silent[1], pod=KILLED)
    assert said(replace(POOL, shards=silent))["Ready"] == (
        "False",
        "GatewaysUnreachable",
        ("2 of 2 gateways do not answer the operator: voke-gw-north-0, voke-gw-north-1; " + KILLED.message),
    )


ROLLING = Cause(Reason.ROLLING_OUT, "voke-gw-north-1 is not back: it has not answered yet")
STUCK = Cause(Reason.ROLLOUT_STUCK, "voke-gw-north-1 is not back: ImagePullBackOff")


def test_a_gateway_that_restarts_for_an_upgrade_is_not_called_silent() -> None:
    silent = tuple(replace(each, silence=Silence(1000.0, "connection refused")) for each in SHARDS)
    upgrade = replace(POOL, rollout=ROLLING, restarting={"voke-gw-north-1"})
    assert said(replace(upgrade, shards=(SHARDS[0], silent[1])))["Ready"] == (
        "True",
        "RollingOut",
        ROLLING.message,
    )
    assert said(replace(upgrade, shards=silent))["Ready"][1] == "GatewaysUnreachable"


def test_an_upgrade_that_does_not_get_on_is_said_unless_voke_is_away_for_all() -> None:
    stuck = replace(POOL, rollout=STUCK, restarting={"voke-gw-north-1"})
    assert said(stuck)["Ready"] == ("False", "RolloutStuck", STUCK.message)
    assert said(replace(DOWN, rollout=STUCK))["Ready"][1] == "CloudOutage"


def test_what_is_wrong_with_the_pool_itself_comes_first() -> None:
    cause = Cause(Reason.SECRET_MISSING, "spec.voke.ca.secretRef: there is no Secret voke-broker-ca")
    assert said(replace(DOWN, cause=cause))["Ready"][1] == "SecretMissing"


def test_a_pool_without_plants_is_ready_and_says_nothing_of_the_cloud() -> None:
    empty = replace(POOL, plants=0, shards=(), sessions=Sessions())
    assert said(empty)["Ready"][0] == "True"
    assert said(empty)["CloudReachable"][:2] == ("Unknown", "NoPlants")


def test_a_restart_of_the_operator_leaves_a_pool_as_it_is() -> None:
    damper, now = Damper(Rate(per_second=10, burst=10)), STARTING
    damper.judge("north", pool_status(DOWN), PoolObserved(), 0.0, at=0.0)
    first = damper.judge("north", pool_status(DOWN), PoolObserved(), now, at=now)
    assert first.write is not None
    assert (first.write.shards, first.write.plants) == (2, 10)
    fresh = Damper(Rate(per_second=10, burst=10))
    unasked = replace(POOL, sessions=Sessions(), shards=tuple(replace(each, asked=False) for each in SHARDS))
    assert fresh.judge("north", pool_status(unasked), first.write, now + 5, at=now).write is None
    assert fresh.judge("north", pool_status(DOWN), first.write, now + 5 + LASTING, at=now).write is None


NEW = replace(POOL, plants=0, shards=(), sessions=Sessions())
"""Nobody has named it yet."""
STARTED = replace(NEW, plants=1, shards=(ShardFacts(gateway="voke-gw-north-0", asked=False),))
"""It has a Plant, and the gateway for that is about to start."""


def said_over_time(*moments: tuple[float, PoolFacts], until: float) -> list[tuple[float, PoolObserved]]:
    """When a new pool's status is written, and what it is then."""
    damper, status, written = Damper(Rate(per_second=10, burst=10)), PoolObserved(), []
    now, due, facts, ahead = 0.0, 0.0, moments[0][1], list(moments)
    while now <= until:
        if ahead and ahead[0][0] == now:
            facts = ahead.pop(0)[1]
        decision = damper.judge("north", pool_status(facts), status, now, at=now)
        if decision.write is not None:
            status = decision.write
            damper.written("north", now)
            written.append((now, status))
        later = [each for each in (decision.due, ahead[0][0] if ahead else None) if each is not None]
        due = min(later, default=until + 1)
        assert due >= now
        now = due
    return written


def test_the_first_plant_of_a_pool_is_counted_while_its_gateway_starts() -> None:
    created, counted = said_over_time((0.0, NEW), (3.0, STARTED), until=300)
    assert (created[0], created[1].shards, created[1].plants) == (0.0, 0, 0)
    at, status = counted
    assert at <= 3 + COUNTING
    assert (status.shards, status.plants) == (1, 1)
    assert status.conditions[0].message == "1 gateway, 1 plant"
    assert status.conditions[0].last_transition_time == created[1].conditions[0].last_transition_time


def test_plants_that_come_one_after_the_other_are_counted_together() -> None:
    growing = [(1 + 0.125 * each, replace(STARTED, plants=each)) for each in range(1, 401)]
    written = said_over_time((0.0, NEW), *growing, until=300)
    assert written[-1][1].plants == 400
    assert written[-1][0] <= growing[-1][0] + COUNTING
    assert all(later - before >= COUNTING for (before, _), (later, _) in pairwise(written[1:]))
    assert len(written) <= 2 + 50 / COUNTING


def test_plants_that_are_counted_do_not_bring_forward_what_has_to_last() -> None:
    cut_off = replace(DOWN, plants=11)
    written = said_over_time((0.0, POOL), (60.0, DOWN), (61.0, cut_off), until=300)
    assert [(at, status.plants) for at, status in written] == [(0.0, 10), (60 + LASTING, 11)]
    better = said_over_time((0.0, NEW), (3.0, STARTED), (5.0, replace(POOL, plants=1)), until=300)
    assert [at for at, _ in better][-1] <= 5 + INTERVAL
