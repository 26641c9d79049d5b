"""The base of every resource type, and the small vocabularies they share.

What a structural schema can say is in the fields; rules across fields are ``violations`` of a
:class:`Ruled` model, each with the class of who refuses it (:class:`voke_api.problems.ProblemClass`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from voke_api.problems import Path, ProblemClass

GROUP = "voke.lovinka.com"
API_VERSION: Final = "voke.lovinka.com/v1alpha1"

DURATION: Final = r"^(\d{1,9}m?s|\d{1,8}m|\d{1,6}h)$"
DURATION_LENGTH: Final = 11
_DURATION = re.compile(r"(\d+)([a-z]+)")
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
        defer_build=True,
        allow_inf_nan=False,
    )


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that an object breaks although each of its fields is what its schema says."""

    path: Path
    """From the object, in camelCase; may name a field that is not there but should be."""
    message: str
    """What would be right."""
    value: Any = None
    problem_class: ProblemClass = ProblemClass.CEL


class Ruled(Model):
    """A model with rules across its fields; all that are broken are reported, not only the first."""

    def violations(self) -> Iterator[Violation]:
        """The rules that this object breaks."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _obey(self) -> Self:
        errors = [
            InitErrorDetails(
                type=PydanticCustomError(RULE_ERROR[violation.problem_class], _literal(violation.message)),
                loc=violation.path,
                input=violation.value,
            )
            for violation in self.violations()
        ]
        if errors:
            raise ValidationError.from_exception_data(type(self).__name__, errors)
        return self


RULE_ERROR: Final = {
    ProblemClass.SCHEMA: "voke_schema",
    ProblemClass.CEL: "voke_cel",
    ProblemClass.SEMANTIC: "voke_semantic",
}
"""Error types of broken rules, by class."""


def _literal(message: str) -> Any:
    """The type stubs want a literal string; without a context nothing in it is substituted."""
    return message


@dataclass(frozen=True, slots=True)
class KeyedBy:
    """Marks a list whose entries differ in these keys, as written in files (``x-kubernetes-list-type: map``)."""

    keys: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The list's own schema, and then the check."""
        return core_schema.no_info_after_validator_function(self._differ, handler(source))

    def _differ(self, entries: tuple[BaseModel, ...]) -> tuple[BaseModel, ...]:
        if not entries:
            return entries
        names = {field.alias or name: name for name, field in type(entries[0]).model_fields.items()}
        attributes = [names[key] for key in self.keys]
        seen = set()
        errors = []
        for index, entry in enumerate(entries):
            values = tuple(getattr(entry, attribute) for attribute in attributes)
            if values in seen:
                errors.append(self._twice(index, values))
            seen.add(values)
        if errors:
            raise ValidationError.from_exception_data("list", errors)
        return entries

    def _twice(self, index: int, values: tuple[Any, ...]) -> InitErrorDetails:
        given = ", ".join(f"{key} {value}" for key, value in zip(self.keys, values, strict=True))
        message = f"{given} is used more than once in this list; each entry needs its own"
        return InitErrorDetails(
            type=PydanticCustomError(RULE_ERROR[ProblemClass.SCHEMA], _literal(message)),
            loc=(index, self.keys[0]) if len(self.keys) == 1 else (index,),
            input=values[0],
        )


def at_most(low: float | None, high: float | None) -> bool:
    """Whether two bounds are in order, if both are given."""
    return low is None or high is None or low <= high


def name_too_long(kind: str, name: str, longest: int) -> Iterator[Violation]:
    """One violation if an object's name is longer than what is named after it allows."""
    if len(name) > longest:
        message = f"the name of a {kind} has at most {longest} characters, this one has {len(name)}"
        yield Violation(("metadata", "name"), message, name)


def listed(names: Iterable[str], *, at_most: int = 10) -> str:
    """Names for a message, cut off where a list stops helping."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:at_most]) + (" …" if len(names) > at_most else "") if names else "none"


def counted(number: int, noun: str, verb: str = "") -> str:
    """A number of things, for people: ``1 plant``, ``2 plants``; with ``verb`` (run) ``1 plant runs``, ``2 plants run``."""
    noun = noun if number == 1 else f"{noun}s"
    ends = {"do": "does", "are": "is"}.get(verb, f"{verb}s") if number == 1 else verb
    return f"{number} {noun} {ends}".rstrip() if verb else f"{number} {noun}"


def parse_duration(text: object) -> float:
    """Seconds of a duration such as ``500ms``, ``10s``, ``5m`` or ``4h``.

    Raises:
        ValueError: anything else.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) and re.fullmatch(DURATION, text) else None
    if match is None:
        raise ValueError("a duration is an integer with a unit: 500ms, 10s, 5m or 4h")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def _duration(value: object, info: ValidationInfo) -> object:
    """Seconds are for code only; files hold text."""
    return value if isinstance(value, float) and info.mode == "python" else parse_duration(value)


def is_duration(annotation: object) -> bool:
    """Whether this, found in a type's annotation, makes the type a :data:`Duration`."""
    return isinstance(annotation, BeforeValidator) and annotation.func is _duration


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` turns back into ``seconds``."""
    milliseconds = round(seconds * 1000)
    for unit, factor in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms"


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
]
"""Seconds as a float inside, ``<integer><ms|s|m|h>`` outside."""

SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
EXTERNAL_ID: Final = r"^[A-Z0-9_-]{1,32}$"
COMMAND_TYPE: Final = r"^[A-Z0-9_]+$"
HOST: Final = (
    r"^([0-9A-Za-z_-]{1,63}(\.[0-9A-Za-z_-]{1,63})*\.?"
    r"|[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f.]{0,15}){2,8}(%[0-9A-Za-z._-]{1,32})?)$"
)
UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

ResourceName = Annotated[str, Field(pattern=SUBDOMAIN, min_length=1, max_length=253)]
"""The name of a Kubernetes object."""
LocalName = Annotated[str, Field(pattern=LABEL, min_length=1, max_length=63)]
"""The name of a connection or an alarm inside a Plant."""
ExternalId = Annotated[str, Field(pattern=EXTERNAL_ID)]
"""Voke's id of a sub-device (protocol §6.1)."""
FieldName = Annotated[str, Field(min_length=1, max_length=64)]
"""Key of a value in a snapshot: the ``signal.field`` of Voke's device template (protocol §6.1)."""
Host = Annotated[str, Field(pattern=HOST, min_length=1, max_length=253)]
"""A host name (an international one in its xn-- form), an IPv4 or an IPv6 address."""
Uuid = Annotated[str, Field(pattern=UUID)]


_LARGEST: Final = sys.float_info.max


def _scalar(value: object) -> object:
    if isinstance(value, bool | int | float) and -_LARGEST <= value <= _LARGEST:
        return value
    raise PydanticCustomError("scalar_type", "must be a number or true or false")


def _text_or_scalar(value: object) -> object:
    return value if isinstance(value, str) else _scalar(value)


Scalar = Annotated[float | bool, BeforeValidator(_scalar)]
"""A value in engineering units, or a boolean."""
TextOrScalar = Annotated[float | bool | str, BeforeValidator(_text_or_scalar)]

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
