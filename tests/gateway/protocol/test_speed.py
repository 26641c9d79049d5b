"""Canonical text and signature keep their distance from a plain recursive implementation."""

from __future__ import annotations

import pytest

from bench.protocol import INVERTER, compare_sealing, compare_signing, snapshot
from voke_gateway.protocol.canonical import canonical

SNAPSHOTS = {
    "as drivers give it": snapshot(),
    "with whole floats": snapshot({**INVERTER, "voltageL1V": 231.0, "temperatureC": 41.0}),
}


@pytest.mark.parametrize("value", SNAPSHOTS.values(), ids=SNAPSHOTS)
def test_signing_is_five_times_faster_than_naive(
    value: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    result = compare_signing(value)
    with capsys.disabled():
        print(
            f"\ncanonical text and signature of {len(canonical(value))} bytes: {result.microseconds:.2f} µs, "
            f"naive {result.naive_microseconds:.2f} µs, {result.ratio:.1f} times faster"
        )
    assert 550 <= len(canonical(value)) <= 650
    assert result.ratio >= 5


def test_the_whole_way_to_the_wire_is_five_times_faster_than_naive() -> None:
    assert compare_sealing(snapshot()).ratio >= 5
