"""The ladder finds the top with few rungs, whatever its first guess."""

from __future__ import annotations

import pytest

from bench.scenarios import next_rung

STEP = 50


@pytest.mark.parametrize("top", [50, 700, 2400, 7350, 30_000])
@pytest.mark.parametrize("guess", [500, 2000, 8000])
def test_finds_the_top_closely(top: int, guess: int) -> None:
    low, high, share, tried = 0, 0, 0.0, 0
    plcs: int | None = guess
    while plcs is not None:
        tried += 1
        if plcs <= top:
            low, share = plcs, plcs / top
        else:
            high = plcs
        plcs = next_rung(low, high, share, STEP)
    assert low <= top
    assert top - low <= max(STEP, 0.065 * top)
    assert tried <= 20


def test_there_may_be_no_top() -> None:
    assert next_rung(0, STEP, 0.0, STEP) is None
