"""The JSON in a signed text, a telemetry's body or a command's p: as Voke signs it and as others do. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, NamedTuple

from voke_cli.messages.renderings import Number, Style, number_text, render

_ENVELOPE: Final = ("ts", "n", "sig")
_CONTEXT: Final = 16
_WINDOW: Final = 40


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that the message's author did otherwise than Voke."""

    name: str
    """Stable, for scripts."""
    message: str
    """What was done and what is right."""


class Option(NamedTuple):
    """One way to make one ingredient of a signature."""

    mistakes: tuple[Mistake, ...]
    value: Any


def wrong(name: str, message: str, value: Any) -> Option:
    """An option that is one mistake."""
    return Option((Mistake(name, message),), value)


def plain_content(document: Mapping[str, Any], part: str) -> str:
    """What Voke signs; for an absent ``p`` one of the two forms that are taken."""
    value = document.get("p", {}) if part == "p" else _without(document, _ENVELOPE)
    return render(value, Style())


def contents(document: Mapping[str, Any], part: str, payload: str) -> Iterator[Option]:
    """All ways to choose and write the JSON that is signed: ``part`` is body or p."""
    yield Option((), plain_content(document, part))
    if part == "p" and "p" not in document:
        yield Option((), "")
        yield wrong("p-absent", "the absent p was signed as null; Voke's is {} or nothing", "null")
        yield wrong("p-absent", "the absent p was signed as undefined; Voke's is {} or nothing", "undefined")
    for choice, value in _choices(document, part):
        axes = [list(_single(value, axis)) for axis in _AXES]
        for combination in product(*axes):
            rare = sum(form in _RARE for _, form, _ in combination)
            if rare > (0 if choice else 1):
                continue
            text = render(value, _style({axis: form for axis, form, _ in combination if form is not None}))
            named = [name for _, form, name in combination if form is not None]
            yield Option((*choice, *(_mistake(name, value, text) for name in named)), text)
    whole = "the whole payload was signed; Voke signs it without ts, n and sig, and canonical"
    yield wrong("whole-payload", whole, payload)


def _choices(document: Mapping[str, Any], part: str) -> Iterator[tuple[tuple[Mistake, ...], Any]]:
    """What is signed as JSON: the right members, or others."""
    right = "Voke signs the message without ts, n and sig" if part == "body" else "Voke signs p"
    if part == "p":
        yield (), document.get("p", {})
        rest = _without(document, ("sig",))
        yield (Mistake("body-members", f"the whole command was signed as JSON; {right}"),), rest
        return
    yield (), _without(document, _ENVELOPE)
    for extra in (("ts",), ("n",), ("ts", "n"), ("sig",), ("ts", "n", "sig")):
        left = _without(document, [key for key in _ENVELOPE if key not in extra])
        words = Mistake("body-members", f"{', '.join(extra)} was in the body when it was signed; {right}")
        blank = {**left, "sig": ""} if "sig" in extra else left
        yield (words,), blank
        if "sig" in extra:
            yield (words,), {**left, "sig": None}
    if "timestamp" in document:
        words = Mistake("body-members", f"timestamp was left out of the signed body; {right}")
        yield (words,), _without(document, (*_ENVELOPE, "timestamp"))
    words = Mistake("body-members", f"only devices was signed; {right}")
    yield (words,), document.get("devices")


_AXES: Final[dict[str, dict[str, str]]] = {
    "numbers": {"wire": "number-form", "python": "number-form", "float": "number-form"},
    "order": {"wire": "key-order", "code-point": "key-order", "top-level": "key-order"},
    "blanks": {"spaced": "white-space", "indent-2": "white-space", "indent-4": "white-space"},
    "escapes": dict.fromkeys(("ascii", "ascii-upper", "go", "slash", "php"), "escapes"),
}
"""Forms other than canonical, and the mistake that each is."""
_RARE: Final = frozenset(
    {"float", "code-point", "top-level", "indent-2", "indent-4", "ascii-upper", "go", "slash", "php"}
)
"""Forms of which a text has at most one: together they are unlikely, and there would be very many texts."""
_SAID: Final = {
    "number-form": "numbers were signed in another form than JavaScript prints them",
    "key-order": "keys were not sorted at every level (by UTF-16 code unit) when the body was signed",
    "white-space": "the signed JSON had blanks in it; canonical JSON has none",
    "escapes": "characters were signed escaped; canonical JSON has them raw, as UTF-8",
}


def _single(value: Any, axis: str) -> Iterator[tuple[str, str | None, str]]:
    """The canonical form, and those others that make a difference for this value."""
    yield axis, None, ""
    seen = {render(value, Style())}
    for form, name in _AXES[axis].items():
        text = render(value, _style({axis: form}))
        if text not in seen:
            seen.add(text)
            yield axis, form, name


def _style(forms: dict[str, Any]) -> Style:
    return Style(**forms)


def _mistake(name: str, value: Any, signed: str) -> Mistake:
    return Mistake(name, f"{_SAID[name]}{_example(name, value, signed)}")


def _example(name: str, value: Any, signed: str) -> str:
    """What the eye needs to find the place."""
    if name == "number-form":
        for token in _tokens(value):
            right = number_text(token, "javascript")
            for form in ("wire", "python", "float"):
                wrong = number_text(token, form)
                if wrong != right and re.search(rf"(?<![\w.+-]){re.escape(wrong)}(?![\w.+-])", signed):
                    return f": {wrong} instead of {right}"
        return ""
    if name == "white-space":
        return ""
    canonical = render(value, Style())
    at = next((i for i, (a, b) in enumerate(zip(canonical, signed, strict=False)) if a != b), 0)
    start = max(0, at - _CONTEXT)
    return f": …{_window(signed, start)}… instead of …{_window(canonical, start)}…"


def _window(text: str, start: int) -> str:
    return text[start : start + _WINDOW].replace("\n", " ")


def _tokens(value: Any) -> Iterator[Number]:
    if isinstance(value, Number):
        yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _tokens(member)
    elif isinstance(value, list):
        for item in value:
            yield from _tokens(item)


def _without(document: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}
