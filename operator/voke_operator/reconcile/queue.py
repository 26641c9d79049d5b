"""What is to be reconciled: each key once, one worker per key, failures again later, nothing ever dropped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, Literal, Protocol

SHARD_WINDOW: Final = 0.2
"""Seconds for which a shard waits for more of its plants to change, as ``after``."""


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
    """How much there is to do."""

    ready: int
    """Due now, waiting for a worker."""
    waiting: int
    """Due later."""
    active: int
    """In a worker."""
    failing: int
    """Keys whose last reconcile failed."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How the queue treats failures. Seconds."""

    first: float = 1.0
    """The longest wait after the first failure; it doubles with each, and the wait is anything up to it."""
    longest: float = 120.0
    slow_for: float = 60.0
    """For so long after the server's last complaint (429, 5xx) fewer workers are used."""


class Queue:
    """De-duplicating queue with workers, for one event loop. Time is the loop's."""

    def __init__(
        self,
        *,
        random: Random,
        workers: int = 32,
        pace: Pace | None = None,
        observer: Observer | None = None,
    ) -> None:
        raise NotImplementedError

    def add(self, key: Key, *, after: float = 0.0, fresh: bool = False) -> None:
        """Have ``key`` reconciled ``after`` seconds at the latest; the earliest of several wins.

        While it fails, its backoff is not shortened by this, unless ``fresh``: what it is about has changed (a new
        spec), so earlier failures say nothing. A key that is being reconciled is reconciled again afterwards.
        """

    def forget(self, key: Key) -> None:
        """Nothing of it is left to do: no wait, no failures remembered. One that is active still ends."""

    async def run(self, reconcile: Reconcile) -> None:
        """Work until :meth:`stop`; then no new key is taken, and it returns when the active ones have ended."""

    def stop(self, *, grace: float = 10.0) -> None:
        """End :meth:`run`; what still runs after ``grace`` seconds is cancelled."""

    @property
    def depth(self) -> Depth:
        """How much there is to do."""
        raise NotImplementedError

    @property
    def retries(self) -> Mapping[Kind, int]:
        """Failures so far."""
        raise NotImplementedError

    @property
    def allowed(self) -> int:
        """Workers that may be busy now: fewer than all after the server complained."""
        raise NotImplementedError
