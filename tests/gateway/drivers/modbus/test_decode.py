"""What registers mean, by table and by round trip."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.modbus_devices import device, point
from voke_api.blocks import plan_device
from voke_api.resolved import MaskBit, ResolvedDevice
from voke_api.resources.points import BitRange, Point
from voke_gateway.drivers.base import FaultKind, Value
from voke_gateway.drivers.modbus.decode import BlockDecoder, Decoded
from voke_gateway.drivers.modbus.encode import EncodeError, to_words


def decode(
    one: ResolvedDevice, words: dict[int, int] | None = None, bits: dict[int, bool] | None = None
) -> Decoded:
    """Everything a device with these registers and bits would bring; addresses left out hold 0xA5A5."""
    decoded = Decoded({}, {}, {})
    for block in plan_device(one):
        span = range(block.address, block.end)
        if block.table in {"holding", "input"}:
            data = b"".join((words or {}).get(a, 0xA5A5).to_bytes(2, "big") for a in span)
        else:
            packed = sum(1 << n for n, a in enumerate(span) if (bits or {}).get(a))
            data = packed.to_bytes((block.count + 7) // 8, "little")
        BlockDecoder(block, one).decode(data, decoded)
    decoded.finish()
    return decoded


def value_of(one: Point, *words: int) -> Value | FaultKind:
    decoded = decode(device(one), {one.address + n: word for n, word in enumerate(words)})
    fault = decoded.faults.get(one.field)
    assert (one.field in decoded.values) != (fault is not None)
    return fault.kind if fault else decoded.values[one.field]


@pytest.mark.parametrize(
    ("type_", "more", "words", "value"),
    [
        ("int16", {}, [0xFFFF], -1),
        ("uint16", {}, [0xFFFF], 65535),
        ("uint16", {"byte_order": "little"}, [0x1234], 0x3412),
        ("int32", {}, [0xFFFF, 0xFFFE], -2),
        ("uint32", {}, [0x0001, 0x0002], 65538),
        ("uint32", {"word_order": "little"}, [0x0002, 0x0001], 65538),
        ("uint32", {"byte_order": "little"}, [0x0100, 0x0200], 65538),
        ("uint32", {"byte_order": "little", "word_order": "little"}, [0x0200, 0x0100], 65538),
        ("int64", {}, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD], -3),
        ("uint64", {"word_order": "little"}, [4, 3, 2, 1], 0x0001_0002_0003_0004),
        ("float32", {}, [0x3DCC, 0xCCCD], 0.1),
        ("float32", {"word_order": "little"}, [0xCCCD, 0x3DCC], 0.1),
        ("float32", {"scale": 1000.0}, [0x3DCC, 0xCCCD], 100),
        ("float32", {"decimals": 1}, [0x4367, 0x6666], 231.4),
        ("float64", {}, [0x3FB9, 0x9999, 0x9999, 0x999A], 0.1),
        ("float64", {"scale": 3.0}, [0x3FB9, 0x9999, 0x9999, 0x999A], 0.3),
        ("uint16", {"scale": 0.1}, [3], 0.3),
        ("int16", {"scale": 0.1, "offset": -40.0}, [250], -15),
        ("bool", {"register_bit": 0}, [0x0001], True),
        ("bool", {"register_bit": 15}, [0x7FFF], False),
        ("bool", {"register_bit": 0, "byte_order": "little"}, [0x0100], True),
        ("uint16", {"bits": BitRange(first=4, count=3)}, [0x00F5], 7),
        ("uint16", {"bits": BitRange(first=4, count=4), "scale": 0.5}, [0x0030], 1.5),
        ("string", {"length": 4}, [0x4142, 0x4344], "ABCD"),
        ("string", {"length": 3}, [0x4142, 0x4344], "ABC"),
        ("string", {"length": 6}, [0x4142, 0x0044, 0x4500], "AB"),
        ("string", {"length": 4, "byte_order": "little"}, [0x4241, 0x4443], "ABCD"),
        ("string", {"length": 2}, [0xC3A9], "é"),
        ("string", {"length": 2}, [0], ""),
    ],
)
def test_registers_become_values(type_: str, more: dict[str, Any], words: list[int], value: Value) -> None:
    got = value_of(point("x", 7, type_, **more), *words)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("type_", "more", "words"),
    [
        ("uint16", {"invalid": (0xFFFF,)}, [0xFFFF]),
        ("int16", {"invalid": (0x8000,)}, [0x8000]),
        ("int16", {"invalid": (0x8000,), "byte_order": "little"}, [0x0080]),
        ("uint32", {"invalid": (0xFFFFFFFF,)}, [0xFFFF, 0xFFFF]),
        ("int32", {"invalid": (0x80000000,), "word_order": "little"}, [0, 0x8000]),
        ("uint64", {"invalid": (2**64 - 1,)}, [0xFFFF] * 4),
        ("float32", {"invalid": (0x42C80000,)}, [0x42C8, 0]),
        ("float32", {}, [0x7FC0, 0]),
        ("float32", {"scale": 2.0}, [0x7F80, 0]),
        ("float64", {}, [0xFFF0, 0, 0, 0]),
        ("uint64", {}, [0x0020, 0, 0, 1]),
        ("int64", {}, [0xFFDF, 0xFFFF, 0xFFFF, 0xFFFF]),
        ("string", {"length": 2}, [0xFFFE]),
        ("uint16", {"invalid": (0xFFFF,), "bits": BitRange(first=0, count=2)}, [0xFFFF]),
    ],
)
def test_what_means_no_value_is_left_out(type_: str, more: dict[str, Any], words: list[int]) -> None:
    assert value_of(point("x", 7, type_, **more), *words) is FaultKind.INVALID


def test_invalid_is_compared_with_the_pattern_and_not_with_the_value() -> None:
    minus_zero = point("x", 0, "float32", invalid=(0x80000000,))
    assert value_of(minus_zero, 0, 0) == 0
    assert value_of(minus_zero, 0x8000, 0) is FaultKind.INVALID


# As in SunSpec's model 103 (three-phase inverter): offsets inside the model, and its patterns for "not implemented".
SUNSPEC = device(
    point("A", 2, scale_from="A_SF", invalid=(0xFFFF,)),
    point("A_SF", 6, "int16", publish=False),
    point("PhVphA", 10, scale_from="V_SF"),
    point("V_SF", 13, "int16"),
    point("W", 14, "int16", scale_from="W_SF", invalid=(0x8000,)),
    point("W_SF", 15, "int16"),
    point("WH", 24, "uint32", scale_from="WH_SF"),
    point("WH_SF", 26, "int16"),
)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ({2: 1234, 6: 0xFFFE}, {"A": 12.34}),
        ({10: 2314, 13: 0xFFFF}, {"PhVphA": 231.4}),
        ({14: 0xFF38, 15: 1}, {"W": -2000}),
        ({14: 500, 15: 0}, {"W": 500}),
        ({24: 0x0001, 25: 0x86A0, 26: 2}, {"WH": 10_000_000}),
    ],
)
def test_sunspec_values_take_their_power_of_ten_from_another_register(
    words: dict[int, int], values: dict[str, Value]
) -> None:
    decoded = decode(SUNSPEC, words)
    for name, value in values.items():
        assert decoded.values[name] == value


@pytest.mark.parametrize("exponent", [0x8000, 19, 0xFFED, 0x7FFF])
def test_an_absurd_power_of_ten_leaves_the_value_out(exponent: int) -> None:
    decoded = decode(SUNSPEC, {14: 5, 15: exponent})
    assert "W" not in decoded.values
    assert decoded.faults["W"].kind is FaultKind.INVALID


def test_an_unread_power_of_ten_leaves_the_value_out() -> None:
    one = device(point("W", 0, scale_from="W_SF"), point("W_SF", 500, "int16"))
    decoded = Decoded({}, {}, {})
    BlockDecoder(plan_device(one)[0], one).decode(b"\0\5", decoded)
    decoded.finish()
    assert decoded.values == {}
    assert "W_SF" in decoded.faults["W"].detail


def test_overlapping_points_each_get_their_value() -> None:
    one = device(
        point("word", 5),
        point("low", 5, "bool", register_bit=0),
        point("pair", 5, "uint32"),
        point("next", 6),
    )
    decoded = decode(one, {5: 0x0003, 6: 0x0004})
    assert decoded.values == {"word": 3, "low": True, "pair": 0x30004, "next": 4}


def test_raw_patterns_are_given_beside_the_value() -> None:
    one = device(
        point("status", 0, "int16", scale=0.1),
        point("flag", 1, "bool", register_bit=3),
        point("nibble", 2, bits=BitRange(first=4, count=4)),
        point("broken", 3, invalid=(0xFFFF,)),
        point("coil", 1, "bool", table="coil"),
        raw_fields=("status", "flag", "nibble", "broken", "coil"),
    )
    decoded = decode(one, {0: 0xFFFE, 1: 0x0008, 2: 0x00A5, 3: 0xFFFF}, {1: True})
    assert decoded.values == {"status": -0.2, "flag": True, "nibble": 10, "coil": True}
    assert decoded.raw == {"status": 0xFFFE, "flag": 1, "nibble": 10, "broken": 0xFFFF, "coil": 1}


def test_coils_and_discrete_inputs_are_booleans() -> None:
    one = device(
        point("a", 3, "bool", table="coil"),
        point("b", 12, "bool", table="coil"),
        point("c", 3, "bool", table="discrete"),
    )
    decoded = decode(one, bits={3: True})
    assert decoded.values == {"a": True, "b": False, "c": True}


@given(st.data())
def test_a_mask_is_gathered_bit_by_bit(data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.integers(0, 31), unique=True, min_size=1))
    mask: list[MaskBit] = []
    words: dict[int, int] = {}
    coils: dict[int, bool] = {}
    expected = 0
    for bit in bits:
        table = data.draw(st.sampled_from(["holding", "discrete"]))
        address = data.draw(st.integers(0, 20))
        invert = data.draw(st.booleans())
        if table == "holding":
            register_bit = data.draw(st.integers(0, 15))
            word = words.setdefault(address, data.draw(st.integers(0, 0xFFFF)))
            on = bool(word >> register_bit & 1)
        else:
            register_bit = None
            on = coils.setdefault(address, data.draw(st.booleans()))
        expected |= (on ^ invert) << bit
        mask.append(
            MaskBit(bit=bit, table=table, address=address, register_bit=register_bit, invert=invert)  # type: ignore[arg-type]
        )
    assert decode(device(mask=tuple(mask)), words, coils).mask == expected


ORDERS = st.sampled_from(["big", "little"])
INTEGERS = {
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**53), 2**53),
    "uint64": (0, 2**53),
}


@given(st.data(), st.sampled_from(sorted(INTEGERS)), ORDERS, ORDERS)
def test_what_is_written_is_what_is_read(data: st.DataObject, type_: str, byte: str, word: str) -> None:
    scale = data.draw(st.sampled_from([1.0, 0.1, 0.01, 10.0, -0.5]))
    offset = data.draw(st.sampled_from([0.0, -40.0, 0.5]))
    one = point("x", 3, type_, byte_order=byte, word_order=word, scale=scale, offset=offset)
    raw = data.draw(st.integers(*INTEGERS[type_]))
    plain = point("x", 3, type_, byte_order=byte, word_order=word)
    value = value_of(one, *to_words(plain, raw))
    if (
        value is not FaultKind.INVALID and abs(raw) < 2**43
    ):  # beyond, a double no longer tells neighbours apart
        assert to_words(one, value) == to_words(plain, raw)


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 2**53),
    ORDERS,
    ORDERS,
)
def test_a_float32_survives_the_way_there_and_back(value: float, byte: str, word: str) -> None:
    one = point("x", 3, "float32", byte_order=byte, word_order=word)
    words = to_words(one, value)
    read = value_of(one, *words)
    assert struct.pack(">f", read) == struct.pack(">f", value + 0.0 if value else 0.0)
    assert to_words(one, read) == (words if value else (0, 0))


@given(st.text(max_size=20).filter(lambda text: "\0" not in text), ORDERS)
def test_a_text_survives_the_way_there_and_back(text: str, byte: str) -> None:
    one = point("x", 3, "string", length=len(text.encode()) or 1, byte_order=byte)
    assert value_of(one, *to_words(one, text)) == text


@pytest.mark.parametrize(
    ("one", "value", "exponent", "words"),
    [
        (point("x", scale=0.1), 0.3, None, (3,)),
        (point("x"), 2.5, None, (2,)),
        (point("x"), 3.5, None, (4,)),
        (point("x", type_="int16", scale=0.1), -0.25, None, (0xFFFE,)),
        (point("x", type_="int32", word_order="little"), -50000, None, (0x3CB0, 0xFFFF)),
        (point("x", type_="int16", scale_from="sf"), 12.34, -2, (1234,)),
        (point("x", type_="int16", scale_from="sf"), 5000, 3, (5,)),
        (point("x", type_="float32", scale=0.1), 0.01, None, (0x3DCC, 0xCCCD)),
    ],
)
def test_values_become_registers(
    one: Point, value: Value, exponent: int | None, words: tuple[int, ...]
) -> None:
    assert to_words(one, value, exponent=exponent) == words


@pytest.mark.parametrize(
    ("one", "value", "message"),
    [
        (point("x"), 65536, "does not hold"),
        (point("x"), -1, "does not hold"),
        (point("x", type_="int16", scale=0.1), 3276.8, "does not hold"),
        (point("x", type_="float32"), 1e39, "beyond"),
        (point("x"), float("nan"), "takes a number"),
        (point("x"), float("inf"), "takes a number"),
        (point("x"), True, "takes a number"),
        (point("x"), "5", "takes a number"),
        (point("x", scale_from="sf"), 5, "has not been read"),
        (point("x", type_="bool", register_bit=3), True, "part of a register"),
        (point("x", bits=BitRange(first=0, count=2)), 1, "part of a register"),
        (point("x", type_="string", length=2), "abc", "at most 2 bytes"),
    ],
)
def test_what_does_not_fit_is_refused_and_never_bent(one: Point, value: Value, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        to_words(one, value)
