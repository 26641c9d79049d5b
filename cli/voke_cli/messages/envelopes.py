"""The rules of Voke's envelopes (protocol §6): everything that a message of one kind breaks. Pure.

What Voke's pages state is an error; what they leave open and nobody should try is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Final, Literal, get_args

from voke_api.resources.common import EXTERNAL_ID, DeviceType
from voke_gateway.protocol.canonical import canonical

MessageKind = Literal["telemetry", "command", "ack", "alarm"]
KINDS: Final[tuple[MessageKind, ...]] = get_args(MessageKind)

_DEVICE_TYPES: Final = get_args(DeviceType)
_EXTERNAL_ID: Final = re.compile(EXTERNAL_ID)
_NONCE: Final = re.compile(r"[0-9a-fA-F]{8,}")
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
_STATES: Final = ("RECEIVED", "IN_PROGRESS", "COMPLETED", "FAILED")
_EVENTS: Final = ("RAISE", "RESOLVE")
_SEVERITIES: Final = {1: "WARNING", 2: "ERROR", 3: "CRITICAL"}
_UINT32: Final = 2**32 - 1
_EXACT: Final = 2**53
_MS: Final = (10**12, 10**13)
_SECONDS: Final = (10**9, 10**10)
_FIELD_LENGTH: Final = 64
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule that a message breaks."""

    message: str
    """What is wrong and what would be right."""
    certain: bool = True
    """False: Voke's pages do not say what becomes of such a message."""


def kind_of(document: Any) -> MessageKind | None:
    """What the message is, judged by its keys; None: nothing that Voke knows."""
    keys = set(document) if isinstance(document, dict) else set()
    if "devices" in keys:
        return "telemetry"
    if keys & {"alarmId", "ev", "sev"}:
        return "alarm"
    if "st" in keys:
        return "ack"
    if "cmdId" in keys:
        return "command"
    return None


def faults(kind: MessageKind, document: Mapping[str, Any]) -> list[Fault]:
    """All rules that ``document``, a parsed message of that kind, breaks."""
    found = list(_head(kind, document))
    found += _RULES[kind](document)
    if not _finite(document):
        found.append(Fault("a number is beyond the range of a double; JSON.parse makes it infinite"))
    return found


def is_unix_ms(value: object) -> bool:
    """Whether ``value`` can be a ``ts``: an integer of 13 digits."""
    return _whole(value) is not None and _MS[0] <= int(value) < _MS[1]  # type: ignore[call-overload]


def looks_like_seconds(value: object) -> bool:
    """Whether ``value`` is a time of these decades in seconds."""
    return _is_number(value) and _SECONDS[0] <= float(value) < _SECONDS[1]  # type: ignore[arg-type]


def shown(value: Any) -> str:
    """A value for a message, cut off where it stops helping."""
    text = canonical(value).decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _head(kind: MessageKind, document: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _ts(document)
    sig = document.get("sig")
    if "sig" in document and not isinstance(sig, str):
        yield Fault(f"sig must be a string, not {shown(sig)}")
    if kind == "command":
        return
    if "n" not in document:
        old = " (it has nonce, the key of an older version)" if "nonce" in document else ""
        yield Fault(f"n, the nonce, is missing{old}: 16 hex digits, new for each message")
    elif not isinstance(document["n"], str) or not _NONCE.fullmatch(document["n"]):
        yield Fault(f"n must be a string of at least 8 hex digits, not {shown(document['n'])}")


def _ts(document: Mapping[str, Any]) -> Iterator[Fault]:
    ts = document.get("ts")
    wanted = "Unix milliseconds, a number of 13 digits"
    if "ts" not in document:
        yield Fault(f"ts is missing: {wanted}")
    elif isinstance(ts, str):
        yield Fault(f"ts must be a number, not the string {shown(ts)}: {wanted}")
    elif looks_like_seconds(ts):
        yield Fault(f"ts is in seconds ({shown(ts)}); Voke takes {wanted}")
    elif not is_unix_ms(ts):
        yield Fault(f"ts must be {wanted}, not {shown(ts)}")


def _keys(
    document: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...], at: str = ""
) -> Iterator[Fault]:
    for key in required:
        if key not in document:
            yield Fault(f"{at}{key} is missing")
    known = {*required, *optional, "ts", "n", "sig"} if not at else {*required, *optional}
    for key in document:
        if key not in known:
            message = f"{at}{key} is not a key that Voke's pages know; take it out"
            yield Fault(message, certain=False)


def _telemetry(document: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _keys(document, ("devices",), ("timestamp",))
    if "timestamp" in document and not _is_time(document["timestamp"]):
        yield Fault(
            "timestamp must be UTC in ISO 8601 (2026-11-22T09:30:00.250Z) or Unix milliseconds, not "
            f"{shown(document['timestamp'])}"
        )
    devices = document.get("devices", [])
    if not isinstance(devices, list):
        yield Fault(f"devices must be an array, not {shown(devices)}")
        return
    if not devices and "devices" in document:
        yield Fault("devices is empty; without a device there is no need for a message", certain=False)
    seen: set[Any] = set()
    for index, device in enumerate(devices):
        yield from _device(device, f"devices[{index}]")
        name = device.get("externalId") if isinstance(device, dict) else None
        if isinstance(name, str):
            if name in seen:
                yield Fault(f"devices has two entries with the externalId {name}", certain=False)
            seen.add(name)


def _device(device: Any, at: str) -> Iterator[Fault]:
    if not isinstance(device, dict):
        yield Fault(f"{at} must be an object, not {shown(device)}")
        return
    yield from _keys(device, ("externalId", "type"), ("raw", "values"), f"{at}.")
    name, kind = device.get("externalId"), device.get("type")
    if "externalId" in device and not (isinstance(name, str) and _EXTERNAL_ID.fullmatch(name)):
        yield Fault(f"{at}.externalId must be 1 to 32 of A–Z, 0–9, _ and -, not {shown(name)}")
    if "type" in device and kind not in _DEVICE_TYPES:
        yield Fault(f"{at}.type must be one of {', '.join(_DEVICE_TYPES)}, not {shown(kind)}")
    if "raw" in device and "values" in device:
        yield Fault(f"{at} has both raw and values; a CABINET has raw, the others have values")
    elif kind == "CABINET" and "raw" not in device:
        yield Fault(f"{at}: a CABINET needs raw, its mask")
    elif kind != "CABINET" and "values" not in device:
        yield Fault(f"{at}: {'an' if kind == 'INVERTER' else 'a'} {kind or 'device'} needs values")
    if "raw" in device:
        raw = _whole(device["raw"])
        if raw is None or not 0 <= raw <= _UINT32:
            yield Fault(f"{at}.raw must be an unsigned 32-bit number, not {shown(device['raw'])}")
    if "values" in device:
        yield from _values(device["values"], f"{at}.values")


def _values(values: Any, at: str) -> Iterator[Fault]:
    if not isinstance(values, dict):
        yield Fault(f"{at} must be an object, not {shown(values)}")
        return
    if not values:
        yield Fault(f"{at} is empty; leave out a device without values", certain=False)
    for field, value in values.items():
        if not 1 <= len(field) <= _FIELD_LENGTH:
            yield Fault(f"{at}: the key {shown(field)} must have 1 to {_FIELD_LENGTH} characters")
        if isinstance(value, dict | list):
            yield Fault(f"{at}.{field} must be a number, string, boolean or null, not {shown(value)}")


def _ack(document: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _keys(document, ("cmdId", "st"), ("err", "msg"))
    yield from _word(document, "cmdId")
    yield from _one_of(document, "st", _STATES)
    yield from _text(document, "err", "msg")


def _alarm(document: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _keys(document, ("ev", "alarmId", "code", "sev"), ("msg", "detail"))
    yield from _word(document, "alarmId")
    yield from _one_of(document, "ev", _EVENTS)
    if "code" in document and _whole(document["code"]) is None:
        yield Fault(f"code must be an integer, not {shown(document['code'])}")
    sev = document.get("sev")
    if "sev" in document and _whole(sev) not in _SEVERITIES:
        numbers = ", ".join(f"{number} {name}" for number, name in _SEVERITIES.items())
        yield Fault(f"sev must be a number: {numbers}; not {shown(sev)}")
    yield from _text(document, "msg")
    if "detail" in document and not isinstance(document["detail"], dict):
        yield Fault(f"detail must be an object, not {shown(document['detail'])}")


def _command(document: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _keys(document, ("cmdId", "type"), ("p",))
    yield from _word(document, "cmdId")
    yield from _word(document, "type")
    if "p" in document and not isinstance(document["p"], dict):
        yield Fault(f"p must be an object, not {shown(document['p'])}")


def _word(document: Mapping[str, Any], key: str) -> Iterator[Fault]:
    value = document.get(key)
    if key in document and not (isinstance(value, str) and value and "|" not in value):
        yield Fault(f"{key} must be a string that is not empty and has no | in it, not {shown(value)}")


def _text(document: Mapping[str, Any], *keys: str) -> Iterator[Fault]:
    for key in keys:
        if key in document and not isinstance(document[key], str):
            yield Fault(f"{key} must be a string, not {shown(document[key])}")


def _one_of(document: Mapping[str, Any], key: str, words: tuple[str, ...]) -> Iterator[Fault]:
    if key in document and document[key] not in words:
        yield Fault(f"{key} must be one of {', '.join(words)}, not {shown(document[key])}")


_RULES: Final[dict[MessageKind, Callable[[Mapping[str, Any]], Iterator[Fault]]]] = {
    "telemetry": _telemetry,
    "command": _command,
    "ack": _ack,
    "alarm": _alarm,
}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> int | None:
    """The value as an int, if JavaScript calls it a safe integer."""
    if _is_number(value) and abs(value) < _EXACT and value == int(value):
        return int(value)
    return None


def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return is_unix_ms(value)
    if not _ISO.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list) else True
