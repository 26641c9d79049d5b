"""Alarms: when they are raised, when they are resolved, and what silence does to them."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plants import battery_plant
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind, Value
from voke_gateway.outbox.store import Entry, Kind
from voke_gateway.plant.alarms import Alarms
from voke_gateway.stats import PlantStats


class Site:
    """One plant with one alarm on BAT1, fed by hand."""

    def __init__(self, **alarm: Any) -> None:
        defaults = {"name": "a", "device": "BAT1", "code": 106, "severity": "CRITICAL"}
        self.plant = battery_plant(alarms=[{**defaults, **alarm}])
        self.events: list[dict[str, Any]] = []
        self.stats = PlantStats()
        ids = count(1)
        self.alarms = Alarms(self.plant, put=self._put, stats=self.stats, new_id=lambda: f"id-{next(ids)}")
        self.alarms.start(0.0)

    def _put(self, kind: Kind, content: bytes) -> Entry:
        assert kind is Kind.ALARM
        self.events.append(json.loads(content))
        return Entry("p", len(self.events), kind, content, 0.0)

    def read(self, now: float, *, raw: dict[str, int] | None = None, **values: Value) -> list[str]:
        return self.read_values(now, values, raw=raw)

    def read_values(
        self, now: float, values: dict[str, Value], *, raw: dict[str, int] | None = None
    ) -> list[str]:
        self.alarms.observe(DeviceReading("BAT1", now, dict(values), raw=raw or {}), now)
        return self.seen()

    def fail(self, now: float) -> list[str]:
        reading = DeviceReading("BAT1", now, fault=Fault(FaultKind.TIMEOUT))
        self.alarms.observe(reading, now)
        return self.seen()

    def tick(self, now: float) -> list[str]:
        self.alarms.tick(now)
        return self.seen()

    def seen(self) -> list[str]:
        return [event["ev"] for event in self.events]


@pytest.mark.parametrize(
    ("field", "when", "holding", "not_holding"),
    [
        ("faultCode", {"gt": 5}, 5.1, 5),
        ("faultCode", {"gte": 5}, 5, 4.9),
        ("faultCode", {"lt": 5}, 4.9, 5),
        ("faultCode", {"lte": 5}, 5, 5.1),
        ("faultCode", {"eq": 5}, 5.0, 4),
        ("faultCode", {"ne": 5}, 4, 5),
        ("state", {"eq": "TRIP"}, "TRIP", "OK"),
        ("enable", {"eq": True}, True, False),
    ],
)
def test_a_condition_raises_when_it_begins_and_resolves_when_it_ends(
    field: str, when: dict[str, Any], holding: Value, not_holding: Value
) -> None:
    site = Site(field=field, when=when)
    good, bad = {field: not_holding}, {field: holding}
    seen = [site.read_values(at, values) for at, values in enumerate((good, bad, bad, good), start=1)]
    assert seen == [[], ["RAISE"], ["RAISE"], ["RAISE", "RESOLVE"]]


def test_resolve_repeats_the_id_code_and_severity_of_its_raise() -> None:
    site = Site(field="faultCode", when={"gt": 0})
    site.read(1, faultCode=7)
    site.read(2, faultCode=0)
    site.read(3, faultCode=7)
    raised, resolved, again = site.events
    assert (raised["alarmId"], raised["code"], raised["sev"]) == ("id-1", 106, 3)
    assert (resolved["alarmId"], resolved["code"], resolved["sev"]) == ("id-1", 106, 3)
    assert again["alarmId"] == "id-2"
    assert raised["detail"] == {"device": "BAT1", "field": "faultCode", "name": "a", "value": 7}


def test_the_condition_must_hold_for_its_time_without_a_break() -> None:
    site = Site(field="faultCode", when={"gt": 0}, **{"for": "5s"})
    site.read(0, faultCode=1)
    site.read(4, faultCode=1)
    assert site.read(4.5, faultCode=0) == []
    site.read(5, faultCode=1)
    assert site.read(9.9, faultCode=1) == []
    assert site.read(10, faultCode=1) == ["RAISE"]


def test_time_without_a_reading_does_not_count() -> None:
    site = Site(field="faultCode", when={"gt": 0}, **{"for": "5s"})
    site.read(0, faultCode=1)
    site.read(2, faultCode=1)
    site.fail(3)
    site.fail(60)
    assert site.read(100, faultCode=1) == [], "98 s of silence are not 98 s of the fault"
    site.read(102, faultCode=1)
    assert site.read(103, faultCode=1) == ["RAISE"], "2 s before the gap and 3 s after it"


def test_a_raised_alarm_is_held_while_its_device_is_silent() -> None:
    site = Site(field="faultCode", when={"gt": 0}, clearFor="10s")
    site.read(0, faultCode=1)
    for now in range(1, 100):
        site.fail(now)
    assert site.seen() == ["RAISE"]
    site.read(100, faultCode=0)
    assert site.read(109, faultCode=0) == ["RAISE"]
    assert site.read(110, faultCode=0) == ["RAISE", "RESOLVE"]


def test_hysteresis_makes_resolving_harder_and_raising_no_easier() -> None:
    site = Site(field="socPercent", when={"gt": 90}, hysteresis=5)
    assert site.read(1, socPercent=88) == []
    assert site.read(2, socPercent=91) == ["RAISE"]
    assert site.read(3, socPercent=86) == ["RAISE"]
    assert site.read(4, socPercent=85) == ["RAISE", "RESOLVE"]
    assert site.read(5, socPercent=89) == ["RAISE", "RESOLVE"]

    low = Site(field="socPercent", when={"lt": 10}, hysteresis=2)
    assert low.read(1, socPercent=9) == ["RAISE"]
    assert low.read(2, socPercent=11) == ["RAISE"]
    assert low.read(3, socPercent=12) == ["RAISE", "RESOLVE"]


def test_a_bit_alarm_looks_at_the_raw_word() -> None:
    site = Site(field="faultCode", when={"bit": 3})
    assert site.read(1, faultCode=0.1, raw={"faultCode": 0b0111}) == []
    assert site.read(2, faultCode=0.8, raw={"faultCode": 0b1000}) == ["RAISE"]
    assert site.read(3, raw={}) == ["RAISE"]
    assert site.read(4, raw={"faultCode": 0}) == ["RAISE", "RESOLVE"]


def test_silence_is_an_alarm_of_its_own_and_counts_from_the_start() -> None:
    site = Site(when={"notReadFor": "60s"}, code=202, severity="ERROR")
    site.fail(10)
    assert site.tick(59) == []
    assert site.tick(60) == ["RAISE"]
    assert site.read(61, socPercent=50) == ["RAISE", "RESOLVE"]
    site.tick(120)
    assert site.seen() == ["RAISE", "RESOLVE"]
    assert site.tick(121) == ["RAISE", "RESOLVE", "RAISE"]


def test_silence_of_one_point_is_noticed_while_the_device_still_answers() -> None:
    site = Site(field="faultCode", when={"notReadFor": "10s"})
    for now in range(0, 12, 2):
        site.read(now, socPercent=50)
        site.tick(now)
    assert site.seen() == ["RAISE"]


@given(st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["high", "low", "fail"])), max_size=60))
def test_events_alternate_and_the_gauge_follows(passes: list[tuple[float, str]]) -> None:
    site = Site(field="faultCode", when={"gt": 0}, clearFor="3s", **{"for": "5s"})
    now = 0.0
    for step, what in passes:
        now += step
        if what == "fail":
            site.fail(now)
        else:
            site.read(now, faultCode=int(what == "high"))
    seen = site.seen()
    assert seen == ["RAISE", "RESOLVE"] * (len(seen) // 2) + ["RAISE"] * (len(seen) % 2)
    assert site.stats.alarms_active == len(seen) % 2
    assert site.alarms.active == (("a",) if len(seen) % 2 else ())
