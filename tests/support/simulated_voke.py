"""Voke in memory: a broker and a judge behind the session seam, for simulations on the virtual clock.

It keeps every message that arrived and judges each as Voke would: a fresh nonce, a ``ts`` inside the replay
window, a valid signature, no more in flight than it allows. What it objects to is in ``faults``.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.virtual_time import wall_clock
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.sign import Signer
from voke_gateway.uplink.session import (
    Closed,
    CloseReason,
    ConnectFailedError,
    ConnectRefusedError,
    Inbound,
    Login,
)


@dataclass(frozen=True)
class Received:
    """A message as it arrived at the broker, whatever the answer was."""

    at: float
    """Loop time."""
    session: int
    """Number of the session, from 1."""
    plant_id: str
    suffix: str
    payload: bytes
    retain: bool
    document: dict[str, Any]
    """Parsed payload."""
    code: int | None
    """The PUBACK's reason code; None: none was sent."""

    @property
    def content(self) -> dict[str, Any]:
        """Without the envelope."""
        return {key: value for key, value in self.document.items() if key not in {"ts", "n", "sig"}}


Answer = Callable[[str, dict[str, Any]], int | None]


def accept_all(_suffix: str, _document: dict[str, Any]) -> int | None:
    """PUBACK 0x00 for everything."""
    return 0


@dataclass
class SimulatedVoke:
    """A ``Connector`` to a broker whose behaviour may be changed at any moment."""

    keys: dict[str, bytes]
    """HMAC key by plant id."""
    latency: float = 0.02
    """Seconds from a PUBLISH to its PUBACK."""
    receive_maximum: int = 65_535
    replay_window: float = 30.0
    size_limit: int = 8192
    abort_takes: float = 0.0
    """Seconds during which an aborted session still hands on what was read already."""
    says_taken_over: bool = True
    """False: like mosquitto before 2.0.15, an evicted session just ends."""
    online: bool = True
    refusal: Exception | None = None
    """Raised by every attempt to connect."""
    answer: Answer = accept_all
    """The PUBACK for a message, by topic suffix and document; None: none is sent."""
    received: list[Received] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    logins: list[tuple[float, Login]] = field(default_factory=list)
    """Every attempt, with its loop time."""
    evictions: list[float] = field(default_factory=list)
    """Loop times at which one client took another's session."""
    most_in_flight: int = 0
    sessions: dict[str, SimulatedSession] = field(default_factory=dict)
    """Live ones by client id."""
    opened: int = 0
    nonces: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    async def connect(self, login: Login) -> SimulatedSession:
        """As :class:`voke_gateway.uplink.session.Connector`."""
        self.logins.append((asyncio.get_running_loop().time(), login))
        await asyncio.sleep(2 * self.latency)
        if not self.online:
            raise ConnectFailedError(f"{login.host}:{login.port} is out of reach (Connection refused)")
        if self.refusal is not None:
            raise self.refusal
        previous = self.sessions.get(login.client_id)
        if previous is not None:
            self.evictions.append(asyncio.get_running_loop().time())
            if self.says_taken_over:
                previous.end(Closed(CloseReason.TAKEN_OVER, "session taken over", 0x8E))
            else:
                previous.end(Closed(CloseReason.NETWORK, "EOF"))
        self.opened += 1
        session = SimulatedSession(self, login, self.opened)
        self.sessions[login.client_id] = session
        return session

    def refuse_logins(self, code: int, name: str) -> None:
        """Answer CONNACK with a failure from now on."""
        self.refusal = ConnectRefusedError(code, name)

    def cut(self, reason: CloseReason = CloseReason.NETWORK) -> None:
        """End every session."""
        for session in list(self.sessions.values()):
            session.end(Closed(reason, "cut"))

    def go_offline(self) -> None:
        """End every session and refuse TCP."""
        self.online = False
        self.cut()

    def send(self, client_id: str, topic: str, payload: bytes, acknowledged: Callable[[], None]) -> None:
        """A message to a plant."""
        self.sessions[client_id].inbound.put_nowait(Inbound(topic, payload, acknowledged))

    def accepted(self, suffix: str = "telemetry") -> list[dict[str, Any]]:
        """Contents of what was answered with 0x00, in order of arrival, repetitions included."""
        return [m.content for m in self.received if m.suffix == suffix and m.code == 0]

    def arrive(self, session: SimulatedSession, topic: str, payload: bytes, *, retain: bool) -> int | None:
        """Judge and answer a message."""
        _, plant_id, suffix = topic.split("/", 2)
        document = json.loads(payload)
        self._judge(plant_id, suffix, document)
        code = self.answer(suffix, document)
        now = asyncio.get_running_loop().time()
        self.received.append(Received(now, session.number, plant_id, suffix, payload, retain, document, code))
        return code

    def _judge(self, plant_id: str, suffix: str, document: dict[str, Any]) -> None:
        ts, n, sig = document["ts"], document["n"], document["sig"]
        if n in self.nonces[plant_id]:
            self.faults.append(f"nonce {n} used again")
        self.nonces[plant_id].add(n)
        if abs(wall_clock() - ts / 1000) > self.replay_window:
            self.faults.append(f"ts {ts} is outside the replay window")
        signer = Signer(plant_id, self.keys[plant_id])
        if suffix == "ack":
            right = signer.ack(document["cmdId"], ts, document["st"], n)
        elif suffix == "alarm":
            ev, alarm_id, code, sev = (document[k] for k in ("ev", "alarmId", "code", "sev"))
            right = signer.alarm(ts, n, ev, alarm_id, code, sev)
        else:
            body = canonical({k: v for k, v in document.items() if k not in {"ts", "n", "sig"}})
            right = signer.telemetry(ts, n, body)
        if sig != right:
            self.faults.append(f"bad signature on {suffix} {document}")


class SimulatedSession:
    """As :class:`voke_gateway.uplink.session.Session`."""

    def __init__(self, voke: SimulatedVoke, login: Login, number: int) -> None:
        self._voke = voke
        self.login = login
        self.number = number
        self.inbound: asyncio.Queue[Inbound | None] = asyncio.Queue()
        self._ended: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._in_flight = 0
        self._wire: deque[tuple[str, bytes, bool, Callable[[int], None]]] = deque()
        """TCP keeps the order; timers of the same moment do not."""
        self.disconnected = False
        """Ended by our DISCONNECT."""

    @property
    def receive_maximum(self) -> int:
        return self._voke.receive_maximum

    @property
    def session_present(self) -> bool:
        return self.number > 1

    def publish(
        self, topic: str, payload: bytes, answered: Callable[[int], None], *, retain: bool = False
    ) -> None:
        if self._ended.done():
            return
        self._in_flight += 1
        voke = self._voke
        voke.most_in_flight = max(voke.most_in_flight, self._in_flight)
        if self._in_flight > voke.receive_maximum:
            voke.faults.append("more in flight than the broker's Receive Maximum")
        self._wire.append((topic, payload, retain, answered))
        asyncio.get_running_loop().call_later(voke.latency / 2, self._arrive)

    def messages(self) -> AsyncIterator[Inbound]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[Inbound]:
        while (message := await self.inbound.get()) is not None:
            yield message

    async def closed(self) -> Closed:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        if not self._ended.done():
            self.disconnected = True
            self.end(Closed(CloseReason.LOCAL))

    def abort(self) -> None:
        delay = self._voke.abort_takes
        if delay:
            asyncio.get_running_loop().call_later(delay, self.end, Closed(CloseReason.NETWORK, "aborted"))
        else:
            self.end(Closed(CloseReason.NETWORK, "aborted"))

    def end(self, closed: Closed) -> None:
        """The session is over, for both sides."""
        if self._ended.done():
            return
        self._ended.set_result(closed)
        if self._voke.sessions.get(self.login.client_id) is self:
            del self._voke.sessions[self.login.client_id]
        self.inbound.put_nowait(None)

    def _arrive(self) -> None:
        topic, payload, retain, answered = self._wire.popleft()
        if self._ended.done():
            return
        if len(payload) > self._voke.size_limit:
            self.end(Closed(CloseReason.PROTOCOL, "cannot parse a PUBACK"))
            return
        code = self._voke.arrive(self, topic, payload, retain=retain)
        if code is not None:
            asyncio.get_running_loop().call_later(self._voke.latency / 2, self._acknowledge, answered, code)

    def _acknowledge(self, answered: Callable[[int], None], code: int) -> None:
        if not self._ended.done():
            self._in_flight -= 1
            answered(code)
