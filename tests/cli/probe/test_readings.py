"""Other readings of a point: what is odd, and what is tried instead, which never makes the probe fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_api.resources.points import Point
from voke_cli.probe.readings import odd, reading_guesses, variant
from voke_gateway.drivers.modbus.look import value_of


@pytest.mark.parametrize("kind", ["int16", "uint16", "int32", "uint32", "float32", "int64", "float64"])
def test_a_narrower_type_leaves_out_the_patterns_that_it_cannot_hold(kind: str) -> None:
    point = Point.model_validate(
        {
            "field": "p",
            "table": "input",
            "address": 33,
            "type": "uint64",
            "invalid": [0xFFFF, 2**32 - 1, 2**64 - 1],
        }
    )
    other = variant(point, {"type": kind})
    assert all(pattern < 1 << 16 * other.registers for pattern in other.invalid)
    value_of(other, [1] * other.registers)


def as_read(kind: str, value: int, word_order: str, byte_order: str) -> tuple[Point, list[int]]:
    """A point of unknown meaning, and its registers as they are on the wire."""
    orders = {"wordOrder": word_order, "byteOrder": byte_order}
    point = Point.model_validate({"field": "v0", "table": "input", "address": 0, "type": kind, **orders})
    content = value.to_bytes(2 * point.registers, "big", signed=value < 0)
    words = [int.from_bytes(content[at : at + 2], byte_order) for at in range(0, len(content), 2)]  # type: ignore[arg-type]
    return point, words if word_order == "big" else words[::-1]


@pytest.mark.parametrize("byte_order", ["big", "little"])
def test_no_everyday_value_of_one_register_is_odd_in_either_order(byte_order: str) -> None:
    odd_ones = []
    for kind, values in (("int16", range(-9_000, 9_001)), ("uint16", range(32_001))):
        for value in values:
            point, words = as_read(kind, value, "big", byte_order)
            if odd(point, words, value):
                odd_ones.append((kind, value))
    assert odd_ones == []


@given(
    kind=st.sampled_from(["int32", "uint32"]),
    value=st.one_of(st.integers(0, 60_000), st.sampled_from([128, 32_768])),
    word_order=st.sampled_from(["big", "little"]),
    byte_order=st.sampled_from(["big", "little"]),
)
def test_no_everyday_value_of_two_registers_is_odd_in_any_order(
    kind: str, value: int, word_order: str, byte_order: str
) -> None:
    point, words = as_read(kind, value, word_order, byte_order)
    assert not odd(point, words, value)


@pytest.mark.parametrize("word_order", ["big", "little"])
@pytest.mark.parametrize("byte_order", ["big", "little"])
@pytest.mark.parametrize(("kind", "lowest"), [("int16", -(2**15)), ("int32", -(2**31))])
def test_no_value_is_known_by_what_it_is_in_the_points_order(
    kind: str, lowest: int, word_order: str, byte_order: str
) -> None:
    point, words = as_read(kind, lowest, word_order, byte_order)
    best = reading_guesses(point, words, lowest)[0]
    assert best.kind == "no-value"
    assert dict(best.changes[0].keys) == {"invalid": [1 << 16 * point.registers - 1]}
