"""The queue on a virtual clock: once each, one at a time, later again, never forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import virtual_time
from tests.support.virtual_time import elapsed, on_virtual_time
from voke_operator.kube.errors import ConflictError, ThrottledError, UnavailableError
from voke_operator.reconcile.queue import SHARD_WINDOW, Key, Kind, Observer, Pace, Queue, Reconcile, Result

ROOF = Key(Kind.PLANT, "energy", "roof")
PARK = Key(Kind.PLANT, "energy", "park")
SHARD = Key(Kind.SHARD, "energy", "default", 0)
POOL = Key(Kind.POOL, "energy", "default")


class Worker:
    """Reconciles as it is told, and writes down when."""

    def __init__(self) -> None:
        self.began: dict[Key, list[float]] = defaultdict(list)
        self.active: Counter[Key] = Counter()
        self.busiest = 0
        self.takes = 0.0
        self.outcome: Callable[[Key], float | None] = lambda _: None

    async def __call__(self, key: Key) -> float | None:
        self.began[key].append(elapsed())
        self.active[key] += 1
        assert self.active[key] == 1, "two workers have the same key"
        self.busiest = max(self.busiest, self.active.total())
        try:
            await asyncio.sleep(self.takes)
            return self.outcome(key)
        finally:
            self.active[key] -= 1


@asynccontextmanager
async def running(queue: Queue, worker: Reconcile) -> AsyncIterator[None]:
    with capture_logs():
        task = asyncio.create_task(queue.run(worker))
        yield
        queue.stop()
        await task


def queue(*, workers: int = 32, pace: Pace | None = None, observer: Observer | None = None) -> Queue:
    return Queue(random=Random(1), workers=workers, pace=pace, observer=observer)


def it_changed(_: Key) -> None:
    raise ConflictError("it changed")


def unavailable(_: Key) -> None:
    raise UnavailableError("503")


def plants(count: int) -> list[Key]:
    return [Key(Kind.PLANT, "energy", f"p{number}") for number in range(count)]


@on_virtual_time
async def test_a_key_added_often_is_reconciled_once() -> None:
    worker, it = Worker(), queue()
    for _ in range(100):
        it.add(ROOF)
    async with running(it, worker):
        await asyncio.sleep(1)
    assert worker.began == {ROOF: [0.0]}


@on_virtual_time
async def test_a_key_added_while_it_is_active_is_reconciled_again_afterwards_and_never_twice_at_once() -> (
    None
):
    worker, it = Worker(), queue()
    worker.takes = 1.0
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(0.5)
        for _ in range(10):
            it.add(ROOF)
        await asyncio.sleep(5)
    assert worker.began == {ROOF: [0.0, 1.0]}


@on_virtual_time
async def test_many_changes_within_a_shards_window_are_one_write() -> None:
    worker, it = Worker(), queue()
    async with running(it, worker):
        for _ in range(20):
            it.add(SHARD, after=SHARD_WINDOW)
            await asyncio.sleep(0.025)
        await asyncio.sleep(1)
    assert len(worker.began[SHARD]) == 3
    assert worker.began[SHARD][0] == pytest.approx(SHARD_WINDOW)


@on_virtual_time
async def test_the_earliest_of_several_moments_wins() -> None:
    worker, it = Worker(), queue()
    async with running(it, worker):
        it.add(ROOF, after=60)
        it.add(ROOF, after=5)
        it.add(ROOF, after=30)
        await asyncio.sleep(100)
    assert worker.began == {ROOF: [5.0]}


@on_virtual_time
async def test_a_reconcile_says_when_to_look_again() -> None:
    worker, it = Worker(), queue()
    worker.outcome = lambda _: 10.0
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(35)
    assert worker.began == {ROOF: [0.0, 10.0, 20.0, 30.0]}


@on_virtual_time
async def test_failures_are_tried_again_with_growing_waits_for_ever() -> None:
    worker, it = Worker(), queue(pace=Pace(first=1, longest=60))
    worker.outcome = it_changed
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(86_400)
        began = worker.began[ROOF]
        waits = [later - earlier for earlier, later in pairwise(began)]
        assert all(wait <= min(60, 2.0 ** min(number, 30)) for number, wait in enumerate(waits))
        assert 0.3 < sum(waits[10:]) / len(waits[10:]) / 60 < 0.7, (
            "full jitter: half of the longest on average"
        )
        assert it.retries == {Kind.PLANT: len(began)}
        assert it.depth.failing == 1
        worker.outcome = lambda _: None
        await asyncio.sleep(60)
    assert (it.depth.failing, it.depth.waiting) == (0, 0)


@on_virtual_time
async def test_a_bug_in_a_reconcile_costs_no_other_key_anything() -> None:
    worker, it = Worker(), queue()

    def fail(key: Key) -> None:
        if key == ROOF:
            raise KeyError("a bug")

    worker.outcome = fail
    async with running(it, worker):
        it.add(ROOF)
        it.add(PARK)
        await asyncio.sleep(10)
    assert len(worker.began[PARK]) == 1
    assert len(worker.began[ROOF]) > 1


@on_virtual_time
async def test_while_a_key_fails_an_ordinary_event_does_not_shorten_its_wait_and_a_new_spec_does() -> None:
    worker, it = Worker(), queue(pace=Pace(first=1000, longest=1000))
    worker.outcome = it_changed
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(1)
        it.add(ROOF)
        await asyncio.sleep(1)
        assert worker.began == {ROOF: [0.0]}
        it.add(ROOF, fresh=True)
        await asyncio.sleep(1)
        assert worker.began == {ROOF: [0.0, 2.0]}


@on_virtual_time
async def test_a_new_spec_that_comes_while_the_old_one_fails_is_tried_at_once() -> None:
    worker, it = Worker(), queue(pace=Pace(first=1000, longest=1000))
    worker.takes = 1.0

    def fail(_: Key) -> None:
        if len(worker.began[ROOF]) == 1:
            it.add(ROOF, fresh=True)
            raise ConflictError("the old spec")

    worker.outcome = fail
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(5)
    assert worker.began == {ROOF: [0.0, 1.0]}


@on_virtual_time
async def test_the_servers_retry_after_is_kept_even_for_a_new_spec_and_by_every_key() -> None:
    worker, it = Worker(), queue(pace=Pace(first=0.001, longest=0.001))

    def fail(key: Key) -> None:
        if len(worker.began[key]) == 1:
            raise ThrottledError("too much", retry_after=7)

    worker.outcome = fail
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(1)
        it.add(ROOF, fresh=True)
        it.add(PARK)
        await asyncio.sleep(30)
    assert worker.began[ROOF] == [0.0, pytest.approx(7.0, abs=0.01)]
    assert worker.began[PARK][0] == pytest.approx(7.0, abs=0.01)


@on_virtual_time
async def test_after_a_complaint_fewer_workers_are_used_and_all_of_them_again_when_it_is_quiet() -> None:
    worker, it = Worker(), queue(workers=32, pace=Pace(recover=15))
    async with running(it, worker):
        assert it.allowed == 32
        worker.outcome = unavailable
        for key in plants(32):
            it.add(key)
        await asyncio.sleep(0.1)
        assert it.allowed == 16, "thirty-two failures at once are one complaint"
        worker.outcome = lambda _: None
        await asyncio.sleep(14)
        assert it.allowed == 16
        await asyncio.sleep(2)
        assert it.allowed == 32


@on_virtual_time
async def test_a_server_that_never_recovers_is_asked_by_one_worker_at_a_time() -> None:
    worker, it = Worker(), queue(workers=32, pace=Pace(first=1, longest=30, recover=15))
    worker.outcome = unavailable
    worker.takes = 0.5
    async with running(it, worker):
        for key in plants(100):
            it.add(key)
        await asyncio.sleep(60)
        assert it.allowed == 1
        worker.busiest = 0
        await asyncio.sleep(600)
        assert worker.busiest == 1
        worker.outcome = lambda _: None
        await asyncio.sleep(300)
        assert it.depth == type(it.depth)(ready=0, waiting=0, active=0, failing=0)


@on_virtual_time
async def test_kinds_take_turns_however_many_plants_wait() -> None:
    worker, it = Worker(), queue(workers=4)
    worker.takes = 1.0
    async with running(it, worker):
        for key in plants(1000):
            it.add(key)
        await asyncio.sleep(10.5)
        it.add(SHARD)
        it.add(POOL)
        await asyncio.sleep(0.5)
        assert SHARD in worker.began, "a worker is kept for each other kind"
        assert POOL in worker.began


@on_virtual_time
async def test_never_more_workers_than_allowed() -> None:
    worker, it = Worker(), queue(workers=8)
    worker.takes = 1.0
    async with running(it, worker):
        for number in range(50):
            for kind in Kind:
                it.add(Key(kind, "energy", f"k{number}"))
        await asyncio.sleep(4.5)
        depth = it.depth
        assert (depth.active, depth.ready) == (8, 150 - 8 * 5)
        await asyncio.sleep(60)
    assert worker.busiest == 8
    assert sum(map(len, worker.began.values())) == 150


@on_virtual_time
async def test_stopping_waits_for_what_is_active_and_takes_nothing_new() -> None:
    worker, it = Worker(), queue()
    worker.takes = 3.0
    task = asyncio.create_task(it.run(worker))
    it.add(ROOF)
    await asyncio.sleep(1)
    it.stop(grace=10)
    it.add(PARK)
    await task
    assert elapsed() == 3.0
    assert worker.began == {ROOF: [0.0]}


@on_virtual_time
async def test_what_does_not_end_in_time_is_cancelled() -> None:
    worker, it = Worker(), queue()
    worker.takes = 3600.0
    task = asyncio.create_task(it.run(worker))
    it.add(ROOF)
    await asyncio.sleep(1)
    it.stop(grace=10)
    await task
    assert elapsed() == 11.0
    assert not worker.active.total()


@on_virtual_time
async def test_cancelling_the_queue_cancels_its_workers() -> None:
    worker, it = Worker(), queue()
    worker.takes = 3600.0
    task = asyncio.create_task(it.run(worker))
    it.add(ROOF)
    await asyncio.sleep(1)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert not worker.active.total()


@on_virtual_time
async def test_waits_and_results_are_told() -> None:
    told: list[tuple[str, Kind, object]] = []

    class Told:
        def started(self, kind: Kind, waited: float) -> None:
            told.append(("started", kind, round(waited, 3)))

        def finished(self, kind: Kind, result: Result, seconds: float) -> None:
            told.append((result, kind, round(seconds, 3)))

    worker, it = Worker(), queue(workers=1, observer=Told())
    worker.takes = 2.0
    worker.outcome = lambda key: 1000.0 if key == POOL else None
    async with running(it, worker):
        it.add(ROOF)
        await asyncio.sleep(0.5)
        it.add(POOL)
        await asyncio.sleep(10)
    assert told == [
        ("started", Kind.PLANT, 0.0),
        ("ok", Kind.PLANT, 2.0),
        ("started", Kind.POOL, 1.5),
        ("requeue", Kind.POOL, 2.0),
    ]


KEYS = st.builds(Key, st.sampled_from(Kind), st.just("energy"), st.sampled_from(["a", "b", "c"]))
ADDS = st.tuples(
    st.floats(0, 5),  # seconds to let pass before
    KEYS,
    st.sampled_from([0.0, 0.2, 3.0, 60.0]),  # after
    st.booleans(),  # fresh
)
ENDS = st.sampled_from(["ok", "again", "conflict", "throttled", "bug"])


@given(
    adds=st.lists(ADDS, max_size=40),
    ends=st.lists(ENDS, max_size=30),
    takes=st.floats(0, 4),
    workers=st.integers(1, 5),
)
def test_whatever_happens_every_key_is_reconciled_after_its_last_add(
    adds: list[tuple[float, Key, float, bool]], ends: list[str], takes: float, workers: int
) -> None:
    async def run() -> None:
        worker, it = Worker(), queue(workers=workers, pace=Pace(first=1, longest=10))
        worker.takes = takes
        left = list(ends)

        def end(_: Key) -> float | None:
            match left.pop() if left else "ok":
                case "again":
                    return 5.0
                case "conflict":
                    raise ConflictError("it changed")
                case "throttled":
                    raise ThrottledError("too much", retry_after=2)
                case "bug":
                    raise KeyError("bug")
            return None

        worker.outcome = end
        asked: dict[Key, float] = {}
        async with running(it, worker):
            for wait, key, after, fresh in adds:
                await asyncio.sleep(wait)
                it.add(key, after=after, fresh=fresh)
                asked[key] = elapsed()
                depth = it.depth
                assert depth.ready + depth.waiting + depth.active <= len(asked), "bounded by distinct keys"
                assert len(it._waiting) <= 2 * len(asked) + 65
            await asyncio.sleep(1000)
            assert it.depth == type(it.depth)(ready=0, waiting=0, active=0, failing=0)
            assert not it._entries, "nothing is remembered of what is done"
        for key, moment in asked.items():
            assert worker.began[key][-1] >= moment
        assert worker.busiest <= workers

    virtual_time.run(run())


@on_virtual_time
async def test_moments_that_were_moved_forward_do_not_pile_up() -> None:
    worker, it = Worker(), queue()
    worker.outcome = lambda _: 3600.0
    async with running(it, worker):
        for _ in range(5000):
            it.add(ROOF)
            await asyncio.sleep(0.1)
        assert len(it._waiting) < 100
    assert len(worker.began[ROOF]) == 5000


@on_virtual_time
async def test_ten_thousand_keys_cost_little() -> None:
    worker, it = Worker(), queue()
    async with running(it, worker):
        for key in plants(10_000):
            it.add(key)
        await asyncio.sleep(1)
    assert len(worker.began) == 10_000
