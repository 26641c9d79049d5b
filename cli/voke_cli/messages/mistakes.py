"""Why a signature does not fit: it is held against the texts that common mistakes would have signed.

A signature tells nothing by itself. But mistakes are few and known: for each of them, and for those that
come together, the text and the key that it would have led to are made and signed. The first that gives the
message's signature names what its author did, fewest mistakes first. Pure; a key is in no result.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any, Final

from voke_cli.messages.envelopes import MessageKind, looks_like_seconds
from voke_cli.messages.renderings import Number, Style, render
from voke_cli.messages.signed_content import Mistake, Option, contents, plain_content, wrong

PARTS: Final[dict[MessageKind, tuple[str, ...]]] = {
    "telemetry": ("deviceId", "ts", "n", "body"),
    "command": ("deviceId", "cmdId", "ts", "type", "p"),
    "ack": ("deviceId", "cmdId", "ts", "st", "n"),
    "alarm": ("deviceId", "ts", "n", "ev", "alarmId", "code", "sev"),
}
"""What is signed, in order (protocol §4)."""
MAX_TRIED: Final = 250_000
"""Signatures that are made at most before giving up: about two seconds for a message of 8 KB."""

_SEVERITIES: Final = {"1": "WARNING", "2": "ERROR", "3": "CRITICAL"}
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_BY_DIGITS: Final = {128: "sha512", 96: "sha384", 64: "sha256", 40: "sha1", 32: "md5"}
_SHA256_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found about one signature."""

    mistakes: tuple[Mistake, ...] | None
    """Empty: it fits the message as it is. None: nothing that was tried fits."""
    tried: int
    """How many signatures were made."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What is known of a message whose signature is to be explained."""

    kind: MessageKind
    plant_id: str
    document: Mapping[str, Any]
    """As :func:`voke_cli.messages.renderings.parse_wire` gives it: numbers in their own digits."""
    text: str
    """The payload."""
    key: bytes = field(repr=False)
    other_keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Of other plants, by name."""
    other_ids: tuple[str, ...] = ()
    """Other plant ids that may have been signed, such as the topic's."""


Digest = Callable[[bytes, bytes], bytes]


def explain(message: Signed, sig: str) -> Explanation:
    """Find the mistakes that lead to the signature ``sig``."""
    form = _form(sig)
    if form is None:
        malformed = Mistake("malformed", "sig is not 64 lowercase hex digits, nor anything that resembles it")
        return Explanation((malformed,), 0)
    spelling, given, algorithm = form
    tried = 0
    for mistakes, text, key, digest in _candidates(message, algorithm):
        tried += 1
        if hmac.compare_digest(digest(key, text), given):
            return Explanation((*spelling, *mistakes), tried)
        if tried >= MAX_TRIED:
            break
    return Explanation(None, tried)


def signed_text(message: Signed) -> str:
    """What Voke signs for this message; not secret. A command without ``p`` is shown with ``{}``."""
    return "|".join(_plain(message, part) for part in PARTS[message.kind])


# -- spelling of the signature


def _form(sig: str) -> tuple[tuple[Mistake, ...], bytes, str] | None:
    """How ``sig`` is written, its bytes, and the hash it seems to come from."""
    mistakes = []
    bare = sig.strip()
    for prefix in ("0x", "sha256=", "hmac-sha256="):
        if bare.lower().startswith(prefix):
            bare = bare[len(prefix) :]
    if bare != sig:
        mistakes.append(Mistake("sig-decorated", "sig has blanks or a prefix around it; it is hex only"))
    if _HEX.fullmatch(bare) and len(bare) in _BY_DIGITS:
        algorithm = _BY_DIGITS[len(bare)]
        if bare != bare.lower():
            mistakes.append(Mistake("upper-case-hex", "sig is upper-case hex; Voke takes lower case only"))
        if algorithm != "sha256":
            mistakes.append(Mistake("other-hash", f"the hash is {algorithm.upper()}; Voke's is SHA-256"))
        return tuple(mistakes), bytes.fromhex(bare), algorithm
    for decode in (base64.b64decode, base64.urlsafe_b64decode):
        try:
            content = decode(bare + "=" * (-len(bare) % 4))
        except (binascii.Error, ValueError):
            continue
        if len(content) == _SHA256_BYTES:
            mistakes.append(Mistake("sig-base64", "sig is base64; Voke takes 64 lowercase hex digits"))
            return tuple(mistakes), content, "sha256"
    return None


# -- candidates, fewest mistakes first


def _candidates(
    message: Signed, algorithm: str
) -> Iterator[tuple[tuple[Mistake, ...], bytes, bytes, Digest]]:
    """Mistakes, text, key and digest; each text for one key once.

    All ways to write a body with at most one mistake elsewhere, and up to two elsewhere for a body with at
    most one.
    """
    content = PARTS[message.kind][-1] if PARTS[message.kind][-1] in ("body", "p") else None
    bodies = _unique(contents(message.document, content, message.text)) if content else [Option((), "")]
    axes: dict[str, list[Option]] = {
        "key": _unique(_keys(message)),
        "digest": _digests(algorithm),
        **{part: _unique(_part(message, part)) for part in PARTS[message.kind] if part != content},
        "arrangement": _arrangements(message.kind),
    }
    names = list(axes)
    seen: set[int] = set()
    most = max(len(body.mistakes) for body in bodies) + 2
    for total, elsewhere in ((t, e) for t in range(most + 1) for e in range(min(t, 2) + 1)):
        of_body = total - elsewhere
        if elsewhere == 2 and of_body > 1:  # noqa: PLR2004 - see the docstring
            continue
        chosen_bodies = [body for body in bodies if len(body.mistakes) == of_body]
        if not chosen_bodies:
            continue
        for frame in _frames(list(axes.values()), elsewhere):
            named = dict(zip(names, frame, strict=True))
            mistakes = tuple(mistake for option in frame for mistake in option.mistakes)
            key, digest = named["key"].value, named["digest"].value
            for body in chosen_bodies:
                texts = {part: named[part].value for part in PARTS[message.kind] if part != content}
                if content:
                    texts[content] = body.value
                text = named["arrangement"].value([texts[part] for part in PARTS[message.kind]])
                signed = text.encode(errors="surrogatepass")
                identity = hash((signed, key, digest))
                if identity not in seen:
                    seen.add(identity)
                    yield (*body.mistakes, *mistakes), signed, key, digest
        if total == elsewhere == 1 and content is None:
            yield (_AS_TELEMETRY,), _telemetry_text(message), message.key, axes["digest"][0].value


def _frames(axes: Sequence[list[Option]], cost: int) -> Iterator[tuple[Option, ...]]:
    """One option of each axis, so that their mistakes are ``cost`` in all."""
    if not axes:
        if cost == 0:
            yield ()
        return
    for option in axes[0]:
        rest = cost - len(option.mistakes)
        if rest >= 0:
            for others in _frames(axes[1:], rest):
                yield (option, *others)


def _telemetry_text(message: Signed) -> bytes:
    return "|".join(_plain(message, part) for part in PARTS["telemetry"]).encode(errors="surrogatepass")


_AS_TELEMETRY: Final = Mistake(
    "other-kind", "this was signed as telemetry is, with its body; acks and alarms have parts of their own"
)


def _unique(options: Iterator[Option]) -> list[Option]:
    """The first of those that come to the same, in order of the number of mistakes."""
    found: dict[Any, Option] = {}
    for option in options:
        known = found.get(option.value)
        if known is None or len(option.mistakes) < len(known.mistakes):
            found[option.value] = option
    return sorted(found.values(), key=lambda option: len(option.mistakes))


# -- keys and digests


def _keys(message: Signed) -> Iterator[Option]:
    key = message.key
    yield Option((), key)
    right = "Voke's key is the secret's characters as they are"
    yield wrong("key-newline", f"the key was used with the line end of its file; {right}", key + b"\n")
    yield wrong("key-newline", f"the key was used with the line end of its file; {right}", key + b"\r\n")
    text = key.decode(errors="replace")
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        message_ = f"the key was decoded from hex before use; {right}"
        yield wrong("key-hex-decoded", message_, bytes.fromhex(text))
        yield wrong("key-letter-case", f"the key was used in upper case; {right}", text.upper().encode())
        yield wrong("key-letter-case", f"the key was used in lower case; {right}", text.lower().encode())
    for decode in (base64.b64decode, base64.urlsafe_b64decode):
        try:
            decoded = decode(key + b"=" * (-len(key) % 4))
        except (binascii.Error, ValueError):
            continue
        yield wrong("key-base64-decoded", f"the key was decoded from base64 before use; {right}", decoded)
    encoded = "the key was used base64-encoded, as a Secret's data shows it; decode it once"
    yield wrong("key-base64-encoded", encoded, base64.b64encode(key))
    yield wrong("key-base64-encoded", encoded, base64.b64encode(key + b"\n"))
    yield wrong("key-quoted", f"the key was used with quotes around it; {right}", b'"' + key + b'"')
    yield wrong("key-empty", "the key was empty when this was signed", b"")
    for name, other in message.other_keys.items():
        if other != key:
            yield wrong("other-plant-key", f"this was signed with the key of plant {name}", other)


def _digests(algorithm: str) -> list[Option]:
    def keyed(key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, algorithm)

    def bare(_key: bytes, text: bytes) -> bytes:
        return hashlib.new(algorithm, text).digest()

    def behind(key: bytes, text: bytes) -> bytes:
        return hashlib.new(algorithm, text + key).digest()

    def before(key: bytes, text: bytes) -> bytes:
        return hashlib.new(algorithm, key + text).digest()

    def swapped(key: bytes, text: bytes) -> bytes:
        return hmac.digest(text, key, algorithm)

    plain = "this is a plain hash of {}; Voke wants an HMAC (RFC 2104)"
    return [
        Option((), keyed),
        wrong("hash-without-key", plain.format("the text, without the key"), bare),
        wrong("hash-not-hmac", plain.format("the key and the text"), before),
        wrong("hash-not-hmac", plain.format("the text and the key"), behind),
        wrong("key-and-text-swapped", "key and text were handed to the HMAC in the wrong order", swapped),
    ]


# -- parts


def _plain(message: Signed, part: str) -> str:
    """A part as Voke signs it: what JavaScript makes of it in a template string."""
    if part == "deviceId":
        return message.plant_id
    if part in {"body", "p"}:
        return plain_content(message.document, part)
    value = message.document.get(part)
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return "undefined" if part not in message.document else render(value, Style())


def _part(message: Signed, part: str) -> Iterator[Option]:
    plain = _plain(message, part)
    yield Option((), plain)
    others: dict[str, Callable[[Signed, str], Iterator[Option]]] = {
        "deviceId": _device_ids,
        "ts": _times,
        "n": _nonces,
        "cmdId": _nonces,
        "code": _numbers,
        "sev": _numbers,
    }
    if part in others:
        yield from others[part](message, plain)
    else:
        yield wrong(f"{part}-letter-case", f"{part} was signed in lower case", plain.lower())
        yield wrong(f"{part}-letter-case", f"{part} was signed in upper case", plain.upper())
    if part not in {"code", "sev", "ts"}:
        yield wrong(f"{part}-quoted", f"{part} was signed with quotes around it", f'"{plain}"')


def _device_ids(message: Signed, plain: str) -> Iterator[Option]:
    right = "the plant's UUID in lower case comes first"
    yield wrong("plant-id-upper-case", f"the plant id was signed in upper case; {right}", plain.upper())
    yield wrong(
        "plant-id-short", f"the plant id was signed without its hyphens; {right}", plain.replace("-", "")
    )
    yield wrong("plant-id-short", f"only the plant id's first 8 digits were signed; {right}", plain[:8])
    yield wrong("user-name", f"the MQTT user name was signed; {right}", f"plc-{plain[:8]}")
    for other in message.other_ids:
        yield wrong("other-plant-id", f"another plant's id was signed: {other[:40]}", other)
    devices = message.document.get("devices")
    for device in devices if isinstance(devices, list) else []:
        name = device.get("externalId") if isinstance(device, dict) else None
        if isinstance(name, str):
            yield wrong("external-id", f"a sub-device's externalId was signed, {name[:40]}; {right}", name)


def _times(message: Signed, plain: str) -> Iterator[Option]:
    ts = message.document.get("ts")
    right = "ts is signed as it is in the message: Unix milliseconds in plain digits"
    yield wrong("ts-quoted", f"ts was signed as a JSON string, with quotes; {right}", f'"{plain}"')
    sample = message.document.get("timestamp")
    if isinstance(sample, str):
        yield wrong("timestamp-for-ts", f"timestamp was signed in the place of ts; {right}", str(sample))
    if not isinstance(ts, Number):
        return
    value = float(ts)
    floating = f"ts was signed as a floating-point number; {right}"
    yield wrong("ts-float", floating, float.__repr__(value))
    yield wrong("ts-float", floating, str(ts))
    if looks_like_seconds(value):
        yield wrong(
            "ts-unit", f"ts is in seconds and was signed in milliseconds; {right}", f"{value * 1000:.0f}"
        )
    else:
        yield wrong("ts-seconds", f"ts was signed in seconds; {right}", f"{value // 1000:.0f}")
        yield wrong("ts-seconds", f"ts was signed in seconds; {right}", repr(value / 1000))


def _nonces(_message: Signed, plain: str) -> Iterator[Option]:
    words = "an id was signed in another form than it is sent: it is signed character by character"
    for form in (plain.lower(), plain.upper(), plain.replace("-", "")):
        yield wrong("id-form", words, form)


def _numbers(message: Signed, plain: str) -> Iterator[Option]:
    right = "code and sev are signed as plain integers"
    yield wrong("code-form", f"code or sev was signed as a floating-point number; {right}", f"{plain}.0")
    yield wrong("code-form", f"code or sev was signed with leading zeros; {right}", plain.zfill(4))
    yield wrong("code-form", f"code or sev was signed with quotes; {right}", f'"{plain}"')
    name = _SEVERITIES.get(plain)
    if name is not None:
        yield wrong("severity-name", f"the severity's name was signed; {right}", name)
        yield wrong("severity-name", f"the severity's name was signed; {right}", name.lower())
    for key in ("code", "sev"):
        value = message.document.get(key)
        if isinstance(value, Number):
            yield wrong("code-form", f"code or sev was signed in another form; {right}", str(value))


# -- arrangement of the parts


def _arrangements(kind: MessageKind) -> list[Option]:
    names = PARTS[kind]
    right = "|".join(names)
    indices = tuple(range(len(names)))
    found = [Option((), "|".join)]
    for separator in ("", ",", ":", ";", ".", "-", "_", "&", "/", "\n", " ", " | ", "||", "\t", "\0"):
        words = f"the parts were joined with {separator!r}; Voke's separator is '|', without blanks"
        found.append(wrong("separator", words, separator.join))
    for end in ("\n", "\r\n", "|"):
        words = f"the signed text ended with {end!r} (echo adds a line end, printf does not)"
        found.append(wrong("text-end", words, lambda parts, end=end: "|".join(parts) + end))
    for kept in product((True, False), repeat=len(names)):
        chosen = [index for index in indices if kept[index]]
        if 0 < len(chosen) < len(names):
            gone = ", ".join(names[index] for index in indices if not kept[index])
            words = f"{gone} was not signed; Voke signs {right}"
            found.append(wrong("part-missing", words, _picking(chosen)))
    for order in permutations(indices):
        if order != indices:
            text = "|".join(names[index] for index in order)
            words = f"the parts were signed in the order {text}; Voke signs {right}"
            found.append(wrong("part-order", words, _picking(order)))
    found[1:] = sorted(found[1:], key=lambda option: option.mistakes[0].name == "part-order")
    return found


def _picking(order: Sequence[int]) -> Callable[[Sequence[str]], str]:
    return lambda parts: "|".join([parts[index] for index in order])
