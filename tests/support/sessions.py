"""Logins at the test broker, and a peer that speaks just enough MQTT 5 to misbehave on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.broker import OBSERVER, PASSWORD, Broker
from tests.support.pki import Authority, Leaf
from voke_api.resolved import PlantCredentials
from voke_gateway.uplink.session import Closed, Login, Session, SessionLostError

_HANDSHAKE_WITHIN = 30.0


def password_login(
    broker: Broker,
    user: str = OBSERVER,
    *,
    client_id: str | None = None,
    host: str = "localhost",
    port: int | None = None,
    password: str = PASSWORD,
    subscribe: tuple[str, ...] = (),
    session_expiry: int = 300,
    keepalive: int = 60,
    broker_ca: bytes | None = None,
) -> Login:
    credentials = PlantCredentials(
        client_id=client_id or user, username=user, hmac_key=b"", broker_ca=broker_ca or broker.authority.pem
    )
    return Login(
        host=host,
        port=port or broker.password_port,
        client_id=client_id or user,
        username=user,
        password=password,
        session_expiry=session_expiry,
        keepalive=keepalive,
        subscribe=subscribe,
        credentials=credentials,
        present_certificate=False,
    )


def mtls_login(
    broker: Broker, leaf: Leaf, *, client_id: str, subscribe: tuple[str, ...] = (), port: int | None = None
) -> Login:
    credentials = PlantCredentials(
        client_id=client_id,
        username=client_id,
        hmac_key=b"",
        tls_certificate=leaf.certificate,
        tls_key=leaf.key,
        broker_ca=broker.authority.pem,
    )
    return Login(
        host="localhost",
        port=port or broker.mtls_port,
        client_id=client_id,
        username=None,
        password=None,
        session_expiry=300,
        keepalive=60,
        subscribe=subscribe,
        credentials=credentials,
        present_certificate=True,
    )


def published(session: Session, topic: str, payload: bytes, *, retain: bool = False) -> asyncio.Future[int]:
    """Publish; the future is the PUBACK's reason code, or fails with SessionLostError."""
    puback: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    closed = asyncio.ensure_future(session.closed())

    def answered(code: int) -> None:
        if not puback.done():
            puback.set_result(code)

    def over(closed: asyncio.Future[Closed]) -> None:
        if not puback.done() and not closed.cancelled():
            puback.set_exception(SessionLostError(closed.result()))

    closed.add_done_callback(over)
    puback.add_done_callback(lambda _: closed.cancel())
    session.publish(topic, payload, answered, retain=retain)
    return puback


CONNACK = bytes.fromhex("2003000000")
SUBACK_QOS1 = bytes.fromhex("90040001 00 01")


@dataclass
class Conversation:
    """One client at the scripted peer."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def receive(self) -> bytes:
        """The next MQTT packet, whole."""
        first = await self.reader.readexactly(1)
        length, shift = 0, 0
        while True:
            byte = (await self.reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        return first + await self.reader.readexactly(length)

    async def welcome(self, connack: bytes = CONNACK) -> bytes:
        """Answer the CONNECT, which is returned."""
        connect = await self.receive()
        await self.send(connack)
        return connect

    async def send(self, packet: bytes) -> None:
        self.writer.write(packet)
        await self.writer.drain()

    async def until_client_leaves(self) -> None:
        with contextlib.suppress(OSError):
            while await self.reader.read(4096):
                pass


@dataclass
class ScriptedPeer:
    """Where it listens, and how to log in there."""

    port: int
    authority: Authority

    def login(self, *, subscribe: tuple[str, ...] = (), keepalive: int = 60, client_id: str = "c1") -> Login:
        return Login(
            host="localhost",
            port=self.port,
            client_id=client_id,
            username=None,
            password=None,
            session_expiry=300,
            keepalive=keepalive,
            subscribe=subscribe,
            credentials=PlantCredentials(
                client_id=client_id, username=client_id, hmac_key=b"", broker_ca=self.authority.pem
            ),
            present_certificate=False,
        )


@contextlib.asynccontextmanager
async def scripted_peer(
    script: Callable[[Conversation], Awaitable[None]],
) -> AsyncIterator[ScriptedPeer]:
    """A TLS listener that plays ``script`` with every client. A script that fails fails the test."""
    authority = Authority()
    context = _server_context(authority)
    failures: list[BaseException] = []
    playing: set[asyncio.Task[None]] = set()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Conversation(reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            writer.transport.abort()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(play(reader, writer))
        playing.add(task)
        task.add_done_callback(playing.discard)

    server = await asyncio.start_server(start, "127.0.0.1", 0, ssl=context)
    try:
        yield ScriptedPeer(server.sockets[0].getsockname()[1], authority)
    finally:
        server.close()
        for task in tuple(playing):
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        await server.wait_closed()
    if failures:
        raise failures[0]


@contextlib.asynccontextmanager
async def handshaking_peer(prepare: Callable[[ssl.SSLContext], None]) -> AsyncIterator[ScriptedPeer]:
    """A TLS listener that shakes hands with one client; ``prepare`` makes its TLS context stricter.

    In a thread, because asyncio's servers do not send the alert that says why they refuse.
    """
    authority = Authority()
    context = _server_context(authority)
    prepare(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_HANDSHAKE_WITHIN)

        def shake_hands() -> None:
            accepted, _ = listener.accept()
            accepted.settimeout(_HANDSHAKE_WITHIN)
            with contextlib.suppress(OSError), context.wrap_socket(accepted, server_side=True) as wrapped:
                wrapped.recv(1)

        handshake = asyncio.create_task(asyncio.to_thread(shake_hands))
        yield ScriptedPeer(listener.getsockname()[1], authority)
        await handshake


def _server_context(authority: Authority) -> ssl.SSLContext:
    leaf = authority.issue("peer", hosts=("localhost", "127.0.0.1"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        pair = Path(directory) / "pair.pem"
        pair.write_bytes(leaf.certificate + leaf.key)
        context.load_cert_chain(pair)
    return context
