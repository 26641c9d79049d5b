"""What is put into a bank comes out of it, and stands there as the Modbus world expects it."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from voke_sim.plc.bank import Bank, Bits, NumberType, Order, Registers, width

ORDERS: list[Order] = ["big", "little"]
RANGES: dict[NumberType, tuple[int, int]] = {
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
orders = st.sampled_from(ORDERS)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[NumberType, float]:
    kind: NumberType = draw(st.sampled_from([*RANGES, "float32", "float64"]))
    if kind in RANGES:
        return kind, draw(st.integers(*RANGES[kind]))
    return kind, draw(st.floats(width=32 if kind == "float32" else 64, allow_nan=False))


@given(number=numbers(), word_order=orders, byte_order=orders, address=st.integers(0, 6))
def test_every_type_in_every_order_comes_back_as_it_was(
    number: tuple[NumberType, float], word_order: Order, byte_order: Order, address: int
) -> None:
    kind, value = number
    table = Registers(10)
    table.put(address, kind, value, word_order=word_order, byte_order=byte_order)
    assert table.get(address, kind, word_order=word_order, byte_order=byte_order) == value


@given(number=numbers(), word_order=orders)
def test_pymodbus_reads_the_same_number_from_the_registers(
    number: tuple[NumberType, float], word_order: Order
) -> None:
    kind, value = number
    table = Registers(4)
    table.put(0, kind, value, word_order=word_order)
    content = table.read(0, width(kind))
    registers = [int.from_bytes(content[i : i + 2]) for i in range(0, len(content), 2)]
    data_type = getattr(ModbusClientMixin.DATATYPE, kind.upper())
    assert ModbusClientMixin.convert_from_registers(registers, data_type, word_order) == value


@pytest.mark.parametrize(
    ("word_order", "byte_order", "content"),
    [
        ("big", "big", "0a0b 0c0d"),
        ("little", "big", "0c0d 0a0b"),
        ("big", "little", "0b0a 0d0c"),
        ("little", "little", "0d0c 0b0a"),
    ],
)
def test_the_four_orders_of_two_registers(word_order: Order, byte_order: Order, content: str) -> None:
    table = Registers(2)
    table.put(0, "uint32", 0x0A0B0C0D, word_order=word_order, byte_order=byte_order)
    assert table.read(0, 2) == bytes.fromhex(content)
    table.put(0, "uint32", 0)
    table.put_pattern(0, 2, 0x0A0B0C0D, word_order=word_order, byte_order=byte_order)
    assert table.read(0, 2) == bytes.fromhex(content)


def test_text_stands_high_byte_first_and_is_filled_up_with_nul() -> None:
    table = Registers(4)
    table.put_text(0, "Žen", 7)
    assert table.read(0, 4) == "Žen".encode() + bytes(4)
    assert table.get_text(0, 7) == "Žen"
    table.put_text(0, "AB12", 4, byte_order="little")
    assert table.read(0, 2) == b"BA21"
    assert table.get_text(0, 4, byte_order="little") == "AB12"


def test_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="room for 3"):
        Registers(4).put_text(0, "ABCD", 3)


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(struct.error):
        Registers(1).put(0, "uint16", 65_536)


def test_not_a_number_is_not_a_number() -> None:
    table = Registers(2)
    table.put(0, "float32", math.nan)
    assert math.isnan(table.get(0, "float32"))


@given(bits=st.lists(st.booleans(), min_size=1, max_size=40), first=st.integers(0, 100))
def test_bits_are_packed_lowest_first(bits: list[bool], first: int) -> None:
    table = Bits(len(bits), first=first)
    table.put(first, *bits)
    packed = table.read(first, len(bits))
    assert [bool(packed[k // 8] >> (k % 8) & 1) for k in range(len(bits))] == bits
    other = Bits(len(bits))
    other.write(0, len(bits), packed)
    assert [other.get(k) for k in range(len(bits))] == bits


def test_one_bit_of_a_register_leaves_the_others_alone() -> None:
    table = Registers(1)
    table.put(0, "uint16", 0b1010)
    table.put_bit(0, 0, value=True)
    table.put_bit(0, 3, value=False)
    assert [table.get_bit(0, bit) for bit in range(4)] == [True, True, False, False]


def test_addresses_outside_a_table_do_not_exist() -> None:
    table = Registers(10, first=100)
    assert table.covers(100, 10)
    assert not table.covers(99, 1)
    assert not table.covers(105, 6)
    with pytest.raises(IndexError, match="109–110"):
        table.read(109, 2)
    with pytest.raises(IndexError):
        Bits(4).put(3, True, True)


def test_a_table_that_a_unit_does_not_have_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        Bank(holding=Registers(1)).registers("input")
    with pytest.raises(LookupError):
        Bank(holding=Registers(1)).bits("coil")
