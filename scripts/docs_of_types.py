"""The types of the resources in words: docs/reference.md."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from voke_api.resources import common
from voke_api.resources.common import Metadata, format_duration, is_duration
from voke_api.resources.plant import Plant
from voke_api.resources.pool import GatewayPool
from voke_api.resources.profile import DeviceProfile

KINDS = (Plant, DeviceProfile, GatewayPool)
PATTERNS = {
    common.UUID: "a UUID in lower case",
    common.EXTERNAL_ID: "1 to 32 of `A–Z 0–9 _ -`",
    common.COMMAND_TYPE: "`A–Z 0–9 _`",
    common.LABEL: "`a–z 0–9 -`, beginning and ending with a letter or digit",
    common.SUBDOMAIN: "`a–z 0–9 - .`, beginning and ending with a letter or digit",
    common.HOST: "a host name or address, without port or scheme",
    r"^[^+#\x00]{1,64}$": "1 to 64 characters, no `+` and `#`",
}


def reference() -> str:
    """docs/reference.md."""
    parts = [
        "# Every field of Plant, DeviceProfile and GatewayPool\n",
        (
            "`apiVersion` is `voke.lovinka.com/v1alpha1`; unknown fields are refused. Durations are an integer with a unit: "
            "`500ms`, `10s`, `5m`, `4h`. A field without a default is **required**; – means that leaving it out has a "
            "meaning of its own, which the text says. `voke check FILE` says what a file breaks, with line and remedy.\n"
        ),
        (
            "In a cluster the API server refuses the same mistakes, with two exceptions that become conditions of the Plant: "
            "names that lead nowhere, such as a command's point or a missing profile; and, inside `readBack`, unknown fields "
            "and times out of bounds. `kubectl explain plant.spec` shows this page's texts.\n"
        ),
    ]
    described: list[type[BaseModel]] = []
    for kind in KINDS:
        for model in _models(kind):
            if model not in described:
                described.append(model)
                parts.append(_model(model, top=model is kind))
    return "\n".join(parts)


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and those in its fields, each before those inside it."""
    yield model
    for info in model.model_fields.values():
        for inner in _inside(info.annotation):
            yield from _models(inner)


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation is not Metadata:
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _inside(argument)


def _model(model: type[BaseModel], *, top: bool) -> str:
    rows = []
    for name, info in model.model_fields.items():
        if name in {"api_version", "kind"}:
            continue
        type_, limits = _typed(info.annotation, list(info.metadata))
        text = (info.description or _known(name)).replace("\n", " ").replace("|", "\\|")
        given = info.alias or name
        rows.append(f"| `{given}` | {type_} | {_default(info)} | {'; '.join(limits)} | {text} |")
    said = inspect.cleandoc(model.__doc__ or "")
    rules = model.__dict__.get("violations")
    together = f"\nRules across fields: {inspect.getdoc(rules)}\n" if rules is not None else ""
    return (
        f"{'##' if top else '###'} {model.__name__}\n\n{said}\n{together}\n"
        "| Field | Type | Default | Limits | Meaning |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _known(name: str) -> str:
    return {
        "metadata": "Kubernetes' object metadata: `name` (and, in a cluster, `namespace`, `labels`, `annotations`).",
        "spec": "What is wanted.",
    }[name]


def _typed(annotation: Any, metadata: list[Any]) -> tuple[str, list[str]]:  # noqa: PLR0911 - one case for each type
    """A type in words, and its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _typed(arguments[0], [*arguments[1:], *metadata])
    flat = list(_flat(metadata))
    checks = {each.func for each in flat if isinstance(each, BeforeValidator)}
    if any(map(is_duration, flat)):
        return "duration", _limits(flat, format_duration)
    if checks & {common._scalar, common._text_or_scalar}:  # noqa: SLF001 - the types are told apart by them
        return ("text, number or boolean" if common._text_or_scalar in checks else "number or boolean"), []  # noqa: SLF001
    if origin in {Union, UnionType}:
        inner = [_typed(each, metadata) for each in arguments if each is not NoneType]
        words = " or ".join(dict.fromkeys(word for word, _ in inner))
        return words, [limit for _, limits in inner for limit in limits]
    if origin is Literal:
        return " \\| ".join(f"`{each}`" for each in arguments), []
    if origin is tuple:
        entry, limits = _typed(arguments[0], [])
        each = [f"each {limit}" for limit in limits]
        keys = [f"each {', '.join(mark.keys)} once" for mark in flat if isinstance(mark, common.KeyedBy)]
        return f"list of {entry}", [*_sizes(flat, "entries"), *each, *keys]
    if origin is dict and arguments[1] is not Any:
        key, limits = _typed(arguments[0], [])
        value, _ = _typed(arguments[1], [])
        return f"map of {key} to {value}", [*_sizes(flat, "entries"), *(f"keys {limit}" for limit in limits)]
    if origin is dict:
        return "object", []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        link = annotation.__name__
        return (link if annotation is Metadata else f"[{link}](#{link.lower()})"), []
    words = {str: "text", int: "integer", float: "number", bool: "boolean"}[annotation]
    return words, _limits(
        flat, lambda value: f"{value:,}" if isinstance(value, int) else f"{value:g}", annotation
    )


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for each in metadata:
        yield from _flat(each.metadata) if isinstance(each, FieldInfo) else (each,)


def _limits(metadata: list[Any], shown: Callable[[Any], str], annotation: Any = None) -> list[str]:
    low = next((each.ge for each in metadata if isinstance(each, annotated_types.Ge)), None)
    high = next((each.le for each in metadata if isinstance(each, annotated_types.Le)), None)
    below = next((each.lt for each in metadata if isinstance(each, annotated_types.Lt)), None)
    found = []
    if below is not None:
        high = int(str(below)) - 1
    if low is not None and high is not None:
        found.append(f"{shown(low)} – {shown(high)}")
    elif low is not None:
        found.append(f"at least {shown(low)}")
    elif high is not None:
        found.append(f"at most {shown(high)}")
    for each in metadata:
        pattern = getattr(each, "pattern", None)
        if pattern is not None:
            found.append(PATTERNS[str(pattern)])
    return found + (_sizes(metadata, "characters") if annotation is str else [])


def _sizes(metadata: list[Any], what: str) -> list[str]:
    low = next((each.min_length for each in metadata if isinstance(each, annotated_types.MinLen)), None)
    high = next((each.max_length for each in metadata if isinstance(each, annotated_types.MaxLen)), None)
    if low is not None and high is not None:
        return [f"{low} – {high} {what}"]
    if high is not None:
        return [f"at most {high} {what}"]
    return [f"at least {low} {what}"] if low is not None else []


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "**required**"
    if value is None or value in ((), {}):
        return "–"
    if isinstance(value, BaseModel):
        return (
            "its defaults"
            if not value.model_fields_set
            else f"`{value.model_dump(exclude_unset=True)}`".replace("'", "")
        )
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and any(is_duration(each) for each in _flat(list(info.metadata))):
        return f"`{format_duration(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
