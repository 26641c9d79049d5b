"""A small MQTT 5 client over TLS that hides nothing: CONNACK, PUBACK and DISCONNECT codes as they came."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

WITHIN = 10.0


class LoginRefusedError(Exception):
    """CONNACK with a failure, or the TLS handshake failed (code None)."""

    def __init__(self, code: int | None) -> None:
        super().__init__("TLS" if code is None else f"0x{code:02X}")
        self.code = code


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    retain: bool


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(data)) + data


def varint(number: int) -> bytes:
    out = b""
    while True:
        number, digit = divmod(number, 128)
        out += bytes([digit | (0x80 if number else 0)])
        if not number:
            return out


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._packet_id = 0
        self.session_present = False
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.disconnect_code: int | None = None

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """QoS 1; the PUBACK's reason code."""
        packet_id, answer = self._expect_answer()
        body = text(topic) + struct.pack("!H", packet_id) + b"\0" + payload
        self._writer.write(packet(0x32 | retain, body))
        return await asyncio.wait_for(answer, WITHIN)

    async def subscribe(self, topic: str) -> int:
        """QoS 1; the SUBACK's reason code."""
        packet_id, answer = self._expect_answer()
        self._writer.write(packet(0x82, struct.pack("!H", packet_id) + b"\0" + text(topic) + b"\x01"))
        return await asyncio.wait_for(answer, WITHIN)

    async def message(self) -> Message:
        return await asyncio.wait_for(self.messages.get(), WITHIN)

    def _expect_answer(self) -> tuple[int, asyncio.Future[int]]:
        self._packet_id = self._packet_id % 65535 + 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._answers[self._packet_id] = answer
        return self._packet_id, answer

    async def read(self) -> tuple[int, bytes]:
        first = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return first, await self._reader.readexactly(length)

    async def run(self) -> None:
        try:
            while True:
                first, body = await self.read()
                match first >> 4:
                    case 3:
                        self._inbound(first, body)
                    case 4 | 9:
                        (packet_id,) = struct.unpack_from("!H", body)
                        # PUBACK leaves the code out if it is 0; SUBACK's follows its properties.
                        code = body[-1] if first >> 4 == 9 else (body[2] if len(body) > 2 else 0)
                        self._answers.pop(packet_id).set_result(code)
                    case 14:
                        self.disconnect_code = body[0] if body else 0
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended.set()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the session ended"))

    def _inbound(self, first: int, body: bytes) -> None:
        (size,) = struct.unpack_from("!H", body)
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        if first & 0x06:
            self._writer.write(packet(0x40, rest[:2]))
            rest = rest[2:]
        assert rest[0] < 0x80
        self.messages.put_nowait(Message(topic, rest[1 + rest[0] :], bool(first & 1)))


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    tls: ssl.SSLContext,
    *,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    session_expiry: int = 0,
) -> AsyncIterator[Client]:
    """Log in. A session with an expiry is taken up again (clean start false).

    Raises:
        LoginRefusedError: by CONNACK, or in the TLS handshake.
    """
    flags = (
        (0 if session_expiry else 2)
        | (0x80 if username is not None else 0)
        | (0x40 if password is not None else 0)
    )
    body = text("MQTT") + bytes([5, flags]) + struct.pack("!H", 60)
    body += b"\x05\x11" + struct.pack("!I", session_expiry) + text(client_id)
    body += b"".join(text(part) for part in (username, password) if part is not None)
    async with contextlib.AsyncExitStack() as stack:
        try:
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        except ssl.SSLError as error:
            raise LoginRefusedError(None) from error
        stack.push_async_callback(_close, writer)
        client = Client(reader, writer)
        writer.write(packet(0x10, body))
        try:
            _, answer = await asyncio.wait_for(client.read(), WITHIN)
        except (OSError, asyncio.IncompleteReadError) as error:  # TLS 1.3: a bad certificate shows here
            raise LoginRefusedError(None) from error
        if answer[1] != 0:
            raise LoginRefusedError(answer[1])
        client.session_present = bool(answer[0] & 1)
        task = asyncio.create_task(client.run())
        try:
            yield client
            if not client.ended.is_set():
                writer.write(packet(0xE0, b""))
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
