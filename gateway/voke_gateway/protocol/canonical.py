"""Canonical JSON: byte for byte what JavaScript makes of a message after it has parsed it (protocol §4, §5).

Every number is an IEEE double in its ECMAScript form, object keys are sorted by UTF-16 code unit, text is
raw UTF-8, a lone surrogate is escaped. orjson does nearly all of this at C speed. What it may do otherwise
leaves a trace in its output: ``231.0`` is mended, everything else is written again by :func:`_exact`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from enum import Enum
from json.encoder import encode_basestring
from typing import Any, Final, NoReturn
from uuid import UUID

import orjson

MAX_DEPTH: Final = 512
"""Arrays and objects inside each other, at most. Deeper text is refused, not a stack overflow."""

_LARGEST_EXACT: Final = 2**53
_FIRST_EXPONENT: Final = 21
"""ECMAScript writes 1e20 in full and 1e21 with an exponent …"""
_LAST_FRACTION: Final = -6
"""… 0.000001 in full and 1e-7 with an exponent (ECMA-262, Number::toString)."""

_OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
)
# These match every number of which orjson's text differs, and perhaps a string, which only costs time.
_EXPONENT: Final = re.compile(rb"e[-+0-9](?<=[0-9]e.)", re.DOTALL)
_WHOLE_FLOAT: Final = re.compile(rb"\.0(?=[,}\]]|\Z)")
_NEGATIVE_ZERO: Final = re.compile(rb"-0\.0(?=[,}\]]|\Z)")
# First bytes of characters beyond U+FFFF: only among those do UTF-8 and UTF-16 order keys differently.
_ASTRAL: Final = b"\xf0\xf1\xf2\xf3\xf4"

_BRACKETS: Final = re.compile(r'[][{}]|"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)


class NotJsonError(ValueError):
    """The text is not JSON as ``JSON.parse`` takes it, or is nested deeper than :data:`MAX_DEPTH`."""


def canonical(value: Any) -> bytes:
    """Canonical JSON of ``value``, UTF-8.

    Takes None, bool, int, float, str, list, tuple and dict with str keys; an Enum member counts as its
    value, a UUID as its text. An integer becomes the nearest double; NaN and infinity become ``null``.

    Raises:
        TypeError: anything else, or a key that is not a str.
        ValueError: nested deeper than :data:`MAX_DEPTH`, or within itself.
    """
    try:
        text = orjson.dumps(value, None, _OPTIONS)
    except TypeError:  # not only foreign types: integers beyond 2^53, surrogates, more than 254 levels
        return _exact(value)
    if _EXPONENT.search(text) or (not text.isascii() and len(text.translate(None, _ASTRAL)) != len(text)):
        return _exact(value)
    if _WHOLE_FLOAT.search(text):
        mended = _WHOLE_FLOAT.sub(b"", text)
        # Had a string been damaged, it would now be shorter than in the value. -0 == 0, hence the first test.
        if _NEGATIVE_ZERO.search(text) or orjson.loads(mended) != value:
            return _exact(value)
        return mended
    return text


def number(x: float) -> str:
    """The ECMAScript text of a number taken as a double; ``null`` for NaN and infinity, as in JSON."""
    if isinstance(x, int):
        if -_LARGEST_EXACT <= x <= _LARGEST_EXACT:
            return int.__repr__(x)
        try:
            x = float(x)
        except OverflowError:
            return "null"
    return _double(x) if math.isfinite(x) else "null"


def parse(text: bytes | str) -> Any:
    """What ``JSON.parse`` makes of ``text``: the last of equal keys wins, ``1e400`` is infinity.

    Whole numbers within ±2^53 come as int, all others as float.

    Raises:
        NotJsonError: not JSON, not UTF-8, or nested deeper than :data:`MAX_DEPTH`.
    """
    try:
        text = (text.encode() if isinstance(text, str) else text).decode()
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise NotJsonError(f"not UTF-8: {error.reason} at {error.start}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise NotJsonError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJsonError(str(error)) from None
    except RecursionError:
        raise NotJsonError("nested too deep") from None


def _double(x: float) -> str:
    """ECMA-262, Number::toString. Python finds the same shortest digits and lays them out differently."""
    text = float.__repr__(x)
    if text.endswith(".0"):
        return text[:-2] if x else "0"
    mantissa, _, power = text.partition("e")
    exponent = int(power or 0)
    if not power or exponent >= _FIRST_EXPONENT:
        return text
    if exponent < _LAST_FRACTION:
        return f"{mantissa}e{exponent}"
    sign = "-" if x < 0 else ""
    digits = mantissa.lstrip("-").replace(".", "")
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return sign + digits.ljust(exponent + 1, "0")


def _integer(token: str) -> int | float:
    double = float(token)
    return int(double) if abs(double) <= _LARGEST_EXACT else double


def _refuse_constant(token: str) -> NoReturn:
    raise NotJsonError(f"{token} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)


def _depth(text: str) -> int:
    deepest = level = 0
    for match in _BRACKETS.finditer(text):
        mark = match[0]
        if mark in "[{":
            level += 1
            deepest = max(deepest, level)
        elif mark in "]}":
            level -= 1
    return deepest


def _exact(value: Any) -> bytes:
    """Like :func:`canonical`, without orjson."""
    text = _text(value, 0)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Two halves of a pair are one character; a lone surrogate becomes \udxxx, as in JSON.stringify.
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        escaped = joined.encode(errors="backslashreplace")
        return escaped if joined == text else canonical(parse(escaped))  # two keys may have become one


def _text(value: Any, depth: int) -> str:  # noqa: C901, PLR0911 - one case for each type
    match value:
        case str():
            return encode_basestring(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number(value)
        case None:
            return "null"
        case dict() | list() | tuple() if depth == MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels, or within itself")
        case dict():
            members = []
            for key in _sorted(value):  # a loop, because a comprehension would need a second stack frame
                members.append(f"{encode_basestring(key)}:{_text(value[key], depth + 1)}")  # noqa: PERF401
            return f"{{{','.join(members)}}}"
        case list() | tuple():
            items = []
            for item in value:
                items.append(_text(item, depth + 1))  # noqa: PERF401
            return f"[{','.join(items)}]"
        case Enum():
            return _text(value.value, depth)
        case UUID():
            return f'"{value}"'
        case _:
            raise TypeError(f"a {type(value).__name__} has no JSON form")


def _sorted(keys: Iterable[Any]) -> list[str]:
    try:
        plain = "".join(keys).isascii()
    except TypeError:
        raise TypeError(f"an object's keys are strings, not {', '.join(map(repr, keys))}") from None
    return sorted(keys) if plain else sorted(keys, key=_utf16_units)


def _utf16_units(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")
