"""Engineering units are exact decimals; only the result is a double."""

from __future__ import annotations

import struct
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_gateway.drivers.base import Fault, Value
from voke_gateway.drivers.modbus.numbers import (
    BEYOND,
    NOT_FINITE,
    Scaling,
    decimal_of,
    float32_value,
    float64_value,
    shortest_of_float32,
)

tidy = st.one_of(
    st.sampled_from([1.0, 0.1, 0.01, 0.001, 10.0, 1000.0, -1.0, 0.25, 1e-9, 1e12]),
    st.decimals(min_value=-1000, max_value=1000, places=4, allow_nan=False).map(float),
).filter(bool)
raws = st.integers(-(2**63), 2**64 - 1) | st.integers(-40_000, 70_000)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


def double(exact: Fraction) -> Value | Fault:
    """What the contract makes of an exact result."""
    value = exact.numerator / exact.denominator
    if value.is_integer():
        return int(value) if abs(value) <= 2**53 else BEYOND
    return value


def same(left: Value | Fault, right: Value | Fault) -> bool:
    return left == right and type(left) is type(right)


@pytest.mark.parametrize(
    ("raw", "scale", "offset", "decimals", "value"),
    [
        (3, 0.1, 0.0, None, 0.3),
        (7, 0.1, 0.0, None, 0.7),
        (2310, 0.1, 0.0, None, 231),
        (-1, 0.01, 0.0, None, -0.01),
        (250, 0.1, -40.0, None, -15),
        (125, 0.01, 0.0, 1, 1.2),
        (135, 0.01, 0.0, 1, 1.4),
        (-125, 0.01, 0.0, 1, -1.2),
        (5, 1.0, 0.0, 0, 5),
        (25, 0.1, 0.0, 0, 2),
        (1, 1e-7, 0.0, None, 1e-7),
        (5, 1000.0, 0.5, None, 5000.5),
    ],
)
def test_integers_are_scaled_as_people_calculate(
    raw: int, scale: float, offset: float, decimals: int | None, value: Value
) -> None:
    assert same(Scaling.of(scale, offset, decimals).for_integers()(raw), value)


@given(raws, tidy, tidy | st.just(0.0))
def test_the_result_is_the_double_nearest_to_the_exact_one(raw: int, scale: float, offset: float) -> None:
    exact = Fraction(repr(scale)) * raw + Fraction(repr(offset))
    scaling = Scaling.of(scale, offset)
    assert same(scaling.for_integers()(raw), double(exact))
    assert same(scaling.apply(raw), double(exact))


@given(raws, st.integers(-18, 18), tidy, tidy | st.just(0.0), st.none() | st.integers(0, 15))
def test_a_power_of_ten_and_rounding_are_exact_too(
    raw: int, exponent: int, scale: float, offset: float, decimals: int | None
) -> None:
    exact = raw * Fraction(10) ** exponent * Fraction(repr(scale)) + Fraction(repr(offset))
    if decimals is not None:
        exact = Fraction(round(exact * 10**decimals), 10**decimals)
    assert same(Scaling.of(scale, offset, decimals).apply(raw, exponent), double(exact))


@given(st.decimals(min_value=-10_000, max_value=10_000, places=3), st.integers(0, 3))
def test_ties_round_to_the_even_digit(number: Decimal, decimals: int) -> None:
    expected = number.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_EVEN)
    assert Scaling.of(0.001, 0.0, decimals).for_integers()(int(number.scaleb(3))) == float(expected)


@pytest.mark.parametrize(
    ("number", "value"),
    [(0.1, 0.1), (231.4, 231.4), (-0.0, 0), (49.98, 49.98), (1e10, 10_000_000_000), (1.5, 1.5), (1e-7, 1e-7)],
)
def test_a_float32_is_shown_as_its_shortest_decimal(number: float, value: Value) -> None:
    received = struct.unpack(">f", struct.pack(">f", number))[0]
    assert same(float32_value(received), value)


def shortest_by_search(value: float) -> int:
    """The fewest significant digits with which some decimal still is this float32; by trying, slowly."""
    pattern = struct.pack(">f", value)
    exact = abs(Fraction(value))
    exponent = 0
    while Fraction(10) ** exponent > exact:
        exponent -= 1
    while Fraction(10) ** (exponent + 1) <= exact:
        exponent += 1
    for digits in range(1, 10):
        step = Fraction(10) ** (exponent - digits + 1)
        below = exact // step
        for candidate in (below * step, (below + 1) * step):
            signed = float(candidate if value > 0 else -candidate)
            if abs(signed) < 3.4028235677973366e38 and struct.pack(">f", signed) == pattern:
                return digits
    raise AssertionError(value)


@given(float32s.filter(bool))
def test_no_shorter_decimal_is_the_same_float32(value: float) -> None:
    digits, _ = shortest_of_float32(value)
    assert len(str(abs(digits))) <= shortest_by_search(value)


@pytest.mark.parametrize("exponent", range(-149, 128))
def test_powers_of_two_have_a_decimal_that_is_the_same_float32(exponent: int) -> None:
    value = 2.0**exponent
    digits, power = shortest_of_float32(value)
    exact = Fraction(digits) * Fraction(10) ** power
    assert struct.pack(">f", float(exact)) == struct.pack(">f", value)
    assert same(float32_value(value), double(exact))
    assert same(float32_value(-value), double(-exact))


@given(float32s | st.floats(-10_000, 10_000, width=32))
def test_the_quick_way_for_float32_agrees_with_the_exact_one(value: float) -> None:
    digits, exponent = shortest_of_float32(value)
    assert same(float32_value(value), double(Fraction(digits) * Fraction(10) ** exponent))


@given(st.integers(-999_999, 999_999), st.integers(0, 6))
def test_six_digits_survive_a_float32(digits: int, places: int) -> None:
    number = float(Fraction(digits, 10**places))
    received = struct.unpack(">f", struct.pack(">f", number))[0]
    assert float32_value(received) == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_no_value(value: float) -> None:
    assert float32_value(value) == NOT_FINITE
    assert float64_value(value) == NOT_FINITE


@pytest.mark.parametrize("value", [2.0**53 * 2, -(2.0**60), 3.4e38])
def test_beyond_2_to_the_53_is_no_value(value: float) -> None:
    assert float64_value(value) == BEYOND
    assert float32_value(value) == BEYOND
    assert Scaling.of(1.0, 0.0).apply(int(value)) == BEYOND


def test_2_to_the_53_itself_is_a_value() -> None:
    assert same(float64_value(2.0**53), 2**53)
    assert same(Scaling.of(0.1, 0.0).for_integers()(10 * 2**53), 2**53)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_doubles_decimal_is_what_its_text_shows(value: float) -> None:
    digits, exponent = decimal_of(value)
    assert float(Fraction(digits) * Fraction(10) ** exponent) == value
