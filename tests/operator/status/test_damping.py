"""When a status is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plants import PLANT_ID
from tests.support.site_facts import DEVICES, IN_USE, REFUSED, WELL, on_gateway, saying, seen, site
from voke_api.problems import Problem
from voke_api.resources.observed import PLANT_CONDITIONS, Condition, CredentialInUse, PlantObserved
from voke_api.status import SessionStatus
from voke_operator.status.conditions import plant_status, ready
from voke_operator.status.damping import INTERVAL, LASTING, REWORDING, STARTING, Damper, Rate
from voke_operator.status.facts import (
    BundleFacts,
    Cause,
    CredentialFacts,
    Finding,
    PlacementFacts,
    PlantFacts,
    Seen,
)
from voke_operator.status.reasons import Reason

GOOD = WELL
ONE_SILENT = saying(on_gateway({"INV1": REFUSED}))
TWO_SILENT = saying(on_gateway({"INV1": REFUSED, "INV3": REFUSED}))
ALL_SILENT = saying(on_gateway(dict.fromkeys(("INV1", "INV2", "BAT1", "MTR1", "INV3"), REFUSED)))
OFFLINE = saying(
    on_gateway(
        session=SessionStatus(reason="BrokerUnreachable", message="no connection to mqtt.example:8886")
    )
)
UNASKED = replace(WELL, seen=Seen())
STATES = (GOOD, ONE_SILENT, TWO_SILENT, ALL_SILENT, OFFLINE, UNASKED)
EPOCH = 1_800_000_000.0


@dataclass
class Object:
    """One Plant, its status as it stands in the cluster, and an operator that writes when it may."""

    damper: Damper = field(default_factory=lambda: Damper(Rate(per_second=1000, burst=1000)))
    key: str = "energy/brno-roof-3"
    facts: PlantFacts = GOOD
    status: PlantObserved = field(default_factory=PlantObserved)
    writes: list[float] = field(default_factory=list)
    due: float | None = None
    now: float = 0.0

    def becomes(self, facts: PlantFacts) -> None:
        self.facts = facts
        self.look()

    def look(self) -> None:
        decision = self.damper.judge(
            self.key, plant_status(self.facts), self.status, self.now, at=EPOCH + self.now
        )
        self.due = decision.due
        if decision.write is not None:
            assert decision.write != self.status, "a write changes something"
            self.status = decision.write
            self.agrees()
            self.writes.append(self.now)
            self.damper.written(self.key, self.now)

    def agrees(self) -> None:
        """Ready says what the conditions beside it say, whatever of them was held back."""
        parts = {
            each.type: Finding(
                status=each.status,
                reason=each.reason,
                message=each.message,
                generation=each.observed_generation,
            )
            for each in self.status.conditions
            if each.type in PLANT_CONDITIONS[1:]
        }
        made, said = ready(parts), self.says("Ready")
        assert (made.status, made.reason, made.message) == (said.status, said.reason, said.message)

    def passes(self, seconds: float) -> None:
        """Time goes by; the operator looks again whenever it asked for that."""
        end = self.now + seconds
        while self.due is not None and self.due <= end:
            assert self.due >= self.now
            self.now = self.due
            self.look()
        self.now = end

    def says(self, type_: str) -> Condition:
        return next(each for each in self.status.conditions if each.type == type_)


def settled(facts: PlantFacts = GOOD, **given: Any) -> Object:
    """A Plant whose status has said ``facts`` for long."""
    plant = Object(**given)
    plant.becomes(facts)
    plant.passes(3600)
    plant.writes.clear()
    return plant


def test_a_new_plant_gets_its_status_at_once() -> None:
    plant = Object()
    plant.becomes(GOOD)
    assert plant.writes == [0.0]
    assert plant.status.observed_generation == 3
    assert [each.type for each in plant.status.conditions] == [
        "Ready",
        "CredentialsReady",
        "Registered",
        "GatewayReady",
        "CloudConnected",
        "DevicesReachable",
    ]
    assert {each.last_transition_time for each in plant.status.conditions} == {"2027-01-15T08:00:00Z"}
    assert plant.status.devices == "5/5"
    assert plant.status.gateway == "voke-gw-default-0"
    assert plant.due is None


def test_a_plant_that_is_starting_is_written_when_it_has_started() -> None:
    plant = Object()
    for facts in (saying(None, bundle=6), saying(on_gateway(unasked=DEVICES))):
        plant.becomes(facts)
        plant.passes(1)
    plant.becomes(GOOD)
    assert plant.writes == [2.0]
    assert plant.says("Ready").status == "True"


def test_a_plant_that_takes_long_to_start_says_so() -> None:
    plant = Object()
    plant.becomes(saying(None, bundle=6))
    plant.passes(60)
    assert plant.writes == [STARTING]
    assert plant.says("Ready").reason == "BundlePending"


def test_bad_news_of_a_new_plant_do_not_wait() -> None:
    plant = Object()
    empty = Cause(Reason.SECRET_INVALID, "Secret brno-keys: it has no tls.key")
    plant.becomes(replace(saying(None, bundle=6), credentials=CredentialFacts(cause=empty)))
    assert plant.writes == [0.0]
    assert plant.says("Ready").reason == "SecretInvalid"
    other = Object()
    wrong = Problem(path=("spec", "devices", 0, "points", 1, "scaleFrom"), message="there is no such field")
    other.becomes(replace(NAMELESS, problems=(wrong, *NAMELESS.problems)))
    assert other.writes == [0.0]


NAMELESS = replace(
    WELL,
    problems=(Problem(path=("spec", "devices", 0, "profile"), message="there is no DeviceProfile acme"),),
    credentials=CredentialFacts(),
    placement=PlacementFacts(),
    bundle=BundleFacts(),
    seen=Seen(),
)
"""Applied before the DeviceProfile that it names."""
POOLLESS = replace(
    NAMELESS, problems=(Problem(path=("spec", "pool"), message="there is none", value="north"),)
)
KEYLESS = replace(
    NAMELESS,
    problems=(),
    credentials=CredentialFacts(cause=Cause(Reason.SECRET_MISSING, "there is no Secret brno-keys")),
)


@pytest.mark.parametrize(
    ("before", "reason"), [(NAMELESS, "Invalid"), (POOLLESS, "PoolMissing"), (KEYLESS, "SecretMissing")]
)
def test_what_a_new_plant_refers_to_may_come_with_the_next_file(before: PlantFacts, reason: str) -> None:
    plant = Object()
    plant.becomes(before)
    plant.passes(STARTING / 2)
    plant.becomes(GOOD)
    assert plant.writes == [STARTING / 2]
    assert plant.says("Ready").reason == "AllWell"
    forgotten = Object()
    forgotten.becomes(before)
    forgotten.passes(60)
    assert forgotten.writes == [STARTING]
    assert forgotten.says("Ready").reason == reason


def test_what_a_plant_that_ran_refers_to_is_missed_at_once() -> None:
    plant = settled()
    began = plant.now
    plant.becomes(replace(WELL, generation=4, problems=NAMELESS.problems))
    assert plant.writes == [began]
    assert plant.says("Ready").reason == "Invalid"


def test_what_gets_worse_is_written_after_it_has_lasted() -> None:
    plant = settled()
    began = plant.now
    plant.becomes(ONE_SILENT)
    plant.passes(LASTING - 0.1)
    assert plant.writes == []
    plant.passes(0.1)
    assert plant.writes == [began + LASTING]
    assert plant.says("DevicesReachable").status == "False"
    assert plant.status.devices == "4/5"


def test_what_passes_is_not_written() -> None:
    plant = settled()
    for _ in range(100):
        plant.becomes(ALL_SILENT)
        plant.passes(LASTING - 1)
        plant.becomes(GOOD)
        plant.passes(1)
    assert plant.writes == []


def test_what_lasts_in_changing_words_is_written_all_the_same() -> None:
    plant = settled()
    for _ in range(4):
        plant.becomes(ALL_SILENT)
        plant.passes(2)
        plant.becomes(ONE_SILENT)
        plant.passes(2)
    assert len(plant.writes) == 1


def test_recovery_is_written_at_once() -> None:
    plant = settled(OFFLINE)
    began = plant.now
    plant.becomes(GOOD)
    assert plant.writes == [began]
    assert plant.says("Ready").status == "True"


def test_recovery_right_after_a_write_waits_for_the_interval() -> None:
    plant = settled()
    plant.becomes(OFFLINE)
    plant.passes(LASTING + 1)
    (written,) = plant.writes
    plant.becomes(GOOD)
    assert len(plant.writes) == 1
    plant.passes(60)
    assert plant.writes == [written, written + INTERVAL]


def test_other_words_for_the_same_state_wait_for_a_minute() -> None:
    plant = settled()
    plant.becomes(ONE_SILENT)
    plant.passes(LASTING)
    (first,) = plant.writes
    plant.becomes(TWO_SILENT)
    plant.passes(200)
    assert plant.writes == [first, first + REWORDING]
    assert plant.status.devices == "3/5"


def test_what_gets_worse_again_has_to_last_again() -> None:
    plant = settled()
    plant.becomes(ONE_SILENT)
    plant.passes(60)
    plant.becomes(ALL_SILENT)
    plant.passes(LASTING - 1)
    assert len(plant.writes) == 1
    plant.passes(1)
    assert len(plant.writes) == 2


@pytest.mark.parametrize("ran_before", [True, False])
def test_a_cause_that_was_mended_does_not_look_as_if_the_gateway_refused_the_plant(
    *,
    ran_before: bool,
) -> None:
    plant = settled() if ran_before else Object()
    cause = Cause(Reason.SECRET_NOT_ALLOWED, "Secret voke-broker-ca lacks the label that lets Plants use it")
    answer = seen(on_gateway(state="Invalid", message=cause.message))
    noted = replace(WELL, seen=answer, bundle=replace(WELL.bundle, newest=7))
    newest = BundleFacts(generation=7 if ran_before else 8, plant_generation=3, newest=8)
    said = set()
    for facts, seconds in (
        (replace(noted, credentials=CredentialFacts(cause=cause, in_use=IN_USE)), 60.0),
        (noted, 0.25),
        (replace(noted, bundle=newest), 5.0),
        (replace(WELL, bundle=newest, seen=seen(on_gateway(), bundle=8)), 60.0),
    ):
        plant.becomes(facts)
        plant.passes(seconds)
        said |= {plant.says("Ready").reason, plant.says("GatewayReady").reason}
    assert said == {"SecretNotAllowed", "BundlePending", "Running", "AllWell"}


def test_a_write_for_one_reason_takes_along_only_what_has_lasted() -> None:
    plant = settled(OFFLINE)
    plant.becomes(saying(on_gateway({"INV1": REFUSED})))
    assert plant.says("CloudConnected").status == "True"
    assert plant.says("DevicesReachable").status == "True", "the silence is too young"
    assert plant.status.devices == "5/5"
    assert plant.says("Ready").reason == "AllWell", "Ready agrees with what stands beside it"
    plant.passes(LASTING)
    assert plant.says("DevicesReachable").status == "False"
    assert plant.says("Ready").reason == "SomeDevicesNotRead"


def test_a_new_generation_is_acknowledged_at_once_and_ready_speaks_of_it_when_it_runs() -> None:
    plant = settled()
    began = plant.now
    plant.becomes(replace(GOOD, generation=4, bundle=replace(GOOD.bundle, generation=8, plant_generation=4)))
    assert plant.writes == [began]
    assert plant.status.observed_generation == 4
    assert (plant.says("Ready").status, plant.says("Ready").observed_generation) == ("True", 3)
    plant.passes(2)
    plant.becomes(replace(plant.facts, seen=seen(on_gateway(), bundle=8)))
    assert plant.writes == [began, began + 2]
    plant.passes(30)
    assert (plant.says("Ready").status, plant.says("Ready").observed_generation) == ("True", 4)
    assert len(plant.writes) == 2


def test_a_mistake_in_a_new_generation_is_said_at_once() -> None:
    plant = settled()
    began = plant.now
    plant.becomes(replace(GOOD, generation=4, plant=site(suspend=True)))
    assert plant.writes == [began]
    assert (plant.says("Ready").status, plant.says("Ready").reason) == ("False", "Suspended")


def test_a_decision_is_said_at_once_even_if_it_is_bad_news() -> None:
    plant = settled()
    began = plant.now
    gone = Cause(Reason.SECRET_MISSING, "there is no Secret brno-keys")
    plant.becomes(replace(GOOD, credentials=CredentialFacts(cause=gone, in_use=GOOD.credentials.in_use)))
    assert plant.writes == [began]
    assert plant.says("Ready").reason == "SecretMissing"


def test_transition_times_move_only_with_the_status() -> None:
    plant = settled()
    before = {each.type: each.last_transition_time for each in plant.status.conditions}
    plant.becomes(ONE_SILENT)
    plant.passes(LASTING)
    after = {each.type: each.last_transition_time for each in plant.status.conditions}
    assert {type_ for type_ in after if after[type_] != before[type_]} == {"DevicesReachable"}
    assert plant.says("Ready").reason == "SomeDevicesNotRead", "same status, other reason"


def test_conditions_of_other_authors_stay() -> None:
    foreign = Condition(
        type="example.com/Audited", status="True", reason="Yes", last_transition_time="2026-01-01T00:00:00Z"
    )
    plant = Object(status=PlantObserved(conditions=(foreign,)))
    plant.becomes(GOOD)
    assert plant.status.conditions[-1] == foreign
    plant.becomes(GOOD)
    assert len(plant.writes) == 1


def test_what_keys_are_in_force_is_never_touched() -> None:
    recorded = (CredentialInUse(name="hmac", source="Generated", key_id="abc"),)
    plant = Object(status=PlantObserved(plant_id=PLANT_ID, credentials=recorded))
    for facts in STATES:
        plant.becomes(replace(facts, credentials=CredentialFacts()))
        plant.passes(100)
    assert plant.writes
    assert (plant.status.plant_id, plant.status.credentials) == (PLANT_ID, recorded)


@pytest.mark.parametrize("facts", STATES)
def test_a_restart_of_the_operator_writes_nothing(facts: PlantFacts) -> None:
    before = settled(facts)
    after = Object(status=PlantObserved.model_validate_json(before.status.model_dump_json()))
    after.becomes(replace(facts, seen=Seen()))  # its gateway has not been asked yet
    after.passes(3)
    after.becomes(facts)
    after.passes(3600)
    assert after.writes == []


def test_a_write_that_failed_is_tried_again_as_soon_as_it_is_asked_for() -> None:
    damper = Damper(Rate(per_second=1, burst=10))
    wanted = plant_status(GOOD)
    first = damper.judge("a", wanted, PlantObserved(), 0.0, at=EPOCH)
    again = damper.judge("a", wanted, PlantObserved(), 0.1, at=EPOCH)
    assert first.write is not None
    assert first.write == again.write


timelines = st.lists(st.tuples(st.sampled_from(STATES), st.floats(0.01, 60.0)), min_size=1, max_size=60)


@given(timelines)
@settings(max_examples=150, deadline=None)
def test_the_final_state_always_gets_written(timeline: list[tuple[PlantFacts, float]]) -> None:
    plant = Object()
    for facts, lasts in timeline:
        plant.becomes(facts)
        plant.passes(lasts)
    last = timeline[-1][0] if timeline[-1][0] is not UNASKED else GOOD
    plant.becomes(last)
    plant.passes(REWORDING + LASTING)
    fresh = settled(last)
    said = [(each.type, each.status, each.reason, each.message) for each in plant.status.conditions]
    assert said == [(each.type, each.status, each.reason, each.message) for each in fresh.status.conditions]
    assert plant.status.devices == fresh.status.devices
    assert plant.due is None


@given(timelines)
@settings(max_examples=150, deadline=None)
def test_no_plant_is_written_more_often_than_every_interval(timeline: list[tuple[PlantFacts, float]]) -> None:
    plant = settled()
    for facts, lasts in timeline:
        plant.becomes(facts)
        plant.passes(lasts)
    assert all(later >= earlier + INTERVAL for earlier, later in pairwise(plant.writes)), "as floats add"


@given(st.lists(st.floats(0.1, 40.0), min_size=300, max_size=300))
@settings(max_examples=20, deadline=None)
def test_a_flapping_device_causes_at_most_two_writes_in_25_seconds(phases: list[float]) -> None:
    plant = settled()
    began = plant.now
    for index, lasts in enumerate(phases):
        plant.becomes(GOOD if index % 2 else ALL_SILENT)
        plant.passes(lasts)
    assert len(plant.writes) <= 2 * (plant.now - began) / (LASTING + INTERVAL) + 2


def test_a_fleet_that_loses_its_broker_is_written_at_the_rate_and_not_at_once() -> None:
    damper = Damper(Rate(per_second=50, burst=100))
    fleet = [Object(damper=damper, key=str(index)) for index in range(1000)]
    for plant in fleet:
        plant.becomes(GOOD)
    for plant in fleet:
        plant.now = 1000.0
        plant.writes.clear()
        plant.becomes(OFFLINE)
    events = sorted(_run(fleet, until=2000.0))
    assert len(events) == 1000
    assert events[0] == 1000.0 + LASTING
    assert all(later - earlier > 0.9 for earlier, later in zip(events, events[150:], strict=False))
    assert events[-1] < 1000.0 + LASTING + 1000 / 50 + 5


def test_urgent_writes_do_not_wait_for_the_rate() -> None:
    damper = Damper(Rate(per_second=1, burst=5))
    fleet = [Object(damper=damper, key=str(index)) for index in range(100)]
    for plant in fleet:
        plant.becomes(GOOD)
    assert all(plant.writes == [0.0] for plant in fleet)


def _run(fleet: list[Object], *, until: float) -> Iterator[float]:
    """All of them on one clock; yields the times of their writes."""
    while (due := min((plant.due for plant in fleet if plant.due is not None), default=until)) < until:
        for plant in fleet:
            if plant.due is not None and plant.due <= due:
                plant.now = due
                before = len(plant.writes)
                plant.look()
                if len(plant.writes) > before:
                    yield due


def test_a_message_is_never_longer_than_the_api_takes() -> None:
    endless = Cause(Reason.SECRET_INVALID, "x" * 100_000)
    site_ = Object(facts=replace(WELL, credentials=CredentialFacts(cause=endless)))
    site_.look()
    messages = [each.message for each in site_.status.conditions]
    assert max(map(len, messages)) == 32_768
