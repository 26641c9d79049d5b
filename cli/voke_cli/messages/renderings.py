"""JSON as other programs write it: Python, Go, PHP, C#, and whoever sends what the sensor printed.

A signature over such a text is not Voke's, and which of them fits tells what to change. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, Final, Literal

from voke_gateway.protocol.canonical import number

Numbers = Literal["javascript", "wire", "python", "float"]
Order = Literal["utf-16", "wire", "code-point", "top-level"]
Escapes = Literal["raw", "ascii", "ascii-upper", "go", "slash", "php"]
Blanks = Literal["none", "spaced", "indent-2", "indent-4"]

_INDENT: Final = {"indent-2": 2, "indent-4": 4}
_GO: Final = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Number(str):
    """A number as its digits stand in the message."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a program writes JSON. The default is Voke's canonical form (protocol §4)."""

    numbers: Numbers = "javascript"
    order: Order = "utf-16"
    blanks: Blanks = "none"
    escapes: Escapes = "raw"


def parse_wire(text: str) -> Any:
    """JSON with each number as it stands in the text, keys in their order, the last of equal keys.

    Raises:
        ValueError: not JSON, or nested too deep.
    """
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def render(value: Any, style: Style) -> str:
    """``value``, as :func:`parse_wire` gives it, written in a style."""
    return _render(value, style, 0)


def number_text(token: Number, form: Numbers) -> str:
    """A number in one of the forms."""
    match form:
        case "javascript":
            return number(float(token))
        case "wire":
            return str(token)
        case "python":
            return float.__repr__(float(token)) if set(token) & set(".eE") else str(int(token))
        case "float":
            return float.__repr__(float(token))


def _render(value: Any, style: Style, depth: int) -> str:
    match value:
        case Number():
            return number_text(value, style.numbers)
        case str():
            return _quoted(value, style.escapes)
        case dict():
            colon = ":" if style.blanks == "none" else ": "
            members = [
                f"{_quoted(key, style.escapes)}{colon}{_render(value[key], style, depth + 1)}"
                for key in _keys(value, style.order, depth)
            ]
            return _enclosed("{", members, "}", style, depth)
        case list():
            return _enclosed("[", [_render(item, style, depth + 1) for item in value], "]", style, depth)
        case _:
            return json.dumps(value)


def _enclosed(start: str, items: list[str], end: str, style: Style, depth: int) -> str:
    indent = _INDENT.get(style.blanks)
    if indent is None or not items:
        return start + ("," if style.blanks == "none" else ", ").join(items) + end
    line, last = "\n" + " " * indent * (depth + 1), "\n" + " " * indent * depth
    return start + line + f",{line}".join(items) + last + end


def _keys(members: dict[str, Any], order: Order, depth: int) -> list[str]:
    if order == "wire" or (order == "top-level" and depth > 0):
        return list(members)
    if order == "code-point":
        return sorted(members)
    return sorted(members, key=lambda key: key.encode("utf-16-be", "surrogatepass"))


def _quoted(text: str, escapes: Escapes) -> str:
    match escapes:
        case "raw":
            return encode_basestring(text)
        case "ascii":
            return encode_basestring_ascii(text)
        case "ascii-upper":
            return "".join(_upper_escape(char) for char in text).join('""')
        case "go":
            return encode_basestring(text).translate(_GO)
        case "slash":
            return encode_basestring(text).replace("/", "\\/")
        case "php":
            return encode_basestring_ascii(text).replace("/", "\\/")


def _upper_escape(char: str) -> str:
    escaped = encode_basestring_ascii(char)[1:-1]
    return escaped.upper().replace("\\U", "\\u") if escaped.startswith("\\u") else escaped
