"""Kubernetes Events, for who looks with ``kubectl describe``: few, counted instead of repeated, never waited for.

The same message about the same object is one Event whose count goes up, written at most once a minute. What does
not fit into the queue is dropped and counted: Events are a courtesy, the conditions are the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from voke_api.resources.observed import Condition

REPEAT_AFTER: Final = 60.0
"""Seconds between two writes of one Event."""
LONGEST_NOTE: Final = 1000
"""Bytes; the API takes 1024."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regarding:
    """What an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """Something that happened."""

    regarding: Regarding
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    """For people; never holds secret material."""
    action: str = "Reconcile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request to the API server."""

    create: dict[str, Any] | None = None
    """A new Event (events.k8s.io/v1)."""
    name: str
    namespace: str
    patch: dict[str, Any] | None = None
    """A merge patch of the Event of that name; if it is gone, :attr:`create` is to be written anew."""


class EventBook:
    """What was said already. Pure: time is passed in."""


class EventWriter:
    """Takes occurrences without ever blocking, and posts them one after the other."""

    def __init__(
        self,
        post: Callable[[Post], Awaitable[None]],
        *,
        wall_clock: Callable[[], float],
        dropped: Callable[[], None] = lambda: None,
    ) -> None:
        """``post`` writes one; its exceptions are logged, and the Event is lost. ``dropped`` counts."""

    def note(self, occurrence: Occurrence) -> None:
        """Take one in."""

    async def run(self) -> None:
        """Post until cancelled."""


def transition(
    before: tuple[Condition, ...], after: tuple[Condition, ...], regarding: Regarding
) -> Occurrence | None:
    """What is worth an Event when these conditions replace those: ``Ready`` with another status or reason."""
    raise NotImplementedError
