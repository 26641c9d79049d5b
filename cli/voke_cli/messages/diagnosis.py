"""What Voke does with a message, and why: every check that it makes, as findings. Pure.

Sockets, clocks and files are the caller's. No finding holds a key or anything that was made from one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from voke_api.resources.common import UUID, listed
from voke_cli.messages.captured import Captured
from voke_cli.messages.envelopes import KINDS, MessageKind, faults, is_unix_ms, kind_of, shown
from voke_cli.messages.mistakes import Signed, explain, signed_text
from voke_cli.messages.renderings import parse_wire
from voke_gateway.protocol.canonical import NotJsonError, canonical, parse
from voke_gateway.protocol.envelope import MAX_BYTES
from voke_gateway.protocol.sign import Signer, signatures_equal

_TOPIC: Final = re.compile(r"cpi/([^/]*)/(.+)")
USUAL_TOPICS: Final[Mapping[MessageKind, str]] = MappingProxyType({kind: kind for kind in KINDS})
"""Topic suffixes, unless a pool has others for commands and acknowledgements."""
_ELSEWHERE: Final[Mapping[str, MessageKind]] = {
    "command": "command",
    "commands": "command",
    "ack": "ack",
    "commands/ack": "ack",
    "alarms": "alarm",
    "data": "telemetry",
}
"""Suffixes that are right for another pool, or in other clouds."""
_OPEN: Final = ("info", "status", "config")
"""Topics whose content no page of Voke's describes (protocol §2)."""
_TEXT_SHOWN: Final = 400
_DEEPEST: Final = 64
"""Levels of nesting; no message has a tenth of it."""
_WORTH_EXPLAINING: Final = 4 * MAX_BYTES
"""Bytes; larger payloads are refused anyway, and each text that is tried would take long."""
_NOT_JSON: Final = (
    (r"\bNaN\b|\bInfinity\b", "NaN and Infinity are not JSON; leave such a value out"),
    (r"'\w+'\s*:", "JSON has double quotes; this looks like a Python dict that was printed"),
    (
        r"\b(True|False|None)\b",
        "JSON has true, false and null; this looks like a Python dict that was printed",
    ),
    (r",\s*[}\]]", "JSON has no comma before } or ]"),
)


class Outcome(StrEnum):
    """What a check came to."""

    OK = "ok"
    REFUSED = "refused"
    WARNING = "warning"
    """Taken, or nobody knows."""
    UNCHECKED = "unchecked"
    """Could not be checked; another finding says why."""


class Check(StrEnum):
    """What is checked, in order."""

    TOPIC = "topic"
    SIZE = "size"
    JSON = "json"
    ENVELOPE = "envelope"
    SIGNATURE = "signature"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    check: Check
    outcome: Outcome
    message: str
    mistakes: tuple[str, ...] = ()
    """For a signature: stable names of what its author did otherwise than Voke."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found about one message."""

    topic: str | None
    plant_id: str | None
    kind: MessageKind | None
    findings: tuple[Finding, ...]

    @property
    def accepted(self) -> bool:
        """Whether nothing speaks against it, and everything could be checked."""
        return all(finding.outcome in {Outcome.OK, Outcome.WARNING} for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the message is held against."""

    key: bytes = field(repr=False)
    plant_id: str | None = None
    """None: the topic's."""
    other_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Keys of other plants by name: one of them may have been used by mistake."""
    at: float
    """When the message arrived, in seconds since the epoch."""
    window: float
    """How far ``ts`` may be from that, in seconds."""
    command_window: float
    """The same for a command: the Plant's commandMaxAge."""
    topics: Mapping[MessageKind, str] = field(default_factory=lambda: USUAL_TOPICS)
    """Topic suffixes by what belongs there."""


def diagnose(message: Captured, known: Known, *, used: Iterable[str] = ()) -> Diagnosis:
    """Check one message; ``used`` are nonces of the plant's earlier ones."""
    findings: list[Finding] = []
    topic_id = plant_id_of(message)
    plant_id = known.plant_id or topic_id
    document, found = _json(message.payload)
    own_kind = kind_of(document)
    kind = own_kind or _kind_of_topic(message.topic, known.topics)
    findings += _topic(message.topic, known, own_kind)
    findings.append(_size(message.payload))
    findings += found
    if document is None or kind is None or plant_id is None:
        said = (
            "another check says why" if document is None else "it is not known whose or what message this is"
        )
        unchecked = (Check.ENVELOPE, Check.SIGNATURE, Check.REPLAY)
        findings += [Finding(check, Outcome.UNCHECKED, f"not checked: {said}") for check in unchecked]
        return Diagnosis(message.topic, plant_id, kind, tuple(findings))
    findings += _envelope(kind, document)
    if isinstance(document.get("sig"), str):
        signed = Signed(
            kind,
            plant_id,
            parse_wire(message.payload.decode()),
            message.payload.decode(),
            known.key,
            other_keys=known.other_keys,
            other_ids=() if topic_id in {None, plant_id} else (str(topic_id),),
        )
        findings.append(_signature(signed, document))
    else:
        findings.append(_no_signature(kind, document))
    findings += _replay(kind, document, known, frozenset(used))
    return Diagnosis(message.topic, plant_id, kind, tuple(findings))


def plant_id_of(message: Captured) -> str | None:
    """The plant id in the message's topic."""
    match = _TOPIC.fullmatch(message.topic or "")
    return match[1] if match else None


def diagnose_all(messages: Sequence[Captured], known: Known) -> list[Diagnosis]:
    """Check messages in the order they were captured: a nonce must not come twice."""
    used: dict[str | None, list[str]] = {}
    found = []
    for message in messages:
        plant = known.plant_id or plant_id_of(message)
        found.append(diagnose(message, known, used=used.get(plant, ())))
        nonce = _nonce(message.payload)
        if nonce is not None:
            used.setdefault(plant, []).append(nonce)
    return found


def _ok(check: Check, message: str) -> Finding:
    return Finding(check, Outcome.OK, message)


def _refused(check: Check, message: str) -> Finding:
    return Finding(check, Outcome.REFUSED, message)


def _kind_of_topic(topic: str | None, topics: Mapping[MessageKind, str]) -> MessageKind | None:
    match = _TOPIC.fullmatch(topic or "")
    if match is None:
        return None
    return next((kind for kind, suffix in topics.items() if suffix == match[2]), _ELSEWHERE.get(match[2]))


def _topic(topic: str | None, known: Known, kind: MessageKind | None) -> Iterator[Finding]:
    if topic is None:
        yield Finding(Check.TOPIC, Outcome.WARNING, "captured without a topic; mosquitto_sub -v shows it")
        return
    match = _TOPIC.fullmatch(topic)
    wrong = []
    if match is None:
        wrong.append(f"{topic} is not a topic of Voke's: cpi/PLANT-ID/{listed(known.topics.values())}")
    else:
        owner, suffix = match[1], match[2]
        if re.fullmatch(UUID, owner) is None:
            small = owner.lower()
            hint = f", {small}" if re.fullmatch(UUID, small) else ""
            wrong.append(f"the topic must hold the plant's UUID in lower case{hint}, not {owner}")
        elif known.plant_id is not None and owner != known.plant_id:
            wrong.append(f"the topic is that of plant {owner}, and this is about plant {known.plant_id}")
        wrong += _suffix(owner, suffix, known.topics, kind)
    yield from (_refused(Check.TOPIC, each) for each in wrong)
    if not wrong:
        yield _ok(Check.TOPIC, f"{topic} fits")


def _suffix(
    owner: str, suffix: str, topics: Mapping[MessageKind, str], kind: MessageKind | None
) -> Iterator[str]:
    """What is wrong with the end of a topic."""
    if suffix in topics.values():
        if kind is not None and suffix != topics[kind]:
            article = "an" if kind in {"ack", "alarm"} else "a" if kind == "command" else "a message of"
            yield f"the content is {article} {kind}, which belongs to cpi/{owner}/{topics[kind]}"
    elif suffix in _ELSEWHERE:
        meant = _ELSEWHERE[suffix]
        pool = "; a pool with another topic is named with --files" if meant in {"command", "ack"} else ""
        yield f"the topic ends with {topics[meant]} at Voke, not with {suffix}{pool}"
    elif suffix in _OPEN:
        yield f"no page of Voke's says what belongs into {suffix}, so it cannot be checked"
    else:
        yield f"{suffix} is not one of {', '.join(topics.values())}"


def _size(payload: bytes) -> Finding:
    if len(payload) > MAX_BYTES:
        return _refused(
            Check.SIZE,
            f"{len(payload)} bytes; the broker drops what is larger than {MAX_BYTES} (PUBACK 0x95): send the "
            "devices in several messages",
        )
    return _ok(Check.SIZE, f"{len(payload)} of {MAX_BYTES} bytes")


def _json(payload: bytes) -> tuple[dict[str, Any] | None, list[Finding]]:
    try:
        document = parse(payload)
    except NotJsonError as error:
        hints = [hint for pattern, hint in _NOT_JSON if re.search(pattern, payload.decode(errors="replace"))]
        return None, [_refused(Check.JSON, "; ".join([f"not JSON: {error}", *hints[:1]]))]
    if not isinstance(document, dict):
        return None, [_refused(Check.JSON, f"a message is a JSON object, not {shown(document)}")]
    if _depth(document) > _DEEPEST:
        return None, [_refused(Check.JSON, f"nested deeper than {_DEEPEST} levels, as no message is")]
    return document, [_ok(Check.JSON, "a JSON object")]


def _depth(value: Any) -> int:
    """Objects and arrays inside each other; without recursion, for there may be hundreds."""
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, dict | list) and each]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def _envelope(kind: MessageKind, document: Mapping[str, Any]) -> Iterator[Finding]:
    found = faults(kind, document)
    for fault in found:
        outcome = Outcome.REFUSED if fault.certain else Outcome.WARNING
        yield Finding(Check.ENVELOPE, outcome, fault.message)
    if not found:
        yield _ok(Check.ENVELOPE, f"{kind} as Voke's pages want it")


def _no_signature(kind: MessageKind, document: Mapping[str, Any]) -> Finding:
    if "sig" in document:
        return _refused(Check.SIGNATURE, "sig is not a string, so it fits nothing")
    if kind == "command":
        return _refused(Check.SIGNATURE, "sig is missing; a plant ignores a command without one")
    return _refused(
        Check.SIGNATURE, "sig is missing; Voke's pages disagree about who may leave it out: always sign"
    )


def _signature(message: Signed, document: Mapping[str, Any]) -> Finding:
    sig = str(document["sig"])
    if _verifies(message.kind, document, message.plant_id, message.key, sig):
        return _ok(Check.SIGNATURE, "right")
    if len(message.text) > _WORTH_EXPLAINING:
        said = "does not fit; the message is too large to look for the reason"
        return Finding(Check.SIGNATURE, Outcome.REFUSED, said, ("unknown",))
    explanation = explain(message, sig)
    if explanation.mistakes:
        names = tuple(dict.fromkeys(mistake.name for mistake in explanation.mistakes))
        said = "; and ".join(dict.fromkeys(mistake.message for mistake in explanation.mistakes))
        return Finding(Check.SIGNATURE, Outcome.REFUSED, said, names)
    if explanation.mistakes == ():
        return _refused(Check.SIGNATURE, "it fits the message as it stands, which is not what Voke takes")
    wanted = signed_text(message)
    if len(wanted) > _TEXT_SHOWN:
        wanted = f"{wanted[:_TEXT_SHOWN]}… ({len(wanted)} characters)"
    return Finding(
        Check.SIGNATURE,
        Outcome.REFUSED,
        f"it fits none of {explanation.tried} texts and keys that common mistakes lead to: most likely another "
        f"key was used, or the message was changed after it was signed. To be signed: {wanted}",
        ("unknown",),
    )


def _verifies(kind: MessageKind, document: Mapping[str, Any], plant_id: str, key: bytes, sig: str) -> bool:
    """With the gateway's own signer; False as well for what cannot be signed."""
    get = document.get
    try:
        signer = Signer(plant_id, key)
        if kind == "command":
            p = canonical(document["p"]) if "p" in document else None
            return signer.verifies_command(get("cmdId", ""), _int(get("ts")), get("type", ""), p, sig)
        if kind == "telemetry":
            body = {name: value for name, value in document.items() if name not in {"ts", "n", "sig"}}
            expected = signer.telemetry(_int(get("ts")), get("n", ""), canonical(body))
        elif kind == "ack":
            expected = signer.ack(get("cmdId", ""), _int(get("ts")), get("st", ""), get("n", ""))
        else:
            ids = get("n", ""), get("ev", ""), get("alarmId", "")
            expected = signer.alarm(_int(get("ts")), *ids, _int(get("code")), _int(get("sev")))
    except (TypeError, ValueError, OverflowError):
        return False
    return signatures_equal(expected, sig)


def _int(value: Any) -> int:
    """A number that JavaScript prints as an integer."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError("not an integer")
    return int(value)


def _replay(
    kind: MessageKind, document: Mapping[str, Any], known: Known, used: frozenset[str]
) -> Iterator[Finding]:
    ts, nonce = document.get("ts"), document.get("n")
    if not is_unix_ms(ts):
        yield Finding(Check.REPLAY, Outcome.UNCHECKED, "not checked: ts is no time")
        return
    assert isinstance(ts, int | float)
    age = known.at - ts / 1000
    window = known.command_window if kind == "command" else known.window
    who = "a plant answers such a command FAILED" if kind == "command" else "Voke refuses it"
    if abs(age) > window:
        relation = f"{age:.0f} s before" if age > 0 else f"{-age:.0f} s after"
        remedy = (
            "if it was captured earlier, say when it arrived with --at"
            if age > 0
            else "is the sender's clock right?"
        )
        message = f"ts is {relation} its arrival, more than the {window:g} s of the window: {who}; {remedy}"
        yield _refused(Check.REPLAY, message)
    elif isinstance(nonce, str) and kind != "command" and nonce.lower() in used:
        yield _refused(
            Check.REPLAY, f"n {nonce[:40]} was used by an earlier message; make a new one each time"
        )
    else:
        yield _ok(Check.REPLAY, f"ts is {abs(age):.1f} s from its arrival, {window:g} s are allowed")


def _nonce(payload: bytes) -> str | None:
    try:
        document = parse(payload)
    except NotJsonError:
        return None
    nonce = document.get("n") if isinstance(document, dict) else None
    return nonce.lower() if isinstance(nonce, str) else None
