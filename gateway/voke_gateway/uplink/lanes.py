"""Which message goes next: acks, alarms, info, live telemetry, then the backlog, each if its gate lets it.

Nothing here knows of sessions or time-outs; :mod:`voke_gateway.uplink.sender` carries out what is chosen.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from random import Random
from typing import Final

from voke_api.backoff import Pace
from voke_gateway.outbox.store import Entry, Kind, Store
from voke_gateway.protocol import envelope
from voke_gateway.protocol.sign import Signer

Seal = Callable[[Signer, bytes, int, str], bytes]

_BATCH: Final = 20
_BACKLOG_RATE: Final = 4.0
"""Backlog messages per live one: an hour's outage is made up for in a quarter of an hour."""
_BACKLOG_RATE_MIN: Final = 2.0
"""Backlog messages per second for plants that tick slowly."""
_BACKLOG_BURST: Final = 10.0
_TOKEN: Final = 0.999
"""A token, less what a timer may come early."""
_by_id = attrgetter("id")


class Gate:
    """Lets messages pass, until one is refused; then waits, tries one, and opens when that is taken."""

    __slots__ = ("_attempt", "_probing", "_random", "_until", "reason")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._attempt = 0
        self._until = 0.0
        self._probing = False
        self.reason = ""
        """Why the gate is closed; empty: it is open."""

    def admits(self, now: float) -> bool:
        """Whether a message may pass now."""
        return not self.reason or (now >= self._until and not self._probing)

    def passed(self) -> None:
        """A message passes; through a closed gate only this one."""
        self._probing = bool(self.reason)

    def refused(self, now: float, reason: str, pace: Pace) -> None:
        """A message was refused. Others sent before the gate closed add nothing."""
        if self.reason and not self._probing:
            return
        self.reason = reason
        self._probing = False
        self._until = now + pace.delay(self._attempt, self._random)
        self._attempt += 1

    def taken(self) -> None:
        """A message was taken. While the gate waits, those sent before it closed prove nothing."""
        if self._probing:
            self.reason = ""
            self._probing = False
            self._attempt = 0

    def abandon(self) -> None:
        """The session ended: the answer to what was tried never comes."""
        self._probing = False

    def opens_at(self) -> float | None:
        """When the next message may be tried; None: open already, or waiting for an answer."""
        return self._until if self.reason and not self._probing else None


class Lane:
    """Messages of one kind, strictly in order: the next only after the one before was delivered."""

    __slots__ = ("_plant", "_store", "gate", "in_flight", "kind", "retain", "seal", "topic")

    def __init__(self, store: Store, plant: str, kind: Kind, topic: str, gate: Gate) -> None:
        self._store = store
        self._plant = plant
        self.kind = kind
        self.topic = topic
        self.gate = gate
        self.seal: Seal = _SEALS[kind]
        self.retain = kind is Kind.INFO
        self.in_flight = 0

    def peek(self) -> Entry | None:
        """The message that goes next; None: none may."""
        if self.in_flight:
            return None
        first = self._store.pending(self._plant, self.kind, limit=1)
        return first[0] if first else None

    def take(self) -> None:
        """The message of ``peek`` is on its way."""

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """It was refused: it stays first in the store."""

    def clear(self) -> None:
        """A session ended: what was on its way is not any more."""
        self.in_flight = 0
        self.gate.abandon()


class TelemetryLane(Lane):
    """Snapshots within a range of ids, oldest first; many at once, so a refused one is passed by others."""

    __slots__ = ("_after", "_again", "_fetched", "_last", "_upto")

    def __init__(self, store: Store, plant: str, topic: str, gate: Gate) -> None:
        super().__init__(store, plant, Kind.TELEMETRY, topic, gate)
        self._after = 0
        self._upto: int | None = 0
        self._again: list[Entry] = []
        self._fetched: deque[Entry] = deque()
        self._last: deque[Entry] = deque()

    def start(self, after: int, upto: int | None) -> None:
        """Begin with ids greater than ``after`` and not beyond ``upto``."""
        self._after, self._upto = after, upto
        self._again.clear()
        self._fetched.clear()
        self._last.clear()

    def peek(self) -> Entry | None:
        """The message that goes next; None: none waits."""
        queue = self._queue()
        return queue[0] if queue else None

    def take(self) -> None:
        """The message of ``peek`` is on its way."""
        queue = self._queue()
        assert queue
        del queue[0]

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """It was refused: it goes first again, or ``last`` if it may be the reason itself."""
        if last:
            self._last.append(entry)
        else:
            insort(self._again, entry, key=_by_id)

    def _queue(self) -> list[Entry] | deque[Entry] | None:
        if self._again:
            return self._again
        if not self._fetched and (self._upto is None or self._after < self._upto):
            self._fetch()
        return self._fetched or self._last or None

    def _fetch(self) -> None:
        found = self._store.pending(self._plant, Kind.TELEMETRY, after=self._after, limit=_BATCH)
        if self._upto is None:
            self._fetched.extend(found)
        else:
            self._fetched.extend(entry for entry in found if entry.id <= self._upto)
            if len(found) < _BATCH:
                self._after = self._upto  # what comes later is live
        if found:
            self._after = max(self._after, found[-1].id)


class Lanes:
    """All lanes of one plant, and the choice among them."""

    __slots__ = (
        "_alternate",
        "_backlog",
        "_live",
        "_plant",
        "_rate",
        "_refilled_at",
        "_store",
        "_suspects",
        "_tokens",
        "_urgent",
        "all",
        "gate",
        "hurry",
    )

    def __init__(
        self, store: Store, plant: str, topics: dict[Kind, str], *, interval: float, random: Random
    ) -> None:
        """``interval``: seconds between two live snapshots."""
        self._store = store
        self._plant = plant
        self.gate = Gate(random)
        """Of the whole plant; each topic has one of its own, too."""
        self._urgent = tuple(
            Lane(store, plant, kind, topics[kind], Gate(random)) for kind in (Kind.ACK, Kind.ALARM, Kind.INFO)
        )
        shared = Gate(random)
        self._live = TelemetryLane(store, plant, topics[Kind.TELEMETRY], shared)
        self._backlog = TelemetryLane(store, plant, topics[Kind.TELEMETRY], shared)
        self.all: tuple[Lane, ...] = (*self._urgent, self._live, self._backlog)
        self._suspects: dict[int, tuple[Lane, Entry]] = {}
        self.pace(interval)
        self._tokens = _BACKLOG_BURST
        self._refilled_at = 0.0
        self._alternate = False
        self.hurry = False
        """No time left for a measured pace: the backlog goes as fast as the window allows."""

    def pace(self, interval: float) -> None:
        """The backlog's share of the rate follows the interval."""
        self._rate = max(_BACKLOG_RATE / interval, _BACKLOG_RATE_MIN)

    def start_session(self) -> None:
        """What waits now is backlog; what comes from now on is live."""
        newest = self._store.newest(self._plant)
        self._live.start(newest, None)
        self._backlog.start(0, newest)

    def end_session(self) -> None:
        """Nothing is on its way any more."""
        self.gate.abandon()
        for lane in self.all:
            lane.clear()

    @property
    def one_at_a_time(self) -> bool:
        """A message that breaks sessions is being looked for."""
        return bool(self._suspects)

    def suspect(self, messages: list[tuple[Lane, Entry]]) -> None:
        """One of these broke the session: let each prove itself, alone."""
        self._suspects = {entry.id: (lane, entry) for lane, entry in messages}

    def clear_suspicion(self, entry: Entry) -> bool:
        """``entry`` got an answer, whatever it was. Whether it was suspected."""
        return self._suspects.pop(entry.id, None) is not None

    def next(self, now: float, window: int, in_flight: int) -> tuple[Lane, Entry] | None:
        """Choose and take the next message; None: nothing may go now."""
        if in_flight >= (1 if self._suspects else window) or not self.gate.admits(now):
            return None
        chosen = self._next_suspect(now) if self._suspects else self._choose(now, window)
        if chosen is not None:
            lane = chosen[0]
            lane.in_flight += 1
            lane.gate.passed()
            self.gate.passed()
        return chosen

    def wake_at(self, now: float) -> float | None:
        """The earliest moment to come at which time alone may let a message go."""
        return min((at for at in self._wake_times() if at > now), default=None)

    def reason(self) -> str:
        """Why some or all messages are held; empty: none are."""
        return next((gate.reason for gate in self._gates() if gate.reason), "")

    def _next_suspect(self, now: float) -> tuple[Lane, Entry] | None:
        return next((each for each in self._suspects.values() if each[0].gate.admits(now)), None)

    def _choose(self, now: float, window: int) -> tuple[Lane, Entry] | None:
        for lane in self._urgent if self._store.state(self._plant).urgent else ():
            if lane.gate.admits(now) and (entry := lane.peek()):
                lane.take()
                return lane, entry
        if self._live.gate.admits(now):
            return self._choose_telemetry(now, window)
        return None

    def _choose_telemetry(self, now: float, window: int) -> tuple[Lane, Entry] | None:
        backlog = self._backlog_ready(now, window)
        live = self._live.peek()
        if live and not (backlog and self._is_backlogs_turn(window)):
            self._alternate = True
            self._live.take()
            return self._live, live
        if backlog:
            self._alternate = False
            self._tokens -= 1.0
            self._backlog.take()
            return self._backlog, backlog
        return None

    def _backlog_ready(self, now: float, window: int) -> Entry | None:
        """The backlog's next message, if its share of window and rate allows one."""
        if self._backlog.in_flight >= max(1, window // 2):
            return None
        entry = self._backlog.peek()
        if entry is None or self.hurry:
            return entry
        self._tokens = min(_BACKLOG_BURST, self._tokens + (now - self._refilled_at) * self._rate)
        self._refilled_at = now
        return entry if self._tokens >= _TOKEN else None

    def _is_backlogs_turn(self, window: int) -> bool:
        """Live data leaves the backlog one place in the window; if that is all there is, they take turns."""
        return self._alternate if window == 1 else self._live.in_flight >= window - 1

    def _gates(self) -> Iterator[Gate]:
        yield self.gate
        for lane in self.all:
            yield lane.gate

    def _wake_times(self) -> Iterator[float]:
        for gate in self._gates():
            opens_at = gate.opens_at()
            if opens_at is not None:
                yield opens_at
        if not self._suspects and not self.hurry and self._tokens < _TOKEN and self._backlog.peek():
            yield self._refilled_at + (1.0 - self._tokens) / self._rate


_SEALS: Final[dict[Kind, Seal]] = {
    Kind.ACK: envelope.seal_ack,
    Kind.ALARM: envelope.seal_alarm,
    Kind.INFO: envelope.seal_info,
    Kind.TELEMETRY: envelope.seal_telemetry,
}
