"""The session seam on aiomqtt: MQTT 5 over TLS, one client per session.

aiomqtt is used through one subclass, :class:`_Client`; whatever is private in aiomqtt 2.5.1 or paho 2.2 and
has to be reached into is reached into there and nowhere else. It changes five things:

* PUBACK reason codes are kept. aiomqtt throws them away, and a refused message would look delivered.
* Frames go to the socket when they are made, not two turns of the event loop later.
* PUBLISH and PUBACK, which are nearly all that a session carries, pass paho by: it takes a message apart into
  objects with locks and reads a PUBACK byte by byte, which costs as much as all the rest of a message.
* Inbound messages are acknowledged when the caller says so, and never pile up.
* The end of a session has a reason, and everyone who waits learns it at once.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, cast

import aiomqtt
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import LogLevel, MessageType
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from voke_gateway.clock import WallClock, system_clock
from voke_gateway.uplink.dial import Dialler, within
from voke_gateway.uplink.packets import pubacks, publish
from voke_gateway.uplink.session import (
    Closed,
    CloseReason,
    ConnectFailedError,
    ConnectRefusedError,
    Inbound,
    Login,
    SessionLostError,
)
from voke_gateway.uplink.tls import TlsContexts, early_end

RECEIVE_MAXIMUM = 20
"""QoS 1 messages that the broker may have unacknowledged at us; bounds memory when commands flood in."""
MAXIMUM_PACKET = 65_536
"""Bytes of the largest packet that we take."""
CONNECT_TIMEOUT = 10.0
"""Seconds from name resolution to SUBACK."""
CONNECTS_AT_ONCE = 20
"""Per broker: how many share the CPU, so that a fleet's connects do not all run into their time-out."""

_PACKET_IDS = 65_535
_DEFAULT_RECEIVE_MAXIMUM = 65_535  # MQTT 5, 3.2.2.3.3
_FAILURE = 0x80  # MQTT 5, 2.4: reason codes from here on are failures
_TAKEN_OVER = 0x8E
_PROTOCOL_ERROR = 0x82
_READ_AT_ONCE = 16_384
_CHECK_AGAIN = 0.05  # seconds, at least, between two looks at the keepalive
_CLOSE_TIMEOUT = 2.0  # seconds for a DISCONNECT to leave a full socket


class AiomqttConnector:
    """Opens sessions; see :class:`voke_gateway.uplink.session.Connector`. One for the whole gateway."""

    def __init__(
        self,
        *,
        clock: WallClock = system_clock,
        connect_timeout: float = CONNECT_TIMEOUT,
        connects_at_once: int = CONNECTS_AT_ONCE,
    ) -> None:
        self._contexts = TlsContexts(clock=clock)
        self._dialler = Dialler()
        self._timeout = connect_timeout
        self._gates: defaultdict[tuple[str, int], asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, connects_at_once)
        )

    async def connect(self, login: Login) -> AiomqttSession:
        """Connect (clean start false), subscribe, and return the session.

        Raises:
            ConnectFailedError: name resolution, TCP, TLS or time-out.
            CertificateRefusedError: a TLS alert says that the broker does not take our client certificate.
            ConnectRefusedError: CONNACK or SUBACK with a failure code.
            CredentialsError: the material itself is unusable.
        """
        async with self._gates[login.host, login.port]:
            async with self._dialler.turn():
                context = self._contexts.context_for(
                    login.credentials, present_certificate=login.present_certificate
                )
            deadline = asyncio.get_running_loop().time() + self._timeout
            sock = await self._dialler.dial(login.host, login.port, context, deadline=deadline)
            return await _log_in(login, sock, deadline)


async def _log_in(login: Login, sock: ssl.SSLSocket, deadline: float) -> AiomqttSession:
    where = f"{login.host}:{login.port}"
    try:
        client = _Client(login, sock)
    except BaseException:
        sock.close()
        raise
    try:
        async with within(deadline, f"{where} did not answer the login (CONNECT) in time"):
            await client.open()
        async with within(deadline, f"{where} did not answer the subscription in time"):
            await client.subscribe_all(login.subscribe)
    except BaseException as error:
        client.drop(Closed(CloseReason.LOCAL, "the login was abandoned"))
        if isinstance(error, SessionLostError):
            raise _early_end(client, login, where, error.closed) from error
        raise
    return AiomqttSession(client)


def _early_end(client: _Client, login: Login, where: str, closed: Closed) -> ConnectFailedError:
    if client.connected:
        return ConnectFailedError(
            f"{where}: the connection ended before the subscription was answered ({closed.detail})"
        )
    return early_end(client.last_error, where, present_certificate=login.present_certificate)


class AiomqttSession:
    """One connection; see :class:`voke_gateway.uplink.session.Session`."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    @property
    def receive_maximum(self) -> int:
        """How many QoS 1 publishes the broker takes at once."""
        return self._client.receive_maximum

    @property
    def session_present(self) -> bool:
        """The broker remembered us."""
        return self._client.session_present

    def publish(
        self, topic: str, payload: bytes, answered: Callable[[int], None], *, retain: bool = False
    ) -> None:
        """Publish with QoS 1; ``answered`` is told the PUBACK's reason code, unless the session ends first."""
        self._client.send(topic, payload, answered, retain=retain)

    async def messages(self) -> AsyncIterator[Inbound]:
        """Inbound messages in order; ends when the session ends. One reader at a time."""
        client = self._client
        while not client.ended.done():
            if client.inbox:
                yield client.inbox.popleft()
            else:
                client.inbox_changed.clear()
                await client.inbox_changed.wait()

    async def closed(self) -> Closed:
        """Wait for the end of the session and say why."""
        return await asyncio.shield(self._client.ended)

    async def close(self) -> None:
        """DISCONNECT and close. Idempotent."""
        closed = Closed(CloseReason.LOCAL)
        try:
            self._client.hang_up(closed)
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await asyncio.shield(self._client.ended)
        except TimeoutError:
            pass  # the socket is full and stays full: drop it
        finally:
            self._client.drop(closed)

    def abort(self) -> None:
        """Drop the socket at once, without DISCONNECT; what the kernel still holds is not sent."""
        self._client.drop(Closed(CloseReason.LOCAL, "aborted"))


class _Client(aiomqtt.Client):
    """aiomqtt on a socket that is connected already. Lives on one event loop; no thread enters it."""

    def __init__(self, login: Login, sock: ssl.SSLSocket) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = login.session_expiry
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAXIMUM_PACKET
        super().__init__(
            login.host,
            login.port,
            username=login.username,
            password=login.password,
            identifier=login.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            keepalive=login.keepalive,
            properties=properties,
        )
        self._client.disable_logger()
        self._client.manual_ack_set(True)
        self._client.on_log = self._on_log  # until CONNACK: the only place where paho shows a TLS alert
        paho: Any = self._client
        paho._sock_recv = self._take  # noqa: SLF001
        self._received = b""
        """Bytes from the socket that nobody has taken in yet."""
        self._reading_failed: OSError | None = None
        self._end_of_stream = False
        self._heads: dict[str, bytes] = {}
        """Length and text of a topic as they are in a PUBLISH."""
        self._socket: ssl.SSLSocket | None = sock
        self._local: Closed | None = None
        self._unacknowledged: dict[int, object] = {}
        self._last_packet_id = 0
        """paho has ids of its own, for SUBSCRIBE, and is through with them before the first PUBLISH."""
        self._in_flight: dict[int, Callable[[int], None]] = {}
        """Who is told of the PUBACK, by packet id."""
        self._timer: asyncio.Handle | None = None
        self.connected = False
        """There was a CONNACK without failure code, at some time."""
        self.last_error = ""
        """What paho said last about the connection, until CONNACK."""
        self.receive_maximum = _DEFAULT_RECEIVE_MAXIMUM
        self.session_present = False
        self.inbox: deque[Inbound] = deque()
        self.inbox_changed = asyncio.Event()
        self.ended: asyncio.Future[Closed] = self._loop.create_future()

    # What a session does

    async def open(self) -> None:
        """CONNECT, and wait for the CONNACK.

        Raises:
            ConnectRefusedError: CONNACK with a failure code.
            SessionLostError: the connection ended first.
        """
        sock: Any = self._socket
        self._client._create_socket = lambda: sock  # type: ignore[method-assign] # noqa: SLF001
        try:
            self._client_connect()
        finally:
            del self._client._create_socket  # noqa: SLF001
        self._socket = None  # it belongs to paho now
        try:
            await self._connected
        except aiomqtt.MqttCodeError as error:
            code = cast("ReasonCode", error.rc)
            raise ConnectRefusedError(code.value, code.getName()) from None

    async def subscribe_all(self, topics: tuple[str, ...]) -> None:
        """SUBSCRIBE with QoS 1, and wait for the SUBACK.

        Raises:
            ConnectRefusedError: SUBACK with a failure code.
            SessionLostError: the connection ended first.
        """
        if not topics:
            return
        for code in await self.subscribe([(topic, 1) for topic in topics], timeout=float("inf")):
            assert isinstance(code, ReasonCode)
            if code.value >= _FAILURE:
                raise ConnectRefusedError(code.value, f"subscription: {code.getName()}")

    def send(self, topic: str, payload: bytes, answered: Callable[[int], None], *, retain: bool) -> None:
        """PUBLISH with QoS 1; ``answered`` is told the PUBACK's reason code."""
        if self.ended.done():
            return
        mid = self._last_packet_id = self._last_packet_id % _PACKET_IDS + 1
        if mid in self._in_flight:
            self.drop(Closed(CloseReason.PROTOCOL, "packet ids ran out"))  # a new session has them all
            return
        self._in_flight[mid] = answered
        head = self._heads.get(topic)
        if head is None:
            text = topic.encode()
            head = self._heads[topic] = len(text).to_bytes(2, "big") + text
        self._put(publish(head, mid, payload, retain=retain), mid)

    def _put(self, frame: bytes, mid: int) -> None:
        """Write a PUBLISH; what the socket does not take now is left to paho."""
        client: Any = self._client
        sock = client.socket()
        if sock is None:
            self.drop(Closed(CloseReason.PROTOCOL, "the client library has no connection"))
            return
        sent = 0
        if not client._out_packet:  # noqa: SLF001
            try:
                sent = sock.send(frame)
            except OSError:
                sent = 0  # a full socket, or a broken one: paho will find out
        if sent == len(frame):
            client._last_msg_out = time.monotonic()  # noqa: SLF001
        else:
            client._packet_queue(MessageType.PUBLISH, frame[sent:], mid, 1)  # noqa: SLF001

    def hang_up(self, closed: Closed) -> None:
        """DISCONNECT; ``closed`` is then why the session ended."""
        if not self.ended.done():
            self._local = closed
            self._client.disconnect()

    def drop(self, closed: Closed) -> None:
        """End the session now. The reset keeps old frames in the kernel from being sent later."""
        self._end(closed)
        sock = self._client.socket() or self._socket
        self._socket = None
        if sock is not None:
            assert isinstance(sock, ssl.SSLSocket)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._client._sock_close()  # noqa: SLF001
            sock.close()

    def _end(self, closed: Closed) -> None:
        if self.ended.done():
            return
        self.ended.set_result(closed)
        self.inbox_changed.set()
        if self._timer is not None:
            self._timer.cancel()
        _fail(self._connected, SessionLostError(closed))
        for subscription in self._pending_subscribes.values():
            _fail(subscription, SessionLostError(closed))
        self._in_flight.clear()

    def _acknowledge(self, mid: int, token: object) -> None:
        if self._unacknowledged.get(mid) is token and not self.ended.done():
            del self._unacknowledged[mid]
            self._client.ack(mid, 1)

    def _check_keepalive(self) -> None:
        """PINGREQ when due; paho ends the session if the answer to the last one is overdue."""
        client: Any = self._client
        client.loop_misc()
        if not self.ended.done():
            silent_since = min(client._last_msg_out, client._last_bytes_received)  # noqa: SLF001
            due_in = silent_since + client.keepalive - time.monotonic()
            self._timer = self._loop.call_later(max(due_in, _CHECK_AGAIN), self._check_keepalive)

    # What paho calls. It holds a lock meanwhile: none of these may close the socket (on_log apart).

    def _on_log(self, _client: PahoClient, _userdata: Any, level: int, text: str) -> None:
        if level == LogLevel.MQTT_LOG_ERR:
            self.last_error = f"{text} {_alert_behind(self._client.socket())}"

    def _on_connect(
        self,
        _client: PahoClient,
        _userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        super()._on_connect(_client, _userdata, flags, reason_code, properties)
        if self._connected.done() and not self._connected.cancelled() and self._connected.exception():
            return
        self._client.on_log = None
        self.connected = True
        self.session_present = flags.session_present
        self.receive_maximum = getattr(properties, "ReceiveMaximum", _DEFAULT_RECEIVE_MAXIMUM)
        if self._client.keepalive and self._timer is None:
            self._timer = self._loop.call_soon(self._check_keepalive)

    def _on_disconnect(
        self,
        _client: PahoClient,
        _userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        _properties: Properties | None = None,
    ) -> None:
        self._end(self._local or _why(reason_code, from_broker=flags.is_disconnect_packet_from_server))

    def _on_message(self, _client: PahoClient, _userdata: Any, message: MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self._loop.call_soon(self.drop, Closed(CloseReason.PROTOCOL, "a topic that is not UTF-8"))
            return
        if message.qos == 0:
            if len(self.inbox) < RECEIVE_MAXIMUM:  # beyond, QoS 0 may be lost
                self._keep(Inbound(topic, bytes(message.payload), _nothing))
            return
        if len(self._unacknowledged) >= RECEIVE_MAXIMUM:
            self._loop.call_soon(
                self.drop, Closed(CloseReason.PROTOCOL, "more messages than Receive Maximum")
            )
            return
        token = self._unacknowledged[message.mid] = object()
        self._keep(Inbound(topic, bytes(message.payload), partial(self._acknowledge, message.mid, token)))

    def _keep(self, inbound: Inbound) -> None:
        self.inbox.append(inbound)
        self.inbox_changed.set()

    def _on_socket_open(self, _client: PahoClient, _userdata: Any, sock: Any) -> None:
        self._loop.add_reader(sock.fileno(), self._read)

    def _on_socket_close(self, _client: PahoClient, _userdata: Any, sock: Any) -> None:
        self._loop.remove_reader(sock.fileno())

    def _on_socket_register_write(self, _client: PahoClient, _userdata: Any, sock: Any) -> None:
        self._client.loop_write()
        if self._client.want_write() and sock.fileno() >= 0:
            self._loop.add_writer(sock.fileno(), self._write)

    def _on_socket_unregister_write(self, _client: PahoClient, _userdata: Any, sock: Any) -> None:
        self._loop.remove_writer(sock.fileno())

    def _read(self) -> None:
        """Take in what has come: PUBACKs here, everything else by paho."""
        try:
            sock: Any = self._client.socket()
            while sock is not None:
                self._receive(sock)
                self._take_in()
                sock = self._client.socket()
                if sock is None or not sock.pending():
                    return
        except Exception:
            self.drop(Closed(CloseReason.PROTOCOL, "the client library failed"))
            raise

    def _receive(self, sock: ssl.SSLSocket) -> None:
        try:
            data = sock.recv(_READ_AT_ONCE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            self._reading_failed = error
        else:
            self._received += data
            self._end_of_stream = not data

    def _take_in(self) -> None:
        client: Any = self._client
        over = self._end_of_stream or self._reading_failed is not None
        while client.socket() is not None:
            paho_is_free = not client._in_packet["command"]  # noqa: SLF001
            waits = paho_is_free and self._take_pubacks()
            if not over and (waits or not self._received):
                return
            client.loop_read()

    def _take_pubacks(self) -> bool:
        """Take PUBACKs from the front of what was received. Whether half of one is left there."""
        found = pubacks(self._received)
        if found.used:
            self._received = self._received[found.used :]
            client: Any = self._client
            client._last_bytes_received = time.monotonic()  # noqa: SLF001
            for mid, code in found.codes:
                answered = self._in_flight.pop(mid, None)
                if answered is not None:
                    self._tell(answered, code)
        return found.cut

    def _tell(self, answered: Callable[[int], None], code: int) -> None:
        try:
            answered(code)
        except Exception as error:  # noqa: BLE001 - a fault of whoever asked is none of the session's
            self._loop.call_exception_handler({"message": "a PUBACK was not taken in", "exception": error})

    def _take(self, bufsize: int) -> bytes:
        """What paho reads in place of the socket."""
        data = self._received
        if data:
            self._received = data[bufsize:]
            return data[:bufsize]
        if self._reading_failed is not None:
            raise self._reading_failed
        if self._end_of_stream:
            return b""
        raise BlockingIOError

    def _write(self) -> None:
        self._client.loop_write()


def _alert_behind(sock: Any) -> str:
    """The TLS alert that waits unread if the broker hung up while we were still writing."""
    try:
        if sock is not None:
            sock.recv(1)
    except OSError as error:
        return str(error)
    return ""


def _why(code: ReasonCode, *, from_broker: bool) -> Closed:
    """The reason of an end that we did not ask for."""
    if from_broker:
        reason = CloseReason.TAKEN_OVER if code.value == _TAKEN_OVER else CloseReason.SERVER
        return Closed(reason, code.getName(), code.value)
    if code.value == _PROTOCOL_ERROR:
        # Also mosquitto's answer to an oversize message: PUBACK 0x95, which paho cannot parse.
        return Closed(CloseReason.PROTOCOL, "the broker sent what paho cannot parse")
    return Closed(CloseReason.NETWORK, code.getName())


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: whoever waited may have been cancelled


def _nothing() -> None:
    pass
