"""The base of every resource type, and the small vocabularies they share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "voke.lovinka.com"
API_VERSION: Final = "voke.lovinka.com/v1alpha1"

_DURATION = re.compile(r"(\d{1,12})(ms|s|m|h)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Model(BaseModel):
    """Frozen, strict about unknown fields, camelCase outside and snake_case inside."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


def parse_duration(text: object) -> object:
    """Seconds of a duration such as ``500ms``, ``10s``, ``5m`` or ``4h``; floats pass through unchanged."""
    if isinstance(text, float):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("a duration is an integer with a unit: 500ms, 10s, 5m or 4h")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` turns back into ``seconds``."""
    milliseconds = round(seconds * 1000)
    for unit, factor in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,12}(ms|s|m|h)$"}),
]
"""Seconds as a float inside, ``<integer><ms|s|m|h>`` outside."""

ResourceName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=253)]
LocalName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
"""The name of a connection or an alarm inside a Plant."""
ExternalId = Annotated[str, Field(pattern=r"^[A-Z0-9_-]{1,32}$")]
"""Voke's id of a sub-device (protocol §6.1)."""
FieldName = Annotated[str, Field(min_length=1, max_length=64)]
"""Key of a value in a snapshot: the ``signal.field`` of Voke's device template (protocol §6.1)."""
Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]

DeviceType = Literal["CABINET", "METER", "INVERTER", "BATTERY"]
Table = Literal["holding", "input", "coil", "discrete"]
PointType = Literal[
    "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "string"
]
Order = Literal["big", "little"]
WritesMode = Literal["Enabled", "Disabled"]
Severity = Literal["WARNING", "ERROR", "CRITICAL"]
AuthMethod = Literal["MTLS", "JWT", "PASSWORD"]


class Metadata(BaseModel):
    """The part of Kubernetes' object metadata that matters here; the rest is kept and ignored."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: ResourceName
    namespace: ResourceName = "default"
    uid: str | None = None
    generation: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class SecretRef(Model):
    """A Secret in the resource's own namespace."""

    name: ResourceName
    """Name of the Secret. It must carry the label voke.lovinka.com/allow: "true"."""


class SecretKeyRef(SecretRef):
    """One key of a Secret in the resource's own namespace."""

    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key inside the Secret."""


Json = dict[str, Any]
