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

    async def record(self, cmd_id: str, answer: Answer, now: float) -> None:
        """Return once the answer survives what the journal survives. A terminal answer never changes."""


class MemoryJournal:
    """A journal that lasts as long as the process."""

    def __init__(self, knows_since: float, *, keep: float = 30 * 86_400.0, limit: int = 10_000) -> None:
        self._knows_since = knows_since
        self._keep = keep
        self._limit = limit
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    @property
    def knows_since(self) -> float:
        """Its making, or later if answers had to be forgotten before their time."""
        return self._knows_since

    def latest(self, cmd_id: str) -> Answer | None:
        """The latest answer, or None if the command is new (or was forgotten)."""
        held = self._answers.get(cmd_id)
        return held[1] if held else None

    async def record(self, cmd_id: str, answer: Answer, now: float) -> None:
        """Keep the answer; the oldest are forgotten after ``keep`` seconds or beyond ``limit``.

        Raises:
            ValueError: the command has another terminal answer already.
        """
        held = self._answers.pop(cmd_id, None)
        if held is not None and held[1].terminal and held[1] != answer:
            self._answers[cmd_id] = held
            raise ValueError("a terminal answer never changes")
        self._answers[cmd_id] = (now, answer)
        while True:
            oldest_id = next(iter(self._answers))
            recorded_at, oldest = self._answers[oldest_id]
            if recorded_at > now - self._keep:
                if len(self._answers) <= self._limit or not oldest.terminal:
                    return
                self._knows_since = max(self._knows_since, recorded_at)
            del self._answers[oldest_id]
