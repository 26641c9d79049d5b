"""The two packets that nearly all of a session's traffic is made of: PUBLISH out, PUBACK in. Pure.

Source: MQTT 5, sections 1.5.5 (variable byte integer), 3.3 (PUBLISH) and 3.4 (PUBACK).
"""

from __future__ import annotations

from typing import Final, NamedTuple

PUBACK_CODES: Final = frozenset((0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99))
"""Reason codes that a PUBACK may have."""

_PUBLISH_QOS_1: Final = 0x32
_PUBACK: Final = 0x40
_PACKET_ID: Final = 2
_ACCEPTED: Final = b"\x40\x02"
_ONE_PUBACK: Final = 4
"""Bytes of a PUBACK that says nothing but success."""
_LONGEST_LENGTH: Final = 4
_MORE: Final = 0x80


class Pubacks(NamedTuple):
    """What stands at the front of received bytes."""

    codes: list[tuple[int, int]]
    """Packet id and reason code of each."""
    used: int
    """Bytes that they take."""
    cut: bool
    """What follows them is the beginning of another one."""


def publish(topic: bytes, packet_id: int, payload: bytes, *, retain: bool) -> bytes:
    """A PUBLISH with QoS 1 and no properties; ``topic`` with its two bytes of length before it."""
    head = bytearray((_PUBLISH_QOS_1 | retain,))
    length = len(topic) + _PACKET_ID + 1 + len(payload)
    while True:
        length, digit = length >> 7, length & 0x7F
        head.append(digit | _MORE if length else digit)
        if not length:
            break
    return b"".join((head, topic, packet_id.to_bytes(2, "big"), b"\0", payload))


def pubacks(data: bytes) -> Pubacks:
    """The PUBACKs at the front of ``data``, as far as they are what MQTT knows."""
    if len(data) == _ONE_PUBACK and data.startswith(_ACCEPTED):  # what nearly always comes
        return Pubacks([(data[2] << 8 | data[3], 0)], _ONE_PUBACK, cut=False)
    codes: list[tuple[int, int]] = []
    start, cut = 0, False
    while start < len(data) and data[start] == _PUBACK:
        body, length = _remaining(data, start + 1)
        cut = not body or len(data) < body + length
        if cut or length < _PACKET_ID:
            break
        code = data[body + _PACKET_ID] if length > _PACKET_ID else 0
        if code not in PUBACK_CODES:
            break
        codes.append((data[body] << 8 | data[body + 1], code))
        start = body + length
    return Pubacks(codes, start, cut)


def _remaining(data: bytes, at: int) -> tuple[int, int]:
    """Where a packet's body begins, and its length; 0 and 0: that is still to come.

    A length of more than four bytes is none: nothing then follows it that could be taken.
    """
    length = shift = 0
    for position in range(at, min(at + _LONGEST_LENGTH, len(data))):
        byte = data[position]
        length |= (byte & 0x7F) << shift
        if not byte & _MORE:
            return position + 1, length
        shift += 7
    return (at + _LONGEST_LENGTH, 0) if len(data) >= at + _LONGEST_LENGTH else (0, 0)
