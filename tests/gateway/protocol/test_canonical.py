"""Canonical JSON is what JavaScript prints: every known trap by name, and properties."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
from collections import OrderedDict
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol import naive_canonical, naive_number
from tests.gateway.protocol.judge import canonical_and_signature
from voke_gateway.protocol.canonical import MAX_DEPTH, NotJsonError, canonical, number, parse

NUMBERS = {
    "a whole float": (231.0, "231"),
    "zero": (0.0, "0"),
    "a negative whole float": (-820.0, "-820"),
    "negative zero": (-0.0, "0"),
    "12.4": (12.4, "12.4"),
    "0.1 + 0.2": (0.1 + 0.2, "0.30000000000000004"),
    "0.0001": (0.0001, "0.0001"),
    "1e-5": (1e-5, "0.00001"),
    "1e-6": (1e-6, "0.000001"),
    "17 digits from 1e-6": (-1.2345678901234567e-06, "-0.0000012345678901234567"),
    "1e-7": (1e-7, "1e-7"),
    "1.5e-7": (1.5e-7, "1.5e-7"),
    "1e-10": (1e-10, "1e-10"),
    "the smallest double": (5e-324, "5e-324"),
    "1e15": (1e15, "1000000000000000"),
    "1e16": (1e16, "10000000000000000"),
    "1.5e16": (1.5e16, "15000000000000000"),
    "18 digits": (123456789012345678.0, "123456789012345680"),
    "1e20": (1e20, "100000000000000000000"),
    "1e21": (1e21, "1e+21"),
    "1.5e21": (1.5e21, "1.5e+21"),
    "1e300": (1e300, "1e+300"),
    "the largest double": (1.7976931348623157e308, "1.7976931348623157e+308"),
    "2^53 - 1": (2**53 - 1, "9007199254740991"),
    "2^53": (2**53, "9007199254740992"),
    "2^53 + 1": (2**53 + 1, "9007199254740992"),
    "-2^53 - 1": (-(2**53) - 1, "-9007199254740992"),
    "2^64": (2**64, "18446744073709552000"),
    "10^21": (10**21, "1e+21"),
    "an integer beyond all doubles": (10**400, "null"),
    "NaN": (math.nan, "null"),
    "infinity": (math.inf, "null"),
    "minus infinity": (-math.inf, "null"),
}
VALUES = {
    "é and ž": (["é", "ž"], '["é","ž"]'),
    "an emoji": ("😀", '"😀"'),
    "line and paragraph separator": ("\u2028\u2029", '"\u2028\u2029"'),
    "DEL and U+0080": ("\x7f\x80", '"\x7f\x80"'),
    "a lone high surrogate": ("\ud800", '"\\ud800"'),
    "a lone low surrogate": ("a\udfffb", '"a\\udfffb"'),
    "surrogates in the wrong order": ("\ude00\ud83d", '"\\ude00\\ud83d"'),
    "two halves of a pair": ("\ud83d\ude00", '"😀"'),
    "a lone surrogate as key": ({"\udbff": 1, "a": 2}, '{"a":2,"\\udbff":1}'),
    "control characters": ("\x00\x01\x0b\x1f\b\f\n\r\t", '"\\u0000\\u0001\\u000b\\u001f\\b\\f\\n\\r\\t"'),
    "quote, backslash, slash, less-than": ('"\\/<', '"\\"\\\\/<"'),
    "keys in UTF-16 order": ({"｡": 1, "😀": 2, "a": 3}, '{"a":3,"😀":2,"｡":1}'),
    "a private-use key and an emoji": ({"\ue000": 1, "😀": 2}, '{"😀":2,"\ue000":1}'),
    "numeric keys as text": ({"9": 1, "10": 2, "a": 3}, '{"10":2,"9":1,"a":3}'),
    "__proto__ is a plain key": (
        {"__proto__": 1, "a": {"__proto__": {}}},
        '{"__proto__":1,"a":{"__proto__":{}}}',
    ),
    "a tuple": ((1, 2), "[1,2]"),
    "literals and empties": ([None, True, False, [], {}, ""], '[null,true,false,[],{},""]'),
    "keys at each level": ({"b": [{"d": 1, "c": 2}], "a": 1}, '{"a":1,"b":[{"c":2,"d":1}]}'),
    "a whole float beside text that looks like one": (
        {"a": 231.0, "v1.0, rev": "1.0, 2.0} 3.0]", "z": [4.0]},
        '{"a":231,"v1.0, rev":"1.0, 2.0} 3.0]","z":[4]}',
    ),
    "text that looks like an exponent": ({"e1": "1e5", "3e-7": 1}, '{"3e-7":1,"e1":"1e5"}'),
    "negative zero beside a whole float": ([231.0, -0.0], "[231,0]"),
    "negative zero as text": (["-0.0,", 1.0], '["-0.0,",1]'),
    "small negative beside a whole float": ([-0.03, 1.0], "[-0.03,1]"),
    "a key with a backslash": ({"a\\b": 1}, '{"a\\\\b":1}'),
}
WIRE = {
    "an exponent in capitals": ("1E+2", "100"),
    "a negative exponent": ("0.1e-6", "1e-7"),
    "minus zero": ("[-0,-0.0,-0e5]", "[0,0,0]"),
    "more than a double holds": ("[1e400,-1e400]", "[null,null]"),
    "less than a double holds": ("[1e-400,2.4e-324]", "[0,0]"),
    "2^53 + 1": ("9007199254740993", "9007199254740992"),
    "10^21 in full": ("1000000000000000000000", "1e+21"),
    "five thousand digits": ("1" * 5000, "null"),
    "trailing zeros": ("[12.500,231.0]", "[12.5,231]"),
    "duplicate keys": ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
    "duplicate keys in two spellings": ('{"a":1,"\\u0061":3}', '{"a":3}'),
    "escapes": ('"\\u00e9\\/\\u0041\\ud83d\\ude00"', '"é/A😀"'),
    "an escaped lone surrogate": ('"\\uD800x"', '"\\ud800x"'),
    "whitespace": (' \t\r\n{ "a" : [ 1 , 2 ] } \n', '{"a":[1,2]}'),
    "__proto__": ('{"__proto__":{"a":1},"constructor":2}', '{"__proto__":{"a":1},"constructor":2}'),
    "deep": ("[" * MAX_DEPTH + "]" * MAX_DEPTH, "[" * MAX_DEPTH + "]" * MAX_DEPTH),
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.floats().map(lambda x: float(round(x)) if abs(x) < 1e300 else x)
    | st.text(st.characters())
    | st.sampled_from(["1.0,", "a.0}", "1e5", "\ud83d\ude00", "-0.0]"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(("value", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected
    assert canonical(value) == expected.encode()
    assert (
        canonical({"a": [value, value], "b": value})
        == f'{{"a":[{expected},{expected}],"b":{expected}}}'.encode()
    )


@pytest.mark.parametrize(("value", "expected"), VALUES.values(), ids=VALUES)
def test_value(value: Any, expected: str) -> None:
    assert canonical(value) == expected.encode()
    assert canonical([1e-7, value]) == f"[1e-7,{expected}]".encode()


@pytest.mark.parametrize(("text", "expected"), WIRE.values(), ids=WIRE)
def test_wire(text: str, expected: str) -> None:
    assert canonical(parse(text)) == expected.encode()
    assert canonical(parse(text.encode())) == expected.encode()


def test_node_says_the_same_of_every_trap() -> None:
    finite = [row for row in NUMBERS.values() if row[1] != "null"]
    rows = [(str(value) if isinstance(value, int) else repr(value), expected) for value, expected in finite]
    rows += [(json.dumps(value), expected) for value, expected in VALUES.values()]
    rows += WIRE.values()
    verdicts = canonical_and_signature(text for text, _ in rows)
    for (text, expected), verdict in zip(rows, verdicts, strict=True):
        assert verdict is not None
        assert verdict[0] == expected.encode(), text


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Scale(enum.Enum):
    TENTH = 0.1


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize("also", [0, 1e-7], ids=["fast", "exact"])
def test_relatives_of_json_types_count_as_their_values(also: float) -> None:
    ordered = OrderedDict(b=1, a=2)
    an_id = uuid.UUID("3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f")
    values = [Colour.RED, Level.HIGH, Scale.TENTH, Pair(1, 2), ordered, an_id, {Colour.RED: 1}]
    for value, text in zip(
        values, ['"red"', "3", "0.1", "[1,2]", '{"a":2,"b":1}', f'"{an_id}"', '{"red":1}'], strict=True
    ):
        assert canonical([also, value]) == f"[{number(also)},{text}]".encode()


@pytest.mark.parametrize(
    "value",
    [
        b"x",
        {1},
        object(),
        1j,
        Decimal(1),
        dt.datetime.now(dt.UTC),
        {1: 2},
        {None: 1},
        {"a": 1, 2: 3},
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"JSON form|keys are strings"):
        canonical({"a": value})


def test_a_value_within_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="nested deeper than 512"):
        canonical(endless)


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "[" * 1_000_000,
        '{"a":' * 100_000,
        '["' + "[" * 600 + '",' + "[" * 512,
    ],
    ids=["one level too many", "a million brackets", "objects", "unfinished"],
)
def test_a_depth_bomb_is_no_json(text: str) -> None:
    with pytest.raises(NotJsonError):
        parse(text)


def test_brackets_in_strings_are_not_depth() -> None:
    text = json.dumps(['[{\\"' * 1000, {"[" * 1000: 1}])
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b" ",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"[NaN]",
            b"01",
            b"1.",
            b".5",
            b"+1",
            b"1e",
            b"'a'",
            b"nul",
        ),
        *(b"\xef\xbb\xbf1", b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b'"\xc0\xaf"', '"a"'.encode("utf-16")),
        *(
            b'"\t"',
            b'"\x00"',
            b'"\\x"',
            b'"\\u12"',
            b'"',
            b'"\\',
            b"1 2",
            b"[1,]",
            b'{"a":1,}',
            b"{a:1}",
            b"\x0c1",
        ),
        *("\ud800", '"\ud800"', "\ufeff1", "\u00a01"),
    ],
    ids=ascii,
)
def test_not_json(text: bytes | str) -> None:
    with pytest.raises(NotJsonError):
        parse(text)


def test_whole_numbers_come_as_int_and_others_as_double() -> None:
    parsed = parse("[1, 9007199254740992, 9007199254740993, 9007199254740994, 1.0, -0]")
    assert parsed == [1, 2**53, 2**53, float(2**53 + 2), 1.0, 0]
    assert [type(item) for item in parsed] == [int, int, int, float, float, int]


@given(json_values)
def test_it_equals_the_plain_recursive_definition(value: Any) -> None:
    assert canonical(value) == naive_canonical(value)


@given(json_values)
def test_canonical_text_is_canonical(value: Any) -> None:
    text = canonical(value)
    assert canonical(parse(text)) == text


@given(json_values)
def test_spelling_does_not_matter(value: Any) -> None:
    sent = canonical(value)
    assert canonical(parse(json.dumps(parse(sent), indent=1))) == sent


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_shortest_text_of_its_double(x: float) -> None:
    assert float(number(x)) == x
    assert number(x) == naive_number(x)
    assert len(number(x)) <= 25


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:.019-+eE\\u tfn\x00\ufeff\ud800').map(str))
def test_parse_returns_or_says_that_it_is_not_json(text: bytes | str) -> None:
    try:
        value = parse(text)
    except NotJsonError:
        return
    canonical(value)
