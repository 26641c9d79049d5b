"""The benchmark's subscriber takes the broker's stream apart, however it is cut."""

from __future__ import annotations

from bench.subscriber import Subscriber, length_bytes, text_bytes


def publish(topic: str, payload: bytes) -> bytes:
    content = text_bytes(topic) + payload
    return b"\x30" + length_bytes(len(content)) + content


async def test_messages_of_every_size_arrive_whole_in_pieces_of_every_size() -> None:
    payloads = [bytes(size) for size in (0, 1, 110, 120, 130, 8192, 20_000)]
    stream = b"".join(publish(f"cpi/{n}/telemetry", payload) for n, payload in enumerate(payloads))
    for piece in (1, 2, 7, 1000, len(stream)):
        heard: list[tuple[bytes, bytes]] = []
        subscriber = Subscriber(lambda topic, payload, heard=heard: heard.append((topic, payload)))  # type: ignore[misc]
        for start in range(0, len(stream), piece):
            subscriber.data_received(stream[start : start + piece])
        assert [topic for topic, _ in heard] == [f"cpi/{n}/telemetry".encode() for n in range(len(payloads))]
        assert [payload for _, payload in heard] == payloads
