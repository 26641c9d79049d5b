"""Structural schemas, which a CustomResourceDefinition wants, from pydantic's models.

A structural schema knows less than pydantic: no references, no unions, one type per value. A union is therefore
an untyped value that bars what is not in it, and CEL does not see it; a type that validates itself brings its
schema (``WithJsonSchema``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, TypeAdapter, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from voke_api.explain import BOUNDS
from voke_api.resources.common import DURATION, DURATION_LENGTH, KeyedBy, format_duration, is_duration
from voke_api.rules import RULES

Schema = dict[str, Any]

_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}
_RULES: Final = "x-kubernetes-validations"
_NO_TEXT: Final = r"[^\s\S] not text: a number or a boolean"
"""What no text matches, and yet says in an error what is wanted."""


def object_schema(model: type[BaseModel], *, defaults: bool) -> Schema:
    """The schema of a model; without ``defaults`` nothing is filled in, as in a status."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    schema: Schema = {
        "type": "object",
        "description": text(model.__doc__),
        "properties": {name: field_schema(info, defaults=defaults) for name, info in fields.items()},
    }
    required = [name for name, info in fields.items() if info.is_required()]
    if required:
        schema["required"] = required
    extra = model.model_config.get("json_schema_extra")
    return schema | (extra if isinstance(extra, dict) else {}) | rules(model)


def rules(model: type[BaseModel]) -> Schema:
    """The rules of a model, as a part of its schema."""
    entries = [rule.schema() for rule in RULES.get(model, ())]
    return {_RULES: entries} if entries else {}


def field_schema(info: FieldInfo, *, defaults: bool) -> Schema:
    """The schema of a model's field, with its default and description."""
    schema = _typed(info.annotation, list(info.metadata), defaults=defaults)
    if isinstance(info.json_schema_extra, dict):
        schema |= info.json_schema_extra
    if defaults and not info.is_required():
        schema |= _default(info, schema)
    if info.description:
        own, type_ = text(info.description), schema.get("description", "")
        more = f"\n{type_}" if type_ not in {"", own} else ""
        schema["description"] = own + _bounds(schema) + more
    return schema


def _bounds(schema: Schema) -> str:
    """What ``kubectl explain`` does not show by itself: bounds, how a duration is written, the default."""
    low, high = schema.get("minimum"), schema.get("maximum")
    parts = []
    if schema.get("pattern") == DURATION:
        parts.append("as 500ms, 10s, 5m or 4h")
        parts += [rule["message"].removeprefix("must be ") for rule in schema.get(_RULES, ())]
    elif "type" in schema and (low, high) != (None, None):
        parts.append(
            f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
        )
    if "maxItems" in schema and schema.get("type") == "array":
        parts.append(f"at most {schema['maxItems']}")
    default = schema.get("default")
    if default is not None and not isinstance(default, dict):
        parts.append(f"default {str(default).lower() if isinstance(default, bool) else default}")
    return f" ({'; '.join(parts)})" if parts else ""


def _default(info: FieldInfo, schema: Schema) -> Schema:
    """What the API server writes where nothing is given; nothing for what is only empty."""
    value = info.get_default(call_default_factory=True, validated_data={})
    assert value is not PydanticUndefined
    if value is None or value in ((), {}):
        return {}
    type_ = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(type_)  # type: ignore[arg-type]
    # A default has to keep the rules on its own: defaults inside it are filled in only afterwards.
    ruled = _RULES in schema
    plain = adapter.dump_python(value, mode="json", by_alias=True, exclude_unset=not ruled, exclude_none=True)
    if plain == {} and not any("default" in inner for inner in schema.get("properties", {}).values()):
        return {}
    return {"default": int(plain) if isinstance(plain, float) and plain.is_integer() else plain}


def _typed(annotation: Any, metadata: list[Any], *, defaults: bool) -> Schema:  # noqa: PLR0911 - one case for each type
    """The schema of a type; ``metadata`` is what annotations around it said, the innermost first."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _typed(arguments[0], [*arguments[1:], *metadata], defaults=defaults)
    flat = list(_flat(metadata))
    if any(map(is_duration, flat)):
        return _duration(flat)
    written = next((each.json_schema for each in flat if isinstance(each, WithJsonSchema)), None)
    if written is not None:
        return dict(written)
    if origin in {Union, UnionType}:
        alternatives = [each for each in arguments if each is not NoneType]
        schemas = [_typed(each, metadata, defaults=defaults) for each in alternatives]
        return schemas[0] if len(schemas) == 1 else _union(schemas)
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin is tuple:
        items = _typed(arguments[0], [], defaults=defaults)
        return {"type": "array", "items": items} | _sizes(flat, "Items") | _list_type(flat)
    if origin is dict:
        if arguments[1] is Any:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        values = _typed(arguments[1], [], defaults=defaults)
        return {"type": "object", "additionalProperties": values} | _sizes(flat, "Properties")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return object_schema(annotation, defaults=defaults)
    return (
        {"type": _TYPES[annotation]} | _limits(flat) | (_sizes(flat, "Length") if annotation is str else {})
    )


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for each in metadata:
        yield from _flat(each.metadata) if isinstance(each, FieldInfo) else (each,)


def _duration(metadata: list[Any]) -> Schema:
    """Text, with bounds as rules that say what pydantic's errors say."""
    words = dict(BOUNDS.values())
    rules = [
        {
            "rule": f"duration(self) {sign} duration('{format_duration(bound)}')",
            "message": f"must be {words[key]} {format_duration(bound)}",
        }
        for each in metadata
        for key, sign in (("ge", ">="), ("le", "<="))
        if (bound := getattr(each, key, None)) is not None
    ]
    schema: Schema = {"type": "string", "pattern": DURATION, "maxLength": DURATION_LENGTH}
    return schema | ({_RULES: rules} if rules else {})


def _union(schemas: list[Schema]) -> Schema:
    """A value without a type. Bounds that nothing can keep bar the types that are not in ``schemas``."""
    given = {schema["type"]: schema for schema in schemas}
    union: Schema = {"x-kubernetes-preserve-unknown-fields": True}
    if "object" in given:
        union |= {key: value for key, value in _unruled(given["object"]).items() if key != "type"}
    else:
        union |= {"minProperties": 1, "maxProperties": 0}
    if "string" not in given:
        union |= {"pattern": _NO_TEXT}
    elif "enum" in given["string"]:
        union |= {"pattern": f"^({'|'.join(given['string']['enum'])})$"}
    if "number" not in given:
        union |= {"minimum": 1, "maximum": 0}
    return union | {"minItems": 1, "maxItems": 0}


def _unruled(schema: Schema) -> Schema:
    """Without rules, which are refused wherever CEL does not see."""
    bare = {key: value for key, value in schema.items() if key != _RULES}
    properties = schema.get("properties", {})
    return (
        bare | {"properties": {name: _unruled(inner) for name, inner in properties.items()}}
        if properties
        else bare
    )


def _limits(metadata: list[Any]) -> Schema:
    found: Schema = {}
    for each in metadata:
        for key, name in (("ge", "minimum"), ("le", "maximum"), ("pattern", "pattern")):
            if (value := getattr(each, key, None)) is not None:
                found[name] = value
    return found


def _sizes(metadata: list[Any], what: str) -> Schema:
    found: Schema = {}
    for each in metadata:
        if isinstance(each, annotated_types.MinLen):
            found[f"min{what}"] = each.min_length
        elif isinstance(each, annotated_types.MaxLen):
            found[f"max{what}"] = each.max_length
    return found


def _list_type(metadata: list[Any]) -> Schema:
    keys = next((each.keys for each in metadata if isinstance(each, KeyedBy)), None)
    if keys is None:
        return {"x-kubernetes-list-type": "atomic"}
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def text(docstring: str | None) -> str:
    """Paragraphs, each in one line."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring or "").replace("``", ""))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
