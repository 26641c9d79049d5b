"""Delivers what waits for one plant through its present session.

There is no loop: a new message, a PUBACK, a gate that opens and the start of a session each fill the window
of messages in flight. A message is signed at the moment it is handed to the socket, and it is delivered when
its PUBACK says so, within the time that Voke would still take its signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

import structlog

from voke_api.backoff import Pace
from voke_api.resolved import ResolvedPlant
from voke_gateway.clock import WallClock, milliseconds
from voke_gateway.outbox.store import Entry, Kind, Store
from voke_gateway.protocol.envelope import MAX_BYTES
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink.lanes import Lane, Lanes
from voke_gateway.uplink.session import CloseReason, Session, topic

MAX_WINDOW: Final = 20
"""paho queues what goes beyond, signed already."""

_LONGEST_WAIT: Final = 10.0

_SUCCESS: Final = 0x00
_NO_SUBSCRIBER: Final = 0x10

_SOON: Final = Pace(base=1.0, cap=60.0, floor=0.5)
_SLOWLY: Final = Pace(base=10.0, cap=600.0, floor=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What a PUBACK other than success asks of us."""

    what: str
    """For people."""
    reason: str = ""
    """Shown while a gate is closed."""
    plant: Pace | None = None
    """Hold back the whole plant."""
    lane: Pace | None = None
    """Hold back this topic: the others may well be allowed, or have a subscriber."""
    hopeless: bool = False
    """The message itself is at fault."""


_RULES: Final = {  # PUBACK reason codes: MQTT 5, section 3.4.2.1
    _NO_SUBSCRIBER: _Rule(
        reason="NoSubscriber", what="nobody at Voke listens to it; messages are kept", lane=_SOON
    ),
    0x87: _Rule(
        reason="PublishDenied",
        what="Voke's broker does not allow this plant to publish it; check the plant's access at Voke",
        plant=_SOON,
        lane=_SLOWLY,
    ),
    0x97: _Rule(
        reason="QuotaExceeded", what="the quota at Voke's broker is used up; messages are kept", plant=_SOON
    ),
    0x99: _Rule(what="the broker calls the payload invalid", hopeless=True),
}
_UNKNOWN: Final = _Rule(
    reason="PublishRefused", what="Voke's broker refuses a message; it is kept", lane=_SOON
)

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Flight:
    """A message between the socket and its PUBACK."""

    lane: Lane
    entry: Entry
    sent_at: float


class Sender:
    """Window, PUBACKs and refusals of one plant; outlives its sessions."""

    def __init__(
        self,
        plant: ResolvedPlant,
        *,
        store: Store,
        stats: PlantStats,
        gateway_stats: GatewayStats,
        wall_clock: WallClock,
        random: Random,
        nonce: Callable[[], str],
        on_change: Callable[[], None],
    ) -> None:
        """``on_change`` is called when ``problem`` may have changed."""
        self._plant = plant
        self._store = store
        self._stats = stats
        self._gateway_stats = gateway_stats
        self._wall_clock = wall_clock
        self._nonce = nonce
        self._on_change = on_change
        self._random = random
        self._in_flight: dict[int, _Flight] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: Session | None = None
        self._signer: Signer | None = None
        self._window = 0
        self._open = 0
        """How much of the window is used: all of it, but after a refusal it grows from one again."""
        self._taking = False
        self._deadline: asyncio.TimerHandle | None = None
        self._wake: asyncio.TimerHandle | None = None
        self._quiet: asyncio.Future[None] | None = None
        self.last_accepted = False
        """The last PUBACK said that the message was taken."""
        self.delivered = 0
        """Messages delivered in the present or last session."""
        self.overdue = False
        """The present or last session was dropped because a PUBACK did not come."""
        self.refusal = ""
        """The last refusal, for people."""
        self.configure(plant)

    def configure(self, plant: ResolvedPlant) -> None:
        """Deliver for the plant as it is from now on; only while there is no session."""
        assert self._session is None
        self._plant = plant
        voke = plant.voke
        self._accepted = {_SUCCESS} if voke.hold_on_no_subscriber else {_SUCCESS, _NO_SUBSCRIBER}
        self._puback_within = min(_LONGEST_WAIT, voke.replay_window / 2)
        topics = {kind: topic(plant, kind.value) for kind in Kind} | {Kind.ACK: topic(plant, voke.topics.ack)}
        self._lanes = Lanes(self._store, plant.name, topics, interval=plant.interval, random=self._random)

    def pace(self, interval: float) -> None:
        """The plant's snapshots come ``interval`` seconds apart from now on."""
        self._lanes.pace(interval)

    @property
    def reason(self) -> str:
        """Why messages are held although there is a session: a CamelCase word, or empty."""
        return self._lanes.reason()

    @property
    def waiting(self) -> int:
        """Messages in the store."""
        return self._store.state(self._plant.name).messages

    def attach(self, session: Session, signer: Signer) -> None:
        """Deliver through ``session`` from now on."""
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._signer = signer
        self._window = self._open = max(1, min(MAX_WINDOW, session.receive_maximum))
        self._taking = True
        self.delivered = 0
        self.overdue = False
        self._lanes.start_session()
        self.fill()

    def detach(self, reason: CloseReason) -> None:
        """The session is over. What was in flight is still in the store and will be signed anew."""
        self._session = None
        self._taking = False
        flights = list(self._in_flight.values())
        self._in_flight.clear()
        self._stats.in_flight = 0
        for timer in (self._deadline, self._wake):
            if timer is not None:
                timer.cancel()
        self._deadline = self._wake = None
        self._lanes.end_session()
        if reason is CloseReason.PROTOCOL and flights:
            self._find_culprit(flights)
        self._wake_waiter()

    def fill(self) -> None:
        """Send what may be sent now."""
        session, in_flight = self._session, self._in_flight
        if session is None or not self._taking:
            return
        state = self._store.state(self._plant.name)
        if state.messages <= len(in_flight):
            return
        loop = self._loop
        assert loop is not None
        now = loop.time()
        while state.messages > len(in_flight):
            chosen = self._lanes.next(now, self._open, len(in_flight))
            if chosen is None:
                self._wake_later(loop, now)
                break
            self._send(session, *chosen, now)
        self._stats.in_flight = len(in_flight)
        if in_flight and self._deadline is None:
            self._deadline = loop.call_at(now + self._puback_within, self._check_deadline)

    async def finish(self) -> None:
        """Take nothing new; return when nothing is in flight."""
        self._taking = False
        await self._quiet_down()

    async def empty(self) -> None:
        """Return when nothing waits; the backlog need not keep its pace any more."""
        self._lanes.hurry = True
        self.fill()
        await self._quiet_down()

    def _send(self, session: Session, lane: Lane, entry: Entry, now: float) -> None:
        """Sign and publish one message; what cannot be sent is set aside."""
        assert self._signer is not None
        try:
            ts = milliseconds(self._wall_clock())
            payload = lane.seal(self._signer, entry.content, ts, self._nonce())
            self._stats.signed += 1
        except ValueError as error:
            self._set_aside(lane, entry, f"cannot be signed: {error}")
            return
        if len(payload) > MAX_BYTES:
            self._set_aside(lane, entry, f"{len(payload)} bytes; Voke takes {MAX_BYTES}")
            return
        flight = self._in_flight[entry.id] = _Flight(lane, entry, now)
        session.publish(lane.topic, payload, partial(self._answered, session, flight), retain=lane.retain)

    def _set_aside(self, lane: Lane, entry: Entry, why: str) -> None:
        lane.in_flight -= 1
        self._quarantine(entry, why)
        self._wake_waiter()

    def _answered(self, session: Session, flight: _Flight, code: int) -> None:
        """Do as the PUBACK says. Until it comes, how the session ends says what to think of the message."""
        if self._session is not session:
            return  # too late: Voke may have thrown it away as a replay
        assert self._loop is not None
        self._gateway_stats.publish_duration.observe(self._loop.time() - flight.sent_at)
        if code in self._accepted:
            self._accept(flight)
        else:
            self._refuse(flight, code)
        self._landed(flight)

    def _accept(self, flight: _Flight) -> None:
        entry, lanes, stats = flight.entry, self._lanes, self._stats
        self._store.delivered(entry)
        self.delivered += 1
        self.last_accepted = True
        stats.delivered[entry.kind] += 1
        stats.last_delivered_at = now = self._wall_clock()
        stats.delay_sum += max(0.0, now - entry.created_at)
        stats.delay_count += 1
        if lanes.gate.reason or flight.lane.gate.reason:
            lanes.gate.taken()
            flight.lane.gate.taken()
            self._on_change()
        if self._open < self._window:
            self._open += 1
        if lanes.one_at_a_time:
            lanes.clear_suspicion(entry)

    def _refuse(self, flight: _Flight, code: int) -> None:
        lane, entry = flight.lane, flight.entry
        self.last_accepted = False
        self._stats.refused[f"0x{code:02X}"] += 1
        suspected = self._lanes.clear_suspicion(entry)
        rule = _RULES.get(code, _UNKNOWN)
        now = asyncio.get_running_loop().time()
        for gate, pace in ((self._lanes.gate, rule.plant), (lane.gate, rule.lane)):
            if pace is None:
                gate.taken()
            else:
                gate.refused(now, rule.reason, pace)
        if rule.reason:
            self.refusal = f"{lane.topic}: {rule.what} (PUBACK 0x{code:02X})"
            self._open = 1
        if rule.hopeless:
            self._quarantine(entry, f"{rule.what} (PUBACK 0x{code:02X})")
        elif not suspected:  # suspects are taken from the store again, in their turn
            lane.put_back(entry, last=rule is _UNKNOWN)
        self._on_change()

    def _landed(self, flight: _Flight) -> None:
        """An answer has come: its place in the window is free."""
        if self._in_flight.pop(flight.entry.id, None) is None:
            return
        flight.lane.in_flight -= 1
        self._stats.in_flight = len(self._in_flight)
        self.fill()
        self._wake_waiter()

    def _quarantine(self, entry: Entry, why: str) -> None:
        self._store.quarantine(entry, why)
        self._lanes.clear_suspicion(entry)
        _log.error(
            "message quarantined",
            plant=self._plant.name,
            kind=entry.kind.value,
            bytes=len(entry.content),
            why=why,
        )

    def _find_culprit(self, flights: list[_Flight]) -> None:
        """One of these messages broke the session over its size: mosquitto answers PUBACK 0x95, which paho cannot parse."""
        if len(flights) == 1:
            self._quarantine(flights[0].entry, "the session broke over it: too large for the broker")
        else:
            self._lanes.suspect([(flight.lane, flight.entry) for flight in flights])

    def _check_deadline(self) -> None:
        """One timer for the whole window: the oldest message decides."""
        self._deadline = None
        if not self._in_flight or self._session is None:
            return
        loop = asyncio.get_running_loop()
        due = min(flight.sent_at for flight in self._in_flight.values()) + self._puback_within
        if due > loop.time():
            self._deadline = loop.call_at(due, self._check_deadline)
            return
        self.overdue = True
        session, self._session = self._session, None
        session.abort()

    def _wake_later(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        at = self._lanes.wake_at(now)
        if at is None or (self._wake is not None and self._wake.when() <= at):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = loop.call_at(at, self._woken)

    def _woken(self) -> None:
        self._wake = None
        self.fill()

    async def _quiet_down(self) -> None:
        while self._session is not None and (self._in_flight or (self._taking and self.waiting)):
            self._quiet = asyncio.get_running_loop().create_future()
            await self._quiet

    def _wake_waiter(self) -> None:
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)
