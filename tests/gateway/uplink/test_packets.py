"""PUBLISH and PUBACK as bytes, with paho as the judge of what MQTT says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from voke_gateway.uplink.packets import PUBACK_CODES, pubacks, publish

ids = st.integers(1, 0xFFFF)
codes = st.sampled_from(sorted(PUBACK_CODES))


def as_paho_writes_it(topic: bytes, packet_id: int, payload: bytes, *, retain: bool) -> bytes:
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client._sock = object()  # type: ignore[assignment] # it only asks whether there is one
    client._packet_queue = lambda _command, packet, *_: frames.append(bytes(packet))  # type: ignore[assignment,method-assign]
    frames: list[bytes] = []
    client._send_publish(packet_id, topic, payload, 1, retain)
    client._sock = None
    return frames[0]


def puback(packet_id: int, code: int, properties: int | None) -> bytes:
    """With so many bytes of properties; None: without even their length."""
    body = packet_id.to_bytes(2, "big") + bytes([code])
    if properties is not None:
        body += length(properties) + bytes(properties)
    elif code == 0:
        body = body[:2]
    return b"\x40" + length(len(body)) + body


def length(number: int) -> bytes:
    found = bytearray()
    while True:
        number, digit = divmod(number, 128)
        found.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(found)


@given(
    topic=st.binary(min_size=1, max_size=200),
    packet_id=ids,
    size=st.integers(0, 20_000),
    retain=st.booleans(),
)
def test_a_publish_is_what_paho_makes_of_it(*, topic: bytes, packet_id: int, size: int, retain: bool) -> None:
    payload = bytes(size)
    frame = publish(len(topic).to_bytes(2, "big") + topic, packet_id, payload, retain=retain)
    assert frame == as_paho_writes_it(topic, packet_id, payload, retain=retain)


@given(
    st.lists(st.tuples(ids, codes, st.none() | st.sampled_from([0, 5, 130, 20_000])), max_size=6), st.data()
)
def test_pubacks_are_found_wherever_the_stream_is_cut(
    sent: list[tuple[int, int, int | None]], data: st.DataObject
) -> None:
    stream = b"".join(puback(*each) for each in sent)
    found: list[tuple[int, int]] = []
    rest = b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        rest, stream = rest + stream[:size], stream[size:]
        taken = pubacks(rest)
        found += taken.codes
        rest = rest[taken.used :]
        assert taken.cut == bool(rest)
    assert found == [(packet_id, code) for packet_id, code, _ in sent]


@given(st.binary(max_size=40))
def test_whatever_comes_nothing_is_taken_that_is_no_puback(data: bytes) -> None:
    taken = pubacks(data)
    assert 0 <= taken.used <= len(data)
    assert all(code in PUBACK_CODES for _, code in taken.codes)
    if not data.startswith(b"\x40"):
        assert taken == ([], 0, False)
