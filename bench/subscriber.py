"""A subscriber that costs next to nothing: one TLS connection, MQTT 3.1.1, QoS 0, no copies to spare.

Its requests are the few bytes of the MQTT 3.1.1 specification, sections 3.1 and 3.8; what it is sent is taken
apart in place. It would be no good as a client for anything else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

Receive = Callable[[bytes, bytes], None]
"""Takes topic and payload."""

_CONNACK, _PUBLISH, _SUBACK = 2, 3, 9


class Subscriber(asyncio.Protocol):
    """Made by :meth:`connect`; calls ``receive`` for every message."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost = False
        """The broker is gone: nothing is counted any more."""

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        username: str,
        password: str,
        topic: str,
        receive: Receive,
    ) -> Subscriber:
        """Log in and subscribe.

        Raises:
            ConnectionError: the broker refused one of the two.
        """
        loop = asyncio.get_running_loop()
        _, subscriber = await loop.create_connection(lambda: cls(receive), host, port, ssl=context)
        login = (
            text_bytes("MQTT")
            + b"\x04\xc2\x00\x00"
            + text_bytes("bench")
            + text_bytes(username)
            + text_bytes(password)
        )
        await subscriber.ask(b"\x10", login, accepted=b"\x00\x00")
        await subscriber.ask(b"\x82", b"\x00\x01" + text_bytes(topic) + b"\x00", accepted=b"\x00\x01\x00")
        return subscriber

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the protocol
        self.lost = True
        self._answers.put_nowait(b"")

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start, size = 0, len(buffer)
        while size - start >= 2:
            length, position = buffer[start + 1], start + 2
            if length & 0x80:
                length &= 0x7F
                shift = 7
                while True:
                    if position >= size:
                        del buffer[:start]
                        return
                    digit = buffer[position]
                    position += 1
                    length |= (digit & 0x7F) << shift
                    shift += 7
                    if not digit & 0x80:
                        break
            end = position + length
            if end > size:
                break
            if buffer[start] >> 4 == _PUBLISH:
                payload = position + 2 + (buffer[position] << 8 | buffer[position + 1])
                self._receive(bytes(buffer[position + 2 : payload]), bytes(buffer[payload:end]))
            elif buffer[start] >> 4 in (_CONNACK, _SUBACK):
                self._answers.put_nowait(bytes(buffer[position:end]))
            start = end
        del buffer[:start]

    async def ask(self, kind: bytes, content: bytes, *, accepted: bytes) -> None:
        """Send a packet; raises ConnectionError if the answer is another than ``accepted``."""
        assert self._transport is not None
        self._transport.write(kind + length_bytes(len(content)) + content)
        answer = await asyncio.wait_for(self._answers.get(), 15.0)
        if answer != accepted:
            raise ConnectionError(f"the broker answered {answer.hex()} instead of {accepted.hex()}")


def text_bytes(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def length_bytes(number: int) -> bytes:
    encoded = bytearray()
    while True:
        number, digit = divmod(number, 128)
        encoded.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(encoded)
