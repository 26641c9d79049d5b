"""What is known about a device after it was read once: the material that guesses are made from. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from voke_api.blocks import Item, items
from voke_api.resolved import ResolvedDevice
from voke_api.resources.common import Table
from voke_api.resources.points import Point
from voke_gateway.drivers.base import Fault, FaultKind, Value
from voke_gateway.drivers.modbus.asked import Words
from voke_gateway.drivers.modbus.look import Asked

How = Literal["plain", "patient", "settled"]
"""Within the connection's time-out; within a long one; within the time-out, on a new connection after a rest."""


@dataclass(frozen=True, slots=True)
class Question:
    """A read that a guess could be founded on."""

    unit: int
    table: Table
    address: int
    count: int
    how: How = "plain"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question brought."""

    words: Words | Fault
    seconds: float


Target = Literal["point", "device", "limits", "raw", "connection"]
"""What a change is made to: a point, its device, the device's limits or mask, its connection's modbusTcp."""


@dataclass(frozen=True, slots=True)
class Change:
    """Keys to write into the Plant or its profile."""

    target: Target
    keys: Mapping[str, Any]
    """As in the file; None: take the key out."""
    field: str = ""
    """Of the point."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What could be wrong, why one may think so, and what to change."""

    kind: str
    """Stable, for scripts: word-order, off-by-one, unit-id …"""
    evidence: str
    """One sentence."""
    changes: tuple[Change, ...]
    score: float
    """How much speaks for it; only the order matters."""


@dataclass(slots=True)
class DeviceFacts:
    """One device, what one pass brought, and what further questions brought."""

    device: ResolvedDevice
    timeout: float
    """Seconds, of its connection."""
    values: Mapping[str, Value] = field(default_factory=dict)
    mask: int | None = None
    faults: Mapping[str, Fault] = field(default_factory=dict)
    """By item key; of a device that gave no value at all, for every item."""
    asked: tuple[Asked, ...] = ()
    """The requests of the pass."""
    other_units: Mapping[int, str] = field(default_factory=dict)
    """Unit ids that other devices of the Plant have: which device on the same connection, if it is there."""
    answers: dict[Question, Answer] = field(default_factory=dict)
    words: dict[tuple[Table, int], int] = field(default_factory=dict)
    """Every register and bit of the device's own unit that any request brought."""
    connected: bool = True
    """There was a connection."""
    listed_bits: bool = False
    """It is a cabinet whose mask is declared bit by bit."""

    @property
    def silent(self) -> Fault | None:
        """Why nothing at all was answered; None if something was, be it an exception."""
        if self.asked and all(_is_silence(each.answer) for each in self.asked):
            last = self.asked[-1].answer
            return last if isinstance(last, Fault) else None
        return None

    def __post_init__(self) -> None:
        for each in self.asked:
            self._learn(each.table, each.address, each.answer)

    def learn(self, question: Question, answer: Answer) -> None:
        """Add what a question brought."""
        self.answers[question] = answer
        if question.unit == self.device.unit_id:
            self._learn(question.table, question.address, answer.words)

    def _learn(self, table: Table, address: int, words: Words | Fault) -> None:
        if not isinstance(words, Fault):
            self.words.update(((table, address + n), word) for n, word in enumerate(words))

    def items(self) -> tuple[Item, ...]:
        """What is declared."""
        return items(self.device)

    def point(self, key: str) -> Point | None:
        """The point of an item; None for a mask's bit."""
        return next((point for point in self.device.points if point.field == key), None)


def _is_silence(answer: Words | Fault) -> bool:
    return isinstance(answer, Fault) and answer.kind in {
        FaultKind.TIMEOUT,
        FaultKind.NO_UNIT,
        FaultKind.UNREACHABLE,
    }
