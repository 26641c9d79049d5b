"""Other ways to read the same registers: order, type, scale, and what a device means by "no value". Pure.

Every way has a cost, the number and the rarity of the mistakes it takes; only what makes a typical value of
an impossible one is worth saying.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from voke_api.resources.points import Point, written_pattern
from voke_cli.probe.facts import Change, Guess
from voke_cli.probe.plausible import Verdict, as_text, is_number, judge, quantity
from voke_gateway.drivers.base import Fault, FaultKind, Value
from voke_gateway.drivers.modbus.look import value_of

_BY_WIDTH: Final = {
    1: ("int16", "uint16"),
    2: ("int32", "uint32", "float32"),
    4: ("int64", "uint64", "float64"),
}
_SCALES: Final = ((1, 0.0), (0.1, 1.0), (0.01, 1.2), (0.001, 1.4), (10, 1.8), (100, 1.9), (1000, 2.0))
"""Factor on the declared scale, and its cost."""
_DEAREST: Final = 2.7
_SMALL_NEGATIVE: Final = 64
_DIGITS: Final = "0123456789"
_KINDS: Final = {
    frozenset({"wordOrder"}): "word-order",
    frozenset({"byteOrder"}): "byte-order",
    frozenset({"wordOrder", "byteOrder"}): "word-and-byte-order",
    frozenset({"scale"}): "scale",
}


@dataclass(frozen=True, slots=True)
class _Way:
    """One other declaration of a point, and what it would bring."""

    keys: Mapping[str, Any]
    cost: float
    value: Value
    verdict: Verdict


def odd(point: Point, words: Sequence[int], value: Value | Fault) -> bool:
    """What was read cannot be right, or looks like one of the classic mistakes."""
    if isinstance(value, Fault):
        return (
            value.kind is FaultKind.INVALID and "no value" not in value.detail and not _says_nan(point, words)
        )
    if isinstance(value, str):
        return any(True for _ in _text(point, words, value))
    if point.type == "bool" or point.bits is not None or point.scale_from is not None:
        return False
    if judge(point, _plain(point, words)) is Verdict.IMPOSSIBLE:
        return True
    return is_number(point) and (
        _pattern(point, words) is not None
        or _swapped(point, words)
        or _small_negative(point, words)
        or _a_float(point, words)
    )


def reading_guesses(
    point: Point, words: Sequence[int], value: Value | Fault, *, beyond: Sequence[int] = ()
) -> list[Guess]:
    """Guesses about how ``words`` are to be read, the best first; ``beyond`` are the registers after them."""
    if not odd(point, words, value):
        return []
    if isinstance(value, str) or point.type == "string":
        return list(_text(point, words, value))
    guesses = [*_no_value(point, words), *_ways(point, words, beyond)]
    return sorted(guesses, key=lambda guess: -guess.score)


def with_unit(point: Point, value: Value) -> str:
    """A value for people: ``231.7 V``."""
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f"{shown} {point.unit}" if point.unit else shown


def variant(point: Point, keys: Mapping[str, Any]) -> Point:
    """The point with some keys changed; not validated, but without "no value" patterns that no longer fit."""
    names = {field.alias or name: name for name, field in Point.model_fields.items()}
    other = point.model_copy(update={names[key]: value for key, value in keys.items()})
    fitting = tuple(pattern for pattern in other.invalid if pattern < 1 << 16 * other.registers)
    return other.model_copy(update={"invalid": fitting})


def _ways(point: Point, words: Sequence[int], beyond: Sequence[int]) -> Iterator[Guess]:
    """The simplest ways to a typical value; none that adds to a simpler one, or comes to the same value."""
    chosen: list[_Way] = []
    for way in sorted(_alternatives(point, words, beyond), key=lambda way: way.cost):
        if way.verdict is not Verdict.TYPICAL or not _telling(point, way):
            continue
        if any(way.value == other.value or other.keys.items() <= way.keys.items() for other in chosen):
            continue
        chosen.append(way)
        yield Guess(
            _kind(way.keys),
            f"with {_said(way.keys)} the registers {as_text(words)} would be {with_unit(point, way.value)}",
            (Change("point", way.keys, point.field),),
            5 - way.cost,
        )


def _telling(point: Point, way: _Way) -> bool:
    """Of an unknown quantity any size is as good, and bytes of integers may be in any order."""
    if quantity(point) is not None:
        return True
    return "scale" not in way.keys and ("byteOrder" not in way.keys or point.type.startswith("float"))


def _alternatives(point: Point, words: Sequence[int], beyond: Sequence[int]) -> Iterator[_Way]:
    """Every other declaration that is not too far-fetched."""
    for kind, read, type_cost in _types(point, words, beyond):
        for word, byte, order_cost in _orders(point, len(read)):
            for factor, scale_cost in _SCALES:
                cost = type_cost + order_cost + scale_cost
                if not 0 < cost <= _DEAREST:
                    continue
                keys: dict[str, Any] = {}
                if kind != point.type:
                    keys["type"] = kind
                if word != point.word_order:
                    keys["wordOrder"] = word
                if byte != point.byte_order:
                    keys["byteOrder"] = byte
                if factor != 1:
                    keys["scale"] = float(f"{point.scale * factor:.12g}")
                other = variant(point, keys)
                value = value_of(other, read)
                if not isinstance(value, Fault):
                    yield _Way(keys, cost, value, judge(other, value))


def _types(
    point: Point, words: Sequence[int], beyond: Sequence[int]
) -> Iterator[tuple[str, Sequence[int], float]]:
    """Types, the registers that each would take, and how far-fetched each is."""
    for kind in _BY_WIDTH[len(words)]:
        yield kind, words, _type_cost(point.type, kind)
    wider, narrower = 2 * len(words), len(words) // 2
    if wider in _BY_WIDTH and len(words) + len(beyond) >= wider and any(words):
        for kind in _BY_WIDTH[wider]:
            yield kind, (*words, *beyond[: wider - len(words)]), 1.5 + _family_cost(point.type, kind)
    if narrower in _BY_WIDTH:
        for kind in _BY_WIDTH[narrower] if set(words[:narrower]) not in ({0}, {0xFFFF}) else ():
            yield kind, words[:narrower], 1.4 + _family_cost(point.type, kind)


def _type_cost(declared: str, other: str) -> float:
    """Of the same width."""
    if declared == other:
        return 0.0
    if declared.startswith("float") or other.startswith("float"):
        return 1.1 + other.startswith("int") / 4
    return 0.8


def _family_cost(declared: str, other: str) -> float:
    """Of another width: int16 and int32 are of one family."""
    return 0.0 if declared.rstrip(_DIGITS) == other.rstrip(_DIGITS) else 0.3


def _orders(point: Point, registers: int) -> Iterator[tuple[str, str, float]]:
    other = {"big": "little", "little": "big"}
    word, byte = point.word_order, point.byte_order
    yield word, byte, 0.0
    yield word, other[byte], 1.6
    if registers > 1:
        yield other[word], byte, 0.9
        yield other[word], other[byte], 1.8


def _no_value(point: Point, words: Sequence[int]) -> Iterator[Guess]:
    pattern = _pattern(point, words)
    if pattern is None:
        return
    bits = 16 * len(words)
    text = f"0x{pattern:0{bits // 4}X}"
    yield Guess(
        "no-value",
        f"{text} is how many devices say that they have no value",
        (
            Change(
                "point",
                {"invalid": [written_pattern(each) for each in (*point.invalid, pattern)]},
                point.field,
            ),
        ),
        4.6,
    )


def _pattern(point: Point, words: Sequence[int]) -> int | None:
    """The registers, in the point's order, as a pattern that stands for "no value" in many devices; None: as none."""
    if len(words) not in _BY_WIDTH or not is_number(point):
        return None
    bits = 16 * len(words)
    pattern = int.from_bytes(b"".join(word.to_bytes(2, "big") for word in _in_order(point, words)), "big")
    ones, lowest = (1 << bits) - 1, 1 << bits - 1
    known = {"int": {lowest, lowest - 1}, "uint": {ones, lowest}, "float": set[int]()}
    return pattern if pattern in known[point.type.rstrip(_DIGITS)] else None


def _swapped(point: Point, words: Sequence[int]) -> bool:
    """A small integer in the wrong half: its other half is nothing but its sign."""
    if len(words) == 1 or point.type.startswith("float"):
        return False
    first, *rest = words if point.word_order == "big" else words[::-1]
    if set(rest) == {0}:
        return first not in {0, 0x8000}
    return set(rest) == {0xFFFF} and 0x8000 <= first < 0xFFFF and not point.type.startswith("u")  # noqa: PLR2004


def _says_nan(point: Point, words: Sequence[int]) -> bool:
    """A float that says "no value" in one of the two usual ways, rather than by the accident of a wrong order."""
    first, *rest = _in_order(point, words)
    return set(rest) in ({0}, {0xFFFF}) and first & 0x7FF8 >= (0x7FF8 if len(words) == 4 else 0x7FC0)  # noqa: PLR2004


def _in_order(point: Point, words: Sequence[int]) -> list[int]:
    """The registers as they would be if the point's orders were both big."""
    ordered = words if point.word_order == "big" else words[::-1]
    return [word if point.byte_order == "big" else (word & 0xFF) << 8 | word >> 8 for word in ordered]


def _plain(point: Point, words: Sequence[int]) -> Value:
    """The value before it is rounded: many wrong ones would be 0 after."""
    value = value_of(variant(point, {"decimals": None}), words)
    return 0 if isinstance(value, Fault) else value


def _a_float(point: Point, words: Sequence[int]) -> bool:
    """An integer of which nothing is known but that it is large, and that it would be an everyday float."""
    if point.type not in {"int32", "uint32"} or quantity(point) is not None:
        return False
    value = value_of(variant(point, {"type": "float32"}), words)
    return not isinstance(value, Fault | str) and 0.1 <= abs(value) <= 1e6  # noqa: PLR2004 - everyday


def _small_negative(point: Point, words: Sequence[int]) -> bool:
    """A little below the largest unsigned number, of something that may well be negative."""
    if not point.type.startswith("uint"):
        return False
    measured = quantity(point)
    if measured is not None and not measured.signed:
        return False
    raw = value_of(variant(point, {"scale": 1.0, "offset": 0.0, "decimals": None}), words)
    top = 1 << 16 * len(words)
    return isinstance(raw, int) and top - _SMALL_NEGATIVE <= raw < top


def _text(point: Point, words: Sequence[int], value: Value | Fault) -> Iterator[Guess]:
    other = "little" if point.byte_order == "big" else "big"
    swapped = value_of(variant(point, {"byteOrder": other}), words)
    if isinstance(swapped, Fault) or not isinstance(swapped, str) or not swapped.strip():
        return
    if not swapped.isprintable():
        return
    now = value if isinstance(value, str) else ""
    if isinstance(value, Fault) or not now.isprintable() or len(swapped) > len(now):
        score = 4.0
    elif _changes(now) - _changes(swapped) >= 2:  # noqa: PLR2004 - one could be chance
        score = 3.5
    else:
        return
    yield Guess(
        "byte-order",
        f"with byteOrder: {other} the text would be {swapped!r}",
        (Change("point", {"byteOrder": other}, point.field),),
        score,
    )


def _changes(text: str) -> int:
    """How often a text goes from letters to digits, from small to large letters and so on."""
    kinds = [
        "0" if char.isdigit() else "a" if char.islower() else "A" if char.isupper() else char for char in text
    ]
    return sum(a != b for a, b in pairwise(kinds))


def _kind(keys: Mapping[str, Any]) -> str:
    if "type" in keys:
        return "type"
    return _KINDS.get(frozenset(keys), "order-and-scale")


def _said(keys: Mapping[str, Any]) -> str:
    return " and ".join(
        f"{key}: {value:g}" if key == "scale" else f"{key}: {value}" for key, value in keys.items()
    )
