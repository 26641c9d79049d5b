"""Pydantic's errors as sentences that say what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from voke_api.problems import Path
from voke_api.resources.common import (
    COMMAND_TYPE,
    EXTERNAL_ID,
    HOST,
    LABEL,
    SUBDOMAIN,
    UUID,
    format_duration,
    listed,
)
from voke_api.resources.points import from_data_sheet

UNKNOWN_FIELD: Final = "unknown field"
"""How a sentence about a field that does not exist begins."""
BOUNDS: Final = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
}
"""Error types of a number out of bounds: key of the bound, and how to say it."""

_SIZES: Final = {
    "too_short": ("min_length", "at least", "entries"),
    "too_long": ("max_length", "at most", "entries"),
    "string_too_short": ("min_length", "at least", "characters"),
    "string_too_long": ("max_length", "at most", "characters"),
}
_PATTERNS: Final = {
    EXTERNAL_ID: "must be 1 to 32 of A–Z, 0–9, _ and - (capital letters only)",
    COMMAND_TYPE: "must be of A–Z, 0–9 and _ only",
    HOST: "must be a host name or an address alone: no port, no scheme, no spaces; international names as xn--…",
    UUID: "must be a UUID in lower case, such as 3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f",
    LABEL: "must be of a–z, 0–9 and -, beginning and ending with a letter or digit",
    SUBDOMAIN: "must be of a–z, 0–9, - and ., beginning and ending with a letter or digit",
}
_TYPES: Final = {
    "string_type": "text",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer of reasonable size",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "an object with keys",
    "model_type": "an object with keys",
    "model_attributes_type": "an object with keys",
    "tuple_type": "a list",
    "list_type": "a list",
}
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class _Error:
    code: str
    loc: tuple[int | str, ...]
    given: object
    context: Mapping[str, Any]
    message: str
    path: Path
    model: type[BaseModel]


def explain(detail: ErrorDetails, path: Path, given: object, model: type[BaseModel]) -> str:
    """One sentence about what is ``given`` at ``path`` of a document of type ``model``."""
    error = _Error(detail["type"], detail["loc"], given, detail.get("ctx", {}), detail["msg"], path, model)
    sentence = _SENTENCES.get(error.code)
    return sentence(error) if sentence else error.message


def fields_at(model: type[BaseModel], path: Path) -> dict[str, FieldInfo]:
    """The fields that an object at ``path`` may have, by the name written in files."""
    here: list[Any] = [model]
    for step in path:
        here = [inner for annotation in here for inner in _step(annotation, step)]
    return {
        field.alias or name: field
        for annotation in here
        for candidate in _models(annotation)
        for name, field in candidate.model_fields.items()
    }


def _unknown_field(error: _Error) -> str:
    field = str(error.path[-1])
    known = sorted(fields_at(error.model, error.path[:-1]))
    folded = {name.lower(): name for name in known}
    plain = field.lower().replace("_", "").replace("-", "")
    close = [folded[plain]] if plain in folded else get_close_matches(field, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known here: {listed(known, at_most=20)}"
    return f"{UNKNOWN_FIELD} `{field[:64]}`; {hint}"


def _missing(error: _Error) -> str:
    name = str(error.path[-1])
    field = fields_at(error.model, error.path[:-1]).get(name)
    meaning = field.description.split("\n")[0].rstrip(".") if field and field.description else ""
    return f"{name} is required" + (f": {meaning}" if meaning else "")


def _not_one_of(error: _Error) -> str:
    allowed = re.findall(r"'([^']*)'", str(error.context["expected"]))
    folded = {choice.lower(): choice for choice in allowed}
    close = get_close_matches(str(error.given).lower(), folded, n=1, cutoff=0.75)
    if len(allowed) == 1:
        return f"must be {allowed[0]}"
    return f"must be one of {', '.join(allowed)}" + (f"; did you mean {folded[close[0]]}?" if close else "")


def _wrong_type(error: _Error) -> str:
    wanted, given = _TYPES[error.code], error.given
    if error.code == "int_from_float":
        return "must be an integer, without a fraction"
    if isinstance(given, str) and error.code in {"int_type", "float_type", "bool_type"}:
        unquoted = _NUMBER.fullmatch(given) or given in {"true", "false"}
        return f"must be {wanted}, not text" + ("; take the quotes off" if unquoted else "")
    if error.code == "string_type" and isinstance(given, bool | int | float):
        return f"must be text, not {_kind_of(given)}; put it in quotes"
    return (
        f"must be {wanted}" if error.code == "finite_number" else f"must be {wanted}, not {_kind_of(given)}"
    )


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "empty" if value is None else names.get(type(value), type(value).__name__)


def _wrong_form(error: _Error) -> str:
    what = f"{error.path[-1]} " if "[key]" in error.loc else ""
    pattern = str(error.context["pattern"])
    return what + _PATTERNS.get(pattern, f"must match {pattern}")


def _out_of_bounds(error: _Error) -> str:
    key, words = BOUNDS[error.code]
    bound = error.context[key]
    place = (
        from_data_sheet(error.given) if error.path[-1] == "address" and isinstance(error.given, int) else None
    )
    hint = f"; did you mean table {place[0]}, address {place[1]}?" if place is not None else ""
    return f"must be {words} {format_duration(bound) if isinstance(error.given, str) else str(bound).removesuffix('.0')}{hint}"


def _wrong_size(error: _Error) -> str:
    key, words, unit = _SIZES[error.code]
    count = error.context[key]
    return f"must have {words} {count} {unit if count != 1 else unit.replace('ies', 'y').removesuffix('s')}"


_SENTENCES: Final[Mapping[str, Callable[[_Error], str]]] = {
    "extra_forbidden": _unknown_field,
    "missing": _missing,
    "literal_error": _not_one_of,
    "string_pattern_mismatch": _wrong_form,
    "value_error": lambda error: str(error.context["error"]),
    "json_invalid": lambda _: "holds text that is not valid Unicode, or nests too deep",
    **dict.fromkeys(_TYPES, _wrong_type),
    **dict.fromkeys(BOUNDS, _out_of_bounds),
    **dict.fromkeys(_SIZES, _wrong_size),
}


def _step(annotation: Any, step: str | int) -> Iterator[Any]:
    if isinstance(step, str):
        for candidate in _models(annotation):
            for name, field in candidate.model_fields.items():
                if step == (field.alias or name):
                    yield field.annotation
    for inner in _unwrapped(annotation):
        if get_origin(inner) is tuple and isinstance(step, int):
            yield get_args(inner)[0]
        elif get_origin(inner) is dict and isinstance(step, str):
            yield get_args(inner)[1]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for inner in _unwrapped(annotation):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield inner


def _unwrapped(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation without Annotated and Union around them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _unwrapped(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for argument in get_args(annotation):
            yield from _unwrapped(argument)
    else:
        yield annotation
