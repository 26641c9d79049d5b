"""CustomResourceDefinitions from the models: structural schema, defaults, CEL rules, printer columns.

The models are the only truth; ``make crds`` writes ``crds/*.yaml`` from them. A structural schema knows less
than pydantic: no references, no unions, one type per value. A union is therefore an untyped value that bars
what is not in it, and CEL does not see it; a type that validates itself brings its schema (``WithJsonSchema``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, BeforeValidator, TypeAdapter, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from voke_api.explain import BOUNDS
from voke_api.resources import GROUP, DeviceProfile, GatewayPool, Plant
from voke_api.resources.common import DURATION, DURATION_LENGTH, KeyedBy, format_duration, parse_duration
from voke_api.resources.observed import PlantObserved, PoolObserved
from voke_api.rules import RULES

Schema = dict[str, Any]

VERSION: Final = "v1alpha1"
CATEGORY: Final = "voke"
_TYPES: Final = {str: "string", int: "integer", float: "number", bool: "boolean"}
_RULES: Final = "x-kubernetes-validations"
_NO_TEXT: Final = r"[^\s\S] not text: a number or a boolean"
"""What no text matches, and yet says in an error what is wanted."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    """Only with ``-o wide``."""
    description: str = ""

    def schema(self) -> Schema:
        """As an entry of ``additionalPrinterColumns``."""
        entry: Schema = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return (
            entry
            | ({"description": self.description} if self.description else {})
            | ({"priority": 1} if self.wide else {})
        )


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource kind, as a cluster knows it."""

    model: type[BaseModel]
    plural: str
    short: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]
    """Fields that ``--field-selector`` takes."""
    status: type[BaseModel] | None = None


_AGE: Final = Column("AGE", ".metadata.creationTimestamp", "date")
_READY: Final = Column(
    "READY", '.status.conditions[?(@.type=="Ready")].status', description="Whether all is well"
)
_REASON: Final = Column(
    "REASON", '.status.conditions[?(@.type=="Ready")].reason', description="Why READY is what it is"
)

KINDS: Final = (
    Kind(
        Plant,
        "plants",
        "pl",
        (
            _READY,
            Column("DEVICES", ".status.devices", description="Devices read and declared"),
            Column("GATEWAY", ".status.gateway", description="StatefulSet whose pod runs the plant"),
            _REASON,
            _AGE,
            Column("PLANT ID", ".spec.plantId", wide=True, description="Voke's id of the plant"),
            Column("AUTH", ".spec.auth.method", wide=True, description="How it logs in at Voke"),
            Column(
                "HMAC KEY",
                '.status.credentials[?(@.name=="hmac")].keyId',
                wide=True,
                description="Id of the key that signs",
            ),
            Column(
                "CERTIFICATE UNTIL",
                '.status.credentials[?(@.name=="mtls")].notAfter',
                wide=True,
                description="When the client certificate expires",
            ),
        ),
        (".spec.plantId", ".spec.pool", ".spec.auth.method", ".spec.suspend"),
        PlantObserved,
    ),
    Kind(
        DeviceProfile,
        "deviceprofiles",
        "dp",
        (Column("TYPE", ".spec.type", description="Type of the devices that may use it"), _AGE),
        (".spec.type",),
    ),
    Kind(
        GatewayPool,
        "gatewaypools",
        "gwp",
        (
            _READY,
            Column("SHARDS", ".status.shards", "integer", description="Gateway pods"),
            Column("PLANTS", ".status.plants", "integer", description="Plants assigned to them"),
            _REASON,
            _AGE,
            Column("VOKE", ".spec.voke.host", wide=True, description="Host of the broker"),
            Column("WRITES", ".spec.writes", wide=True, description="Whether registers may be written"),
        ),
        (".spec.voke.host", ".spec.writes"),
        PoolObserved,
    ),
)


def definitions() -> dict[str, Schema]:
    """The CustomResourceDefinitions, by plural name."""
    return {kind.plural: _definition(kind) for kind in KINDS}


def _definition(kind: Kind) -> Schema:
    name = kind.model.__name__
    names = {
        "kind": name,
        "listKind": f"{name}List",
        "plural": kind.plural,
        "singular": name.lower(),
        "shortNames": [kind.short],
        "categories": [CATEGORY],
    }
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [column.schema() for column in kind.columns],
        "selectableFields": [{"jsonPath": path} for path in kind.selectable],
        "schema": {"openAPIV3Schema": _root(kind)},
    }
    if kind.status is not None:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _root(kind: Kind) -> Schema:
    spec = kind.model.model_fields["spec"]
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": _field(spec, defaults=True),
    }
    if kind.status is not None:
        properties["status"] = _object(kind.status, defaults=False)
    schema: Schema = {"type": "object", "description": _text(kind.model.__doc__), "properties": properties}
    return schema | {"required": ["spec"] if spec.is_required() else []} | _rules(kind.model)


# -- from types to schemas


def _object(model: type[BaseModel], *, defaults: bool) -> Schema:
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    schema: Schema = {
        "type": "object",
        "description": _text(model.__doc__),
        "properties": {name: _field(info, defaults=defaults) for name, info in fields.items()},
        "required": [name for name, info in fields.items() if info.is_required()],
    }
    extra = model.model_config.get("json_schema_extra")
    return schema | (extra if isinstance(extra, dict) else {}) | _rules(model)


def _rules(model: type[BaseModel]) -> Schema:
    rules = [rule.schema() for rule in RULES.get(model, ())]
    return {_RULES: rules} if rules else {}


def _field(info: FieldInfo, *, defaults: bool) -> Schema:
    schema = _typed(info.annotation, list(info.metadata), defaults=defaults)
    if isinstance(info.json_schema_extra, dict):
        schema |= info.json_schema_extra
    if defaults and not info.is_required():
        schema |= _default(info, schema)
    if info.description:
        own, type_ = _text(info.description), schema.get("description", "")
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
    if any(isinstance(each, BeforeValidator) and each.func is parse_duration for each in flat):
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
        return _object(annotation, defaults=defaults)
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


def _text(docstring: str | None) -> str:
    """Paragraphs, each in one line."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring or "").replace("``", ""))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
