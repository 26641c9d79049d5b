"""What the local Voke has seen: plain records, bounded where a fleet would make them grow for ever."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["telemetry", "ack", "alarm", "info", "status"]

TERMINAL_STATES = frozenset({"COMPLETED", "FAILED"})


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing about an accepted message."""

    code: str
    """out-of-order, duplicate-sample, timestamp-after-ts, ack-repeated, alarm-repeated or unsigned."""
    subject: str
    """The device, command or alarm."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message that the judge took."""

    plant_id: str
    kind: Kind
    document: dict[str, Any]
    received_at: float
    """Seconds since the epoch."""
    size: int
    """Bytes of payload."""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that the judge did not take."""

    topic: str
    plant_id: str | None
    kind: Kind | None
    reason: str
    """Stable code; the list is in judge.mjs and, complete, in its test."""
    detail: str
    received_at: float
    payload: bytes


@dataclass(slots=True)
class Latest:
    """The newest sample of one device."""

    external_id: str
    type: str
    timestamp: str | int
    """As the plant sent it; ``ts`` if it sent none."""
    received_at: float
    raw: int | None = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ack:
    """One acknowledgement of a command."""

    st: str
    err: str | None
    msg: str | None
    received_at: float


@dataclass(slots=True)
class SentCommand:
    """A command that was sent, and how the plant answered."""

    plant_id: str
    cmd_id: str
    type: str
    p: dict[str, Any] | None
    sent_at: float
    acks: list[Ack] = field(default_factory=list)

    @property
    def outcome(self) -> Ack | None:
        """The terminal acknowledgement; None: there is none yet."""
        return next((ack for ack in self.acks if ack.st in TERMINAL_STATES), None)


@dataclass(slots=True)
class AlarmInstance:
    """One alarm from RAISE to RESOLVE."""

    plant_id: str
    alarm_id: str
    code: int
    severity: int
    msg: str | None
    detail: dict[str, Any] | None
    raised_at: float
    resolved_at: float | None = None


@dataclass(slots=True)
class Counters:
    """How many messages, by plant and kind, by reason and by note."""

    accepted: Counter[tuple[str, Kind]] = field(default_factory=Counter)
    refused: Counter[tuple[str | None, Kind | None]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    redelivered: int = 0
    """Sent to us twice by the broker, after a break between it and us; counted nowhere else."""

    def total_accepted(self, *, plant_id: str | None = None, kind: Kind | None = None) -> int:
        """Messages taken, of one plant or all, of one kind or all."""
        return sum(
            count
            for (plant, of_kind), count in self.accepted.items()
            if plant_id in (None, plant) and kind in (None, of_kind)
        )

    def total_refused(self, *, plant_id: str | None = None, kind: Kind | None = None) -> int:
        """Messages not taken, of one plant or all, of one kind or all."""
        return sum(
            count
            for (plant, of_kind), count in self.refused.items()
            if plant_id in (None, plant) and kind in (None, of_kind)
        )


class Records:
    """Everything that was judged. ``keep`` bounds the messages that are kept whole, not the counters."""

    def __init__(self, keep: int) -> None:
        self.counters = Counters()
        self.accepted: deque[Accepted] = deque(maxlen=keep)
        self.refused: deque[Refused] = deque(maxlen=keep)
        self.latest: dict[tuple[str, str], Latest] = {}
        """By plant id and externalId."""
        self.info: dict[str, dict[str, Any]] = {}
        """The retained ``info`` by plant id."""
        self.commands: dict[str, SentCommand] = {}
        """By cmdId."""
        self.alarms: dict[tuple[str, str], AlarmInstance] = {}
        """By plant id and alarmId."""
        self._keep = keep

    def accept(self, message: Accepted) -> None:
        """Take in a message that the judge took."""
        self.accepted.append(message)
        self.counters.accepted[message.plant_id, message.kind] += 1
        for note in message.notes:
            self.counters.notes[note.code] += 1
        match message.kind:
            case "telemetry":
                self._telemetry(message)
            case "ack":
                self._ack(message)
            case "alarm":
                self._alarm(message)
            case "info":
                self.info[message.plant_id] = message.document
            case "status":
                pass

    def refuse(self, message: Refused) -> None:
        """Take in a message that the judge did not take."""
        self.refused.append(message)
        self.counters.refused[message.plant_id, message.kind] += 1
        self.counters.reasons[message.reason] += 1

    def sent(self, command: SentCommand) -> None:
        """Remember a command; sent again with the same id, it keeps its acks."""
        self.commands.setdefault(command.cmd_id, command)
        if len(self.commands) > self._keep:
            del self.commands[next(iter(self.commands))]

    def _telemetry(self, message: Accepted) -> None:
        late = {note.subject for note in message.notes if note.code in {"out-of-order", "duplicate-sample"}}
        timestamp = message.document.get("timestamp", message.document["ts"])
        for device in message.document["devices"]:
            external_id = device["externalId"]
            if external_id in late:
                continue
            known = self.latest.get((message.plant_id, external_id))
            values = device.get("values", {})
            if known is not None and known.timestamp == timestamp:  # a snapshot that was split
                known.values.update(values)
                continue
            self.latest[message.plant_id, external_id] = Latest(
                external_id=external_id,
                type=device["type"],
                timestamp=timestamp,
                received_at=message.received_at,
                raw=device.get("raw"),
                values=values,
            )

    def _ack(self, message: Accepted) -> None:
        document = message.document
        command = self.commands.get(document["cmdId"])
        if command is not None:
            command.acks.append(
                Ack(document["st"], document.get("err"), document.get("msg"), message.received_at)
            )

    def _alarm(self, message: Accepted) -> None:
        document = message.document
        key = (message.plant_id, document["alarmId"])
        if document["ev"] == "RAISE":
            self.alarms.setdefault(
                key,
                AlarmInstance(
                    plant_id=message.plant_id,
                    alarm_id=document["alarmId"],
                    code=document["code"],
                    severity=document["sev"],
                    msg=document.get("msg"),
                    detail=document.get("detail"),
                    raised_at=message.received_at,
                ),
            )
            if len(self.alarms) > self._keep:
                del self.alarms[next(iter(self.alarms))]
        elif (alarm := self.alarms.get(key)) is not None and alarm.resolved_at is None:
            alarm.resolved_at = message.received_at
