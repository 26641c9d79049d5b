"""Captured messages: what ``mosquitto_sub -v`` prints, or a bare payload, as topics and payloads. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOPIC = re.compile(rb'^([^\s"{}\[\],:]*/[^\s"{}\[\],:]*)[ \t]+', re.MULTILINE)
"""A topic and the blank behind it. A line inside a payload that was printed over several does not match."""
_LINE_ENDS = b"\r\n"


@dataclass(frozen=True, slots=True)
class Captured:
    """One message as it was seen on the broker."""

    payload: bytes
    """Without the line end that the capturing tool adds."""
    topic: str | None = None
    """None: it was captured without."""


def captured(text: bytes) -> list[Captured]:
    """The messages in ``text``, in order: ``topic payload`` each, or payloads alone."""
    topics = list(_TOPIC.finditer(text))
    bare = text[: topics[0].start()] if topics else text
    found = [Captured(payload) for payload in _bare(bare)]
    for index, match in enumerate(topics):
        end = topics[index + 1].start() if index + 1 < len(topics) else len(text)
        payload = text[match.end() : end].rstrip(_LINE_ENDS)
        found.append(Captured(payload, match[1].decode(errors="replace")))
    return found


def _bare(text: bytes) -> list[bytes]:
    """One payload over any number of lines, or one on each line."""
    text = text.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(line.startswith(b"{") and line.endswith(b"}") for line in lines):
        return lines
    return [text] if text else []
