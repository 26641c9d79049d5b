"""Raw numbers to engineering units, exactly: decimals are computed with integers, and only the result is a double.

A number is ``digits × 10^exponent`` with integer digits throughout; ``scale`` and ``offset`` are the decimals
that their shortest text shows, so that 3 × 0.1 is 0.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from struct import Struct
from typing import Final

from voke_gateway.drivers.base import Fault, FaultKind, Value

LARGEST: Final = 2**53
"""Beyond it a double no longer holds every integer (RFC 8259, section 6)."""
BEYOND: Final = Fault(FaultKind.INVALID, "the value is beyond 2^53")
NOT_FINITE: Final = Fault(FaultKind.INVALID, "the device says NaN or infinity")

Number = tuple[int, int]
"""Digits and exponent of ten."""

_FLOAT32: Final = Struct(">f")
_FLOAT32_DIGITS: Final = range(6, 10)
"""Six decimal digits survive a float32, nine tell any two apart."""
_FLOAT32_NORMAL: Final = 2.0**-126
_PLAIN_LARGEST: Final = 2.0**23
_PLAIN_SMALLEST: Final = 2.0**-20
_ODD: Final = 1


@dataclass(frozen=True, slots=True)
class Scaling:
    """value = (number × ``factor`` + ``term``) / 10^``places``, then rounded to ``decimals``."""

    factor: int = 1
    term: int = 0
    places: int = 0
    decimals: int | None = None

    @classmethod
    def of(cls, scale: float, offset: float, decimals: int | None = None) -> Scaling:
        """The scaling that a point declares."""
        scale_digits, scale_exponent = decimal_of(scale)
        offset_digits, offset_exponent = decimal_of(offset)
        places = max(0, -scale_exponent, -offset_exponent)
        return cls(
            factor=scale_digits * 10 ** (places + scale_exponent),
            term=offset_digits * 10 ** (places + offset_exponent),
            places=places,
            decimals=decimals,
        )

    @property
    def trivial(self) -> bool:
        """The value is the number."""
        return self.factor == 1 and not self.term and not self.places and self.decimals is None

    def apply(self, digits: int, exponent: int = 0) -> Value | Fault:
        """The nearest double of the exact result, as an int if it is whole; BEYOND if that is beyond 2^53."""
        if exponent >= 0:
            numerator = digits * 10**exponent * self.factor + self.term
            places = self.places
        else:
            numerator = digits * self.factor + self.term * 10**-exponent
            places = self.places - exponent
        if self.decimals is not None and places > self.decimals:
            numerator = _round_half_even(numerator, 10 ** (places - self.decimals))
            places = self.decimals
        return nearest(numerator, 10**places)

    def for_integers(self) -> Callable[[int], Value | Fault]:
        """:meth:`apply` for raw integers, with what depends only on the scaling done beforehand."""
        factor, term, divisor = self.factor, self.term, 10**self.places
        step = 1
        if self.decimals is not None and self.places > self.decimals:
            step, divisor = 10 ** (self.places - self.decimals), 10**self.decimals

        def scaled(raw: int) -> Value | Fault:
            return nearest(raw * factor + term, divisor)

        def rounded(raw: int) -> Value | Fault:
            return nearest(_round_half_even(raw * factor + term, step), divisor)

        return scaled if step == 1 else rounded


def nearest(numerator: int, divisor: int) -> Value | Fault:
    """The double nearest to a quotient, as an int if it is whole; BEYOND if that is beyond 2^53."""
    try:
        value = numerator / divisor  # correctly rounded, whatever the integers' size
    except OverflowError:
        return BEYOND
    if not value.is_integer():
        return value
    return int(value) if -LARGEST <= value <= LARGEST else BEYOND


def decimal_of(value: float) -> Number:
    """The decimal that a finite double's shortest text shows."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    magnitude = int("".join(map(str, digits)))
    return (-magnitude if sign else magnitude), exponent


def shortest_of_float32(value: float) -> Number:
    """The shortest decimal that still is this finite float32, given as a double."""
    magnitude = abs(value)
    digits = _FLOAT32_DIGITS if magnitude >= _FLOAT32_NORMAL else range(1, 10)
    pattern = _FLOAT32.pack(value)
    for count in digits:
        text = f"{value:.{count - 1}e}"
        try:
            same = _FLOAT32.pack(float(text)) == pattern
        except OverflowError:  # rounded up beyond the largest float32
            same = False
        if same:
            break
    return decimal_of(float(text))


def float32_value(value: float) -> Value | Fault:
    """A float32, given as a double, as its shortest decimal: 0.1 and not 0.10000000149011612."""
    if value.is_integer():
        if -_PLAIN_LARGEST <= value <= _PLAIN_LARGEST:
            return int(value)
    elif _PLAIN_SMALLEST < value < _PLAIN_LARGEST or _PLAIN_SMALLEST < -value < _PLAIN_LARGEST:
        # A decimal is this float32 if it is less than half a step away. (A power of two has smaller steps
        # below it; in this range that makes no difference, as a test shows.)
        exponent = math.frexp(value)[1]
        half = _HALF_STEP[exponent]
        for power in _POWERS[exponent]:
            decimal = round(value * power) / power
            if -half < decimal - value < half:
                return decimal
    elif not math.isfinite(value):
        return NOT_FINITE
    digits, exponent = shortest_of_float32(value)
    return nearest(digits * 10**exponent, 1) if exponent >= 0 else nearest(digits, 10**-exponent)


def float64_value(value: float) -> Value | Fault:
    """A double; an int if it is whole."""
    if value.is_integer():
        return int(value) if -LARGEST <= value <= LARGEST else BEYOND
    return value if math.isfinite(value) else NOT_FINITE


def _round_half_even(numerator: int, step: int) -> int:
    quotient, rest = divmod(numerator, step)
    return quotient + 1 if 2 * rest > step or (2 * rest == step and quotient & _ODD) else quotient


def _powers(exponent: int) -> tuple[float, ...]:
    """Powers of ten that leave more and more significant digits below 2^exponent, until one is sure to fit.

    As long as decimals are at least a step apart only one can fit, so of such numbers of places the largest will do:
    a shorter decimal is among its own.
    """
    step = 2.0 ** (exponent - 24)
    powers: list[float] = []
    for places in range(23):
        if 10.0 ** -(places + 1) >= step:
            continue
        powers.append(10.0**places)
        if 10.0**-places < step / 2:
            break
    return tuple(powers)


_HALF_STEP: Final = {exponent: 2.0 ** (exponent - 25) for exponent in range(-20, 24)}
_POWERS: Final = {exponent: _powers(exponent) for exponent in range(-20, 24)}
