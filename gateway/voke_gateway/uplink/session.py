"""The session seam: one MQTT connection, from CONNACK to its end. aiomqtt lives behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from voke_api.resolved import PlantCredentials, ResolvedPlant


class CloseReason(StrEnum):
    """Why a session ended. Stable: shown in metrics as the reason of a reconnect."""

    NETWORK = "network"
    """EOF, reset, keepalive time-out."""
    TAKEN_OVER = "taken-over"
    """DISCONNECT 0x8E: another client used our client id."""
    PROTOCOL = "protocol"
    """The peer sent what the client library cannot parse (mosquitto's answer to an oversize message)."""
    SERVER = "server"
    """DISCONNECT with any other reason."""
    LOCAL = "local"
    """We closed it."""


@dataclass(frozen=True, slots=True)
class Closed:
    """How a session ended."""

    reason: CloseReason
    detail: str = ""
    code: int | None = None
    """MQTT 5 reason code, if one was sent."""


class SessionLostError(Exception):
    """The session ended before what was asked of it was answered."""

    def __init__(self, closed: Closed) -> None:
        super().__init__(closed.reason, closed.detail)
        self.closed = closed


class ConnectFailedError(Exception):
    """No session: name resolution, TCP, TLS or time-out, and with which host. Trying again may help."""


class CertificateRefusedError(ConnectFailedError):
    """The broker does not take our client certificate: a person must act, at the broker or on the certificate."""


class ConnectRefusedError(Exception):
    """The broker answered CONNACK with a failure: credentials or policy."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"broker refused the login: {name} (0x{code:02X})")
        self.code = code


class CredentialsError(Exception):
    """Our own material is unusable (expired certificate, key that does not fit): a person must act."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message from the broker. Until ``acknowledge`` is called the broker keeps it."""

    topic: str
    payload: bytes
    acknowledge: Callable[[], None]
    """Send the PUBACK; harmless after the session ended."""


class Session(Protocol):
    """One MQTT 5 connection after a successful CONNACK and SUBACK."""

    @property
    def receive_maximum(self) -> int:
        """How many QoS 1 publishes the broker takes at once."""

    @property
    def session_present(self) -> bool:
        """The broker remembered us."""

    def publish(
        self, topic: str, payload: bytes, answered: Callable[[int], None], *, retain: bool = False
    ) -> None:
        """Publish with QoS 1; ``answered`` is told the PUBACK's reason code (0x00 … 0x99) as soon as it is read.

        The frame has been handed to the socket when this returns. The caller keeps the number of messages in
        flight within its window and sets its own time-out. If the session ends before the PUBACK, or has
        ended already, ``answered`` is never called: ``closed`` tells of that.
        """

    def messages(self) -> AsyncIterator[Inbound]:
        """Inbound messages in order; ends when the session ends."""

    async def closed(self) -> Closed:
        """Wait for the end of the session and say why."""

    async def close(self) -> None:
        """DISCONNECT and close. Idempotent."""

    def abort(self) -> None:
        """Drop the socket at once, without DISCONNECT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What one session logs in with. Never logged whole."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None
    """Password, or the JWT."""
    session_expiry: int
    """Seconds."""
    keepalive: int
    """Seconds."""
    subscribe: tuple[str, ...]
    """Topics, QoS 1."""
    credentials: PlantCredentials
    """For TLS."""
    present_certificate: bool
    """mTLS."""

    def __repr__(self) -> str:
        """Without password and key material."""
        return f"Login({self.client_id!r} at {self.host}:{self.port})"


class Connector(Protocol):
    """Opens sessions."""

    async def connect(self, login: Login) -> Session:
        """Connect (clean start false), subscribe, and return the session.

        Raises:
            ConnectFailedError: name resolution, TCP, TLS or time-out.
            CertificateRefusedError: a TLS alert says that the broker does not take our client certificate.
            ConnectRefusedError: CONNACK or SUBACK with a failure code.
            CredentialsError: the material itself is unusable.
        """


def topic(plant: ResolvedPlant, suffix: str) -> str:
    """``cpi/{plantId}/{suffix}`` (protocol §2)."""
    return f"cpi/{plant.plant_id}/{suffix}"
