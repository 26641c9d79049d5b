"""The store seam: unsigned messages in order, kept until they are delivered.

Nothing here is signed: ``ts``, ``n`` and ``sig`` are made when a message is handed to the socket, so a
re-send carries fresh ones and otherwise the same content.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What a message is; also its lane. Acks and alarms are never dropped for snapshots."""

    ACK = "ack"
    ALARM = "alarm"
    INFO = "info"
    TELEMETRY = "telemetry"


@dataclass(frozen=True, slots=True)
class Entry:
    """A message without its envelope."""

    plant: str
    """Plant name."""
    id: int
    """Grows within a plant: the order of creation."""
    kind: Kind
    content: bytes
    """Canonical JSON of everything but ts, n and sig."""
    created_at: float
    """Wall clock, epoch seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much may wait per plant."""

    max_bytes: int = 8 * 1024 * 1024
    """Telemetry; the oldest is dropped first."""
    max_age: float = 7 * 86_400.0
    """Seconds; older snapshots are dropped."""
    max_urgent_bytes: int = 1024 * 1024
    """Acks, alarms and info. They never give way to snapshots, but even they cannot wait without bound."""


@dataclass(slots=True)
class StoreState:
    """What waits for one plant. Counters only ever grow."""

    messages: int = 0
    urgent: int = 0
    """Acks, alarms and info among them."""
    bytes: int = 0
    oldest_at: float | None = None
    """Wall clock of the oldest waiting message."""
    dropped_quota: int = 0
    dropped_age: int = 0
    dropped_urgent: int = 0
    """Acks, alarms and info beyond their own bound: somebody should know."""
    quarantined: int = 0

    @property
    def dropped(self) -> int:
        """Messages that were given up, for whichever bound."""
        return self.dropped_quota + self.dropped_age + self.dropped_urgent


class Store(Protocol):
    """Messages of all plants of one gateway. Every method but ``flush`` returns at once."""

    def put(self, plant: str, kind: Kind, content: bytes) -> Entry:
        """Keep a message. Over quota the plant's oldest snapshots are dropped and counted."""

    async def flush(self, entry: Entry) -> None:
        """Return once ``entry`` survives a crash (at once for a store in memory)."""

    def pending(self, plant: str, kind: Kind, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Waiting messages of a lane, oldest first, with an id greater than ``after``."""

    def newest(self, plant: str) -> int:
        """Id of the plant's newest message, delivered or not; 0 before the first."""

    def delivered(self, entry: Entry) -> None:
        """The message is at Voke: forget it. Unknown entries (dropped meanwhile) are ignored."""

    def quarantine(self, entry: Entry, reason: str) -> None:
        """The message can never be delivered: take it out of its lane and count it."""

    def state(self, plant: str) -> StoreState:
        """Live; the caller only reads it."""

    def forget(self, plant: str) -> None:
        """The plant is gone: drop what waits for it."""

    async def close(self) -> None:
        """Write what is not written yet and let go of the file."""
