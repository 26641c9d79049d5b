"""Asks every gateway how its plants are, and says which of them changed in a way that matters.

One task per shard; a slow or dead gateway delays nobody. What is kept is small
(:mod:`voke_operator.status.reports`): most answers bring nothing new and end here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Protocol

from voke_operator.status.facts import Seen, Silence
from voke_operator.status.pools import Sessions
from voke_operator.status.reports import GatewayReport, PlantReport

INTERVAL: Final = 5.0
"""Seconds between two questions to one gateway."""
SILENT_AFTER: Final = 15.0
"""Seconds without an answer after which what was said before counts no more."""


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One gateway."""

    namespace: str
    pool: str
    number: int


class FetchError(Exception):
    """No usable answer; the message says why, in words that stay the same while the cause does."""


Fetch = Callable[[str], Awaitable[bytes]]
"""Body of what is at a URL. Raises :class:`FetchError`; bounds time and size itself."""
Locate = Callable[[Shard], str | None]
"""Where a shard's gateway serves HTTP, such as ``http://10.244.0.7:9100``; None: its pod has no address yet."""


class Changed(Protocol):
    """Told what changed at a shard."""

    def __call__(self, shard: Shard, plants: AbstractSet[str], *, gateway: bool) -> None:
        """``plants``: names of those of which a report changed; ``gateway``: the gateway's own, or its silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known of one gateway."""

    gateway: GatewayReport | None = None
    plants: Mapping[str, PlantReport] | None = None
    sessions: Sessions | None = None
    answered_at: float | None = None
    """Epoch seconds of the last answer."""
    silence: Silence | None = None

    def of(self, plant: str) -> Seen:
        """The part that concerns one plant."""
        raise NotImplementedError


class Gateways:
    """All gateways that are asked, and what they said."""

    def __init__(
        self,
        *,
        fetch: Fetch,
        locate: Locate,
        changed: Changed,
        wall_clock: Callable[[], float],
        interval: float = INTERVAL,
        concurrency: int = 16,
    ) -> None:
        """``changed`` is called on the event loop and must not block."""

    async def run(self) -> None:
        """Ask until cancelled."""

    def watch(self, shard: Shard) -> None:
        """Ask this one, too, from now on."""

    def unwatch(self, shard: Shard) -> None:
        """Ask no more, and forget what it said."""

    async def ask(self, shard: Shard) -> View:
        """Ask now and return what is known then, for a caller that waits for a bundle to be applied."""
        raise NotImplementedError

    def view(self, shard: Shard) -> View:
        """What is known of a gateway; empty if it was not asked yet."""
        raise NotImplementedError

    def sessions(self, namespace: str, pool: str) -> Sessions:
        """Of all gateways of a pool that answer."""
        raise NotImplementedError
