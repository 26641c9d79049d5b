"""What became of each command, so that none is carried out twice and every duplicate gets its answer.

Commands carry no nonce: ``cmdId`` is all there is to recognise a duplicate by (protocol §2).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """The latest acknowledgement of a command, without its envelope."""

    st: str
    """RECEIVED, IN_PROGRESS, COMPLETED or FAILED (protocol §6.4)."""
    content: bytes
    """Canonical JSON."""

    @property
    def terminal(self) -> bool:
        """Nothing follows it, and it never changes."""
        return self.st in ("COMPLETED", "FAILED")


class Journal(Protocol):
    """Remembers the latest answer per command id."""

    @property
    def knows_since(self) -> float:
        """Wall clock; a command signed before it may have been carried out and forgotten."""

    def latest(self, cmd_id: str) -> Answer | None:
        """The latest answer, or None if the command is new."""

    async def record(
        self, cmd_id: str, answer: Answer, *, now: float, signed_at: float, stale_before: float
    ) -> None:
        """Return once the answer survives what the journal survives. A terminal answer never changes.

        All times are wall clock; a command signed before ``stale_before`` is refused by its age, so that its
        answer may be forgotten.
        """


class MemoryJournal:
    """A journal that lasts as long as the process."""

    def __init__(self, knows_since: float, *, keep: float = 30 * 86_400.0, limit: int = 10_000) -> None:
        """``keep`` in seconds. Beyond ``limit`` answers go early, but never while a replay would be carried out."""
        self._knows_since = knows_since
        self._keep = keep
        self._limit = limit
        self._answers: OrderedDict[str, _Held] = OrderedDict()

    @property
    def knows_since(self) -> float:
        """Its making."""
        return self._knows_since

    def latest(self, cmd_id: str) -> Answer | None:
        """The latest answer, or None if the command is new (or was forgotten)."""
        held = self._answers.get(cmd_id)
        return held.answer if held else None

    async def record(
        self, cmd_id: str, answer: Answer, *, now: float, signed_at: float, stale_before: float
    ) -> None:
        """Keep the answer, and forget old ones.

        Raises:
            ValueError: the command has another terminal answer already.
        """
        held = self._answers.pop(cmd_id, None)
        if held is not None and held.answer.terminal and held.answer != answer:
            self._answers[cmd_id] = held
            raise ValueError("a terminal answer never changes")
        self._answers[cmd_id] = _Held(answer, now, signed_at)
        while True:
            oldest_id, oldest = next(iter(self._answers.items()))
            expired = oldest.recorded_at <= now - self._keep
            crowded_out = len(self._answers) > self._limit and oldest.answer.terminal
            if not (expired or crowded_out) or oldest.signed_at >= stale_before:
                return
            del self._answers[oldest_id]


@dataclass(frozen=True, slots=True)
class _Held:
    answer: Answer
    recorded_at: float
    signed_at: float
