"""Other readings of a point: what is tried never makes the probe fail."""

from __future__ import annotations

import pytest

from voke_api.resources.points import Point
from voke_cli.probe.readings import variant
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
