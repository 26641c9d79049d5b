"""What is to be reconciled: each key once, one worker per key, failures again later, nothing ever dropped.

Bounded by the number of distinct keys, because adding a key that is waiting adds nothing. Time is the event
loop's, so that all of it runs on a virtual clock.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from random import Random
from typing import Final, Literal, Protocol, Self

import structlog

from voke_api import backoff
from voke_operator.kube.errors import KubeError, RetryError
from voke_operator.status.poll import Shard

log = structlog.get_logger(__name__)

SHARD_WINDOW: Final = 0.2
"""Seconds for which a shard waits for more of its plants to change, as ``after``."""

_LONGEST_HOLD: Final = 30.0
"""Seconds for which one answer of the server may hold up everything."""
_ONE_COMPLAINT: Final = 1.0
"""Seconds within which many failures count as the server's complaining once."""
_SPARE: Final = 64
"""Outdated moments that are not worth sweeping."""


class Kind(StrEnum):
    """What a key names. Workers take turns between kinds."""

    PLANT = "plant"
    POOL = "pool"
    SHARD = "shard"


@dataclass(frozen=True, slots=True)
class Key:
    """What is reconciled."""

    kind: Kind
    namespace: str
    name: str
    """Of the Plant or the pool."""
    number: int | None = None
    """Of the shard within the pool."""

    @classmethod
    def of_shard(cls, shard: Shard) -> Self:
        """A gateway's."""
        return cls(Kind.SHARD, shard.namespace, shard.pool, shard.number)

    def __str__(self) -> str:
        """As ``shard energy/default/3``."""
        number = "" if self.number is None else f"/{self.number}"
        return f"{self.kind} {self.namespace}/{self.name}{number}"


Result = Literal["ok", "requeue", "error"]
Reconcile = Callable[[Key], Awaitable[float | None]]
"""Brings one key in order. Returns seconds after which to look again, or None; raises to be tried again later."""


class Observer(Protocol):
    """Told of what the queue does, for metrics."""

    def started(self, kind: Kind, waited: float) -> None:
        """A key was taken ``waited`` seconds after it was due."""

    def finished(self, kind: Kind, result: Result, seconds: float) -> None:
        """Its reconcile took so long."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How much there is to do, in keys."""

    ready: int
    """Due now, waiting for a worker."""
    waiting: int
    """Due later."""
    active: int
    """In a worker."""
    failing: int
    """Their last reconcile failed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How failures are answered. Seconds."""

    first: float = 1.0
    """The longest wait after the first failure; it doubles with each, and the wait is anything up to it."""
    longest: float = 120.0
    recover: float = 15.0
    """A complaint of the server (429, 5xx, silence) halves the workers; after so long without one they double."""


@dataclass(slots=True)
class _Entry:
    """One key. It is in ``_ready``, in ``_waiting`` or active; and gone when it is none of them."""

    due: float | None = None
    """When to begin; None if nothing has been asked since it began."""
    floor: float = 0.0
    """Not before: backoff."""
    asked: float = 0.0
    """Not before: the server's own word, which a change of the object does not lift."""
    failures: int = 0
    ready: bool = False
    active: bool = False
    fresh: bool = False
    """What it is about changed while it was active."""


class Queue:
    """De-duplicating queue with workers, for one event loop."""

    def __init__(
        self, *, random: Random, workers: int = 32, pace: Pace | None = None, observer: Observer | None = None
    ) -> None:
        self._random = random
        self._workers = workers
        self._pace = pace or Pace()
        self._observer = observer
        self._entries: dict[Key, _Entry] = {}
        self._waiting: list[tuple[float, int, Key]] = []
        self._ready: dict[Kind, deque[Key]] = {kind: deque() for kind in Kind}
        self._turns = deque(Kind)
        self._active: Counter[Kind] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._retries: Counter[Kind] = Counter()
        self._order = count()
        self._wake = asyncio.Event()
        self._grace: float | None = None
        self._hold = 0.0
        self._cut = workers
        self._complained = -_ONE_COMPLAINT

    def add(self, key: Key, *, after: float = 0.0, fresh: bool = False) -> None:
        """Have ``key`` reconciled in ``after`` seconds at the latest; the earliest of several wins.

        While it fails, this does not shorten its backoff unless ``fresh``: what it is about has changed (a new
        spec), so earlier failures say nothing. A key that is active is reconciled again afterwards.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        if fresh:
            entry.failures = 0
            entry.floor = entry.asked
            entry.fresh = entry.active
        due = max(self._now() + after, entry.floor)
        if entry.due is None or due < entry.due:
            entry.due = due
            self._place(key, entry)

    async def run(self, reconcile: Reconcile) -> None:
        """Work until :meth:`stop`; then no key is taken any more, and it returns when the active ones have ended."""
        try:
            while self._grace is None:
                self._wake.clear()
                self._take_all(reconcile)
                try:
                    async with asyncio.timeout_at(self._next()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._grace)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self, *, grace: float = 10.0) -> None:
        """End :meth:`run`; what is still active after ``grace`` seconds is cancelled."""
        self._grace = grace
        self._wake.set()

    @property
    def depth(self) -> Depth:
        """How much there is to do."""
        ready = sum(map(len, self._ready.values()))
        active = self._active.total()
        failing = sum(entry.failures > 0 for entry in self._entries.values())
        return Depth(ready=ready, waiting=len(self._entries) - ready - active, active=active, failing=failing)

    @property
    def retries(self) -> Mapping[Kind, int]:
        """Failures so far."""
        return self._retries

    @property
    def allowed(self) -> int:
        """Workers that may be busy now: fewer than all after the server complained."""
        quiet = int((self._now() - self._complained) / self._pace.recover)
        return min(self._workers, self._cut << min(quiet, self._workers.bit_length()))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _place(self, key: Key, entry: _Entry) -> None:
        assert entry.due is not None
        if entry.active or entry.ready:
            return
        if entry.due <= self._now():
            entry.ready = True
            self._ready[key.kind].append(key)
        else:
            heapq.heappush(self._waiting, (entry.due, next(self._order), key))
            if len(self._waiting) > 2 * len(self._entries) + _SPARE:
                self._sweep()
        self._wake.set()

    def _sweep(self) -> None:
        """Without the moments that keys had before they were moved forward."""
        current = {
            key: (entry.due, next(self._order), key)
            for _, _, key in self._waiting
            if (entry := self._entries.get(key)) is not None
            and entry.due is not None
            and not (entry.ready or entry.active)
        }
        self._waiting = list(current.values())
        heapq.heapify(self._waiting)

    def _take_all(self, reconcile: Reconcile) -> None:
        now = self._now()
        while self._waiting and self._waiting[0][0] <= now:
            due, _, key = heapq.heappop(self._waiting)
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:  # else it was moved forward and has been taken since
                self._place(key, entry)
        if now < self._hold:
            return
        while (taken := self._take()) is not None:
            task = asyncio.create_task(self._work(taken, reconcile), name=f"reconcile {taken}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> Key | None:
        """The next key, kinds taking turns; no kind uses the worker that each other kind may need."""
        allowed = self.allowed
        if self._active.total() >= allowed:
            return None
        most = max(1, allowed - len(self._turns) + 1)
        for kind in self._turns:
            if self._ready[kind] and self._active[kind] < most:
                self._turns.remove(kind)
                self._turns.append(kind)
                key = self._ready[kind].popleft()
                self._active[kind] += 1
                return key
        return None

    def _next(self) -> float | None:
        """When time alone makes something possible."""
        due = self._waiting[0][0] if self._waiting else None
        if self._now() < self._hold:
            return self._hold
        return due

    async def _work(self, key: Key, reconcile: Reconcile) -> None:
        entry = self._entries[key]
        entry.ready, entry.active, entry.fresh = False, True, False
        began = self._now()
        if self._observer and entry.due is not None:
            self._observer.started(key.kind, began - entry.due)
        entry.due = None
        result: Result = "error"
        try:
            again = await reconcile(key)
        except asyncio.CancelledError:
            entry.due = began  # unfinished, whoever cancelled it
            raise
        except Exception as error:  # noqa: BLE001 – whatever it is, the key is not given up
            self._failed(key, entry, error)
        else:
            result = "ok" if again is None else "requeue"
            entry.failures, entry.floor, entry.asked = 0, 0.0, 0.0
            if again is not None:
                self.add(key, after=again)
        finally:
            entry.active = False
            self._active[key.kind] -= 1
            if self._observer:
                self._observer.finished(key.kind, result, self._now() - began)
            if entry.due is None:
                del self._entries[key]
            else:
                self._place(key, entry)
            self._wake.set()

    def _failed(self, key: Key, entry: _Entry, error: Exception) -> None:
        now = self._now()
        self._retries[key.kind] += 1
        asked = (error.retry_after or 0.0) if isinstance(error, RetryError) else 0.0
        if isinstance(error, RetryError):
            self._slow_down(asked)
        entry.asked = now + asked
        waits = backoff.Pace(self._pace.first, self._pace.longest)
        wait = 0.0 if entry.fresh else waits.delay(entry.failures, self._random)
        entry.failures = 0 if entry.fresh else entry.failures + 1
        entry.floor = entry.asked + wait
        entry.due = entry.floor
        log.warning(
            "reconcile failed, to be tried again",
            key=str(key),
            failures=entry.failures,
            retry_in=round(entry.due - now, 1),
            error=str(error),
            exc_info=None if isinstance(error, KubeError) else error,
        )

    def _slow_down(self, hold: float) -> None:
        now = self._now()
        self._hold = max(self._hold, now + min(hold, _LONGEST_HOLD))
        if now - self._complained >= _ONE_COMPLAINT:
            self._cut = max(1, self.allowed // 2)
            self._complained = now
