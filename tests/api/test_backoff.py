"""How waiting grows."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from voke_api.backoff import Backoff, Pace


@given(
    base=st.floats(0.1, 100.0),
    factor=st.floats(1.0, 1000.0),
    floor=st.floats(0.0, 1.0),
    attempt=st.integers(0, 10_000),
    seed=st.integers(),
)
def test_a_wait_is_between_floor_and_ceiling(
    base: float, factor: float, floor: float, attempt: int, seed: int
) -> None:
    pace = Pace(base=base, cap=base * factor, floor=floor)
    ceiling = min(base * factor, base * 2.0 ** min(attempt, 100))
    assert floor * ceiling * 0.999 <= pace.delay(attempt, Random(seed)) <= ceiling * 1.001


def test_waits_grow_until_reset() -> None:
    backoff = Backoff(Pace(base=1.0, cap=60.0, floor=1.0), Random(1))
    assert [backoff.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next() == 1


@given(st.integers(1, 200), st.integers())
def test_a_failure_says_when_the_next_try_is_due(failures: int, seed: int) -> None:
    backoff = Backoff(Pace(base=1.0, cap=30.0), Random(seed))
    for count in range(failures):
        backoff.failed(100.0)
        assert 100.0 <= backoff.until <= 100.0 + min(30.0, 2.0 ** min(count, 10))
        assert backoff.active
    assert backoff.due(backoff.until)
    backoff.reset()
    assert not backoff.active
    assert backoff.due(0.0)


def test_full_jitter_spreads_delays_over_the_whole_range() -> None:
    delays = [Pace(base=8.0, cap=8.0).delay(0, Random(seed)) for seed in range(400)]
    for lower in range(8):
        assert 20 < sum(lower <= delay < lower + 1 for delay in delays) < 90
