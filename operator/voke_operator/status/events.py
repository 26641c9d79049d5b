"""Kubernetes Events, for who looks with ``kubectl describe``: few, counted instead of repeated, never waited for.

The same message about the same object is one Event whose count goes up, written at most once a minute. What does
not fit into the queue is dropped and counted: Events are a courtesy, the conditions are the record.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Literal

import structlog

from voke_api.resources.observed import Condition
from voke_operator.names import FIELD_MANAGER
from voke_operator.status.reasons import READY, Reason, remedy

REPEAT_AFTER: Final = 60.0
"""Seconds between two writes of one Event."""
MOST_KNOWN: Final = 5000
"""Events that are remembered; the oldest are forgotten, and begin anew if they come again."""
MOST_WAITING: Final = 500
"""Events that wait to be written; beyond that, new ones are dropped."""
PACE: Final = 0.1
"""Seconds between two writes of all."""
LONGEST_NOTE: Final = 1000
"""Bytes; the API takes 1024."""

log = structlog.get_logger()


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
    """Something that happened. Two that are equal are the same Event."""

    regarding: Regarding
    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    """For people; never holds secret material."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request to the API server."""

    namespace: str
    name: str
    event: dict[str, Any]
    """The whole Event (v1), to be created."""
    patch: dict[str, Any] | None = None
    """Instead, a merge patch of the Event that is there; if it is gone (Events live for an hour), create the whole."""


@dataclass(slots=True)
class _Entry:
    name: str
    first_at: float
    last_at: float
    count: int = 0
    posted_count: int = 0
    posted_at: float = 0.0


class EventBook:
    """What was said, how often, and what is to be written next. Pure: time (epoch seconds) is passed in."""

    def __init__(self, *, instance: str) -> None:
        """``instance``: of the operator, such as its pod's name."""
        self._instance = instance
        self._known: OrderedDict[Occurrence, _Entry] = OrderedDict()
        """In order of their last occurrence."""
        self._waiting: OrderedDict[Occurrence, None] = OrderedDict()
        """Not written as they are now, in order of arrival."""

    def note(self, occurrence: Occurrence, now: float) -> bool:
        """Count one. Returns whether it will be written; False: it was dropped."""
        entry = self._known.get(occurrence)
        if entry is None:
            if len(self._waiting) >= MOST_WAITING:
                return False
            entry = self._known[occurrence] = _Entry(_name(occurrence, now), now, now)
            while len(self._known) > MOST_KNOWN:
                forgotten, _ = self._known.popitem(last=False)
                self._waiting.pop(forgotten, None)
        entry.count += 1
        entry.last_at = now
        self._known.move_to_end(occurrence)
        self._waiting.setdefault(occurrence, None)
        return True

    def due(self, now: float) -> float | None:
        """Seconds until :meth:`take` has something; None: nothing waits."""
        entries = (self._known[occurrence] for occurrence in self._waiting)
        return min((max(0.0, _ready_at(entry) - now) for entry in entries), default=None)

    def take(self, now: float) -> Post | None:
        """What is to be written now. It counts as written."""
        for occurrence in self._waiting:
            entry = self._known[occurrence]
            if _ready_at(entry) <= now:
                del self._waiting[occurrence]
                repeated = entry.posted_count > 0
                entry.posted_count, entry.posted_at = entry.count, now
                return self._post(occurrence, entry, repeated=repeated)
        return None

    def _post(self, occurrence: Occurrence, entry: _Entry, *, repeated: bool) -> Post:
        about = occurrence.regarding
        news = {"count": entry.count, "lastTimestamp": _time(entry.last_at)}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": entry.name, "namespace": about.namespace},
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": occurrence.type,
            "reason": occurrence.reason,
            "message": _cut(occurrence.note),
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": self._instance,
            "firstTimestamp": _time(entry.first_at),
            **news,
        }
        return Post(namespace=about.namespace, name=entry.name, event=event, patch=news if repeated else None)


class EventWriter:
    """Takes occurrences without ever blocking, and posts them one after the other."""

    def __init__(
        self,
        post: Callable[[Post], Awaitable[None]],
        *,
        instance: str,
        wall_clock: Callable[[], float],
        dropped: Callable[[], None] = lambda: None,
    ) -> None:
        """``post`` writes one; if it raises, that Event is lost. ``dropped`` counts what is lost."""
        self._post = post
        self._wall_clock = wall_clock
        self._dropped = dropped
        self._book = EventBook(instance=instance)
        self._noted = asyncio.Event()

    def note(self, occurrence: Occurrence) -> None:
        """Take one in."""
        if not self._book.note(occurrence, self._wall_clock()):
            self._dropped()
        self._noted.set()

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            self._noted.clear()
            post = self._book.take(self._wall_clock())
            if post is None:
                await self._wait(self._book.due(self._wall_clock()))
                continue
            try:
                await self._post(post)
            except Exception as error:  # noqa: BLE001 - an Event is a courtesy; the work goes on
                self._dropped()
                log.warning("an Event was not written", regarding=post.name, error=str(error))
            await asyncio.sleep(PACE)

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._noted.wait()
        except TimeoutError:
            return


def transition(
    before: Sequence[Condition], after: Sequence[Condition], regarding: Regarding
) -> Occurrence | None:
    """What is worth an Event when these conditions replace those: ``Ready`` with another status or reason."""
    old = next((each for each in before if each.type == READY), None)
    new = next((each for each in after if each.type == READY), None)
    if new is None or (old is not None and (old.status, old.reason) == (new.status, new.reason)):
        return None
    to_do = remedy(new.reason)
    well = new.status == "True" and not to_do
    if old is None and well:
        return None
    passing = well or to_do.startswith("Wait") or new.reason == Reason.SUSPENDED
    return Occurrence(
        regarding=regarding,
        type="Normal" if passing else "Warning",
        reason=new.reason,
        note=new.message,
    )


def _ready_at(entry: _Entry) -> float:
    return entry.posted_at + REPEAT_AFTER if entry.posted_count else entry.first_at


def _name(occurrence: Occurrence, now: float) -> str:
    """As Kubernetes' own clients name them: the object, and what makes it unique."""
    digest = sha256(repr((occurrence, now)).encode()).hexdigest()[:16]
    return f"{occurrence.regarding.name[:200]}.{digest}"


def _cut(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= LONGEST_NOTE:
        return note
    return encoded[: LONGEST_NOTE - 3].decode(errors="ignore") + "…"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
