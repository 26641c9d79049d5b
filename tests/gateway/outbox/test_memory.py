"""The outbox in memory, against a model that is too simple to be wrong."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Entry, Kind, Quota, Store

PLANTS = ("north", "south")
QUOTA = Quota(max_bytes=100, max_age=1000.0, max_urgent_bytes=60)


@dataclass
class Model:
    """One plant: a list, searched from the front."""

    waiting: list[Entry] = field(default_factory=list)
    dropped_quota: int = 0
    dropped_age: int = 0
    dropped_urgent: int = 0
    quarantined: int = 0

    def bytes(self, *, telemetry: bool) -> int:
        return sum(len(e.content) for e in self.waiting if (e.kind is Kind.TELEMETRY) == telemetry)

    def drop_first(self, *, telemetry: bool) -> None:
        first = next(e for e in self.waiting if (e.kind is Kind.TELEMETRY) == telemetry)
        self.waiting.remove(first)

    def expire(self, now: float) -> None:
        while True:
            first = next((e for e in self.waiting if e.kind is Kind.TELEMETRY), None)
            if first is None or first.created_at >= now - QUOTA.max_age:
                return
            self.waiting.remove(first)
            self.dropped_age += 1

    def shrink(self) -> None:
        while self.bytes(telemetry=True) > QUOTA.max_bytes:
            self.drop_first(telemetry=True)
            self.dropped_quota += 1
        while self.bytes(telemetry=False) > QUOTA.max_urgent_bytes:
            self.drop_first(telemetry=False)
            self.dropped_urgent += 1


class OutboxMachine(RuleBasedStateMachine):
    entries = Bundle("entries")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.store: Store = MemoryStore(QUOTA, lambda: self.now)
        self.models = {plant: Model() for plant in PLANTS}
        self.last_id = 0

    @rule(
        target=entries,
        plant=st.sampled_from(PLANTS),
        kind=st.sampled_from(Kind),
        size=st.integers(0, 40),
    )
    def put(self, plant: str, kind: Kind, size: int) -> Entry:
        entry = self.store.put(plant, kind, b"x" * size)
        assert entry.id > self.last_id
        assert self.store.newest(plant) == entry.id
        self.last_id = entry.id
        model = self.models[plant]
        model.waiting.append(entry)
        if kind is Kind.TELEMETRY:
            model.expire(self.now)
        model.shrink()
        return entry

    @rule(entry=entries)
    def deliver(self, entry: Entry) -> None:
        """Also of what was dropped, delivered or quarantined before."""
        self.store.delivered(entry)
        model = self.models[entry.plant]
        model.waiting = [e for e in model.waiting if e.id != entry.id]

    @rule(entry=entries)
    def quarantine(self, entry: Entry) -> None:
        self.store.quarantine(entry, "too large")
        model = self.models[entry.plant]
        if any(e.id == entry.id for e in model.waiting):
            model.quarantined += 1
            model.waiting = [e for e in model.waiting if e.id != entry.id]

    @rule(
        plant=st.sampled_from(PLANTS),
        kind=st.sampled_from(Kind),
        back=st.integers(0, 20),
        limit=st.integers(1, 5),
    )
    def look(self, plant: str, kind: Kind, back: int, limit: int) -> None:
        after = max(0, self.last_id - back)
        model = self.models[plant]
        if kind is Kind.TELEMETRY:
            model.expire(self.now)
        expected = [e for e in model.waiting if e.kind is kind and e.id > after][:limit]
        assert self.store.pending(plant, kind, after=after, limit=limit) == expected

    @rule(plant=st.sampled_from(PLANTS))
    def forget(self, plant: str) -> None:
        self.store.forget(plant)
        self.models[plant] = Model()

    @rule(seconds=st.sampled_from((1.0, 300.0, 2000.0, -500.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def state_agrees(self) -> None:
        for plant, model in self.models.items():
            state = self.store.state(plant)
            assert state.messages == len(model.waiting)
            assert state.bytes == sum(len(e.content) for e in model.waiting)
            assert state.oldest_at == (model.waiting[0].created_at if model.waiting else None)
            assert state.dropped_quota == model.dropped_quota
            assert state.dropped_age == model.dropped_age
            assert state.dropped_urgent == model.dropped_urgent
            assert state.quarantined == model.quarantined


OutboxMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60)
TestOutbox = OutboxMachine.TestCase


async def test_flush_and_close_return_at_once() -> None:
    store = MemoryStore(Quota(), time.time)
    entry = store.put("site", Kind.ALARM, b"{}")
    await store.flush(entry)
    await store.close()
    assert store.pending("site", Kind.ALARM) == [entry]


def test_an_ack_outlives_any_number_of_snapshots() -> None:
    store = MemoryStore(Quota(max_bytes=1000), lambda: 0.0)
    ack = store.put("site", Kind.ACK, b"ack")
    for _ in range(1000):
        store.put("site", Kind.TELEMETRY, b"x" * 100)
    assert store.pending("site", Kind.ACK) == [ack]
    assert store.state("site").dropped_quota == 990


def test_a_message_costs_the_same_whether_ten_or_a_hundred_thousand_wait() -> None:
    def per_message(waiting: int) -> float:
        store = MemoryStore(Quota(max_bytes=1 << 40), lambda: 0.0)
        for _ in range(waiting):
            store.put("site", Kind.TELEMETRY, b"x")
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            for _ in range(2000):
                after = store.newest("site")
                entry = store.put("site", Kind.TELEMETRY, b"x")
                assert store.pending("site", Kind.TELEMETRY, after=after, limit=1) == [entry]
                store.delivered(entry)
            best = min(best, time.perf_counter() - started)
        return best / 2000

    few, many = per_message(10), per_message(100_000)
    sys.stdout.write(
        f"put, pending, delivered: {few * 1e6:.1f} µs with 10 waiting, {many * 1e6:.1f} µs with 100,000\n"
    )
    assert many < few * 5


def test_draining_a_long_backlog_from_the_front_takes_linear_time() -> None:
    def drain(waiting: int) -> float:
        store = MemoryStore(Quota(max_bytes=1 << 40), lambda: 0.0)
        for _ in range(waiting):
            store.put("site", Kind.TELEMETRY, b"x")
        started = time.process_time()
        while batch := store.pending("site", Kind.TELEMETRY, limit=20):
            for entry in batch:
                store.delivered(entry)
        return (time.process_time() - started) / waiting

    small, large = min(drain(2_000) for _ in range(5)), min(drain(50_000) for _ in range(3))
    assert large < small * 5
