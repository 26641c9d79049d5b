"""Asks every gateway how its plants are, and says which of them changed in a way that matters.

One task per shard; a slow or dead gateway delays nobody. What is kept is small
(:mod:`voke_operator.status.reports`): most answers bring nothing new and end here. An answer is read in slices, and
altogether no more than a small share of a core is spent on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final

import structlog
from pydantic import ValidationError

from voke_api.status import PlantStatus, StatusError, read_in_parts
from voke_operator.plan.placement import ShardId
from voke_operator.status.facts import Seen, Silence
from voke_operator.status.pools import Sessions, sessions
from voke_operator.status.reports import GatewayReport, PlantReport, gateway_report, plant_report

INTERVAL: Final = 5.0
"""Seconds between two questions to one gateway."""
SILENT_AFTER: Final = 15.0
"""Seconds without an answer after which what was said before counts no more."""
SHARE: Final = 0.05
"""Most of a core that is spent on reading answers; beyond it gateways are asked less often."""
_LARGE: Final = 256 * 1024
"""Bytes from which on an answer is read while no other large one is."""
_SLICE: Final = 50
"""Plants that are read without giving way."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One gateway."""

    namespace: str
    pool: str
    number: int

    @classmethod
    def of(cls, namespace: str, local: ShardId) -> Shard:
        """The one of that name in a namespace."""
        return cls(namespace, local.pool, local.number)

    @property
    def local(self) -> ShardId:
        """Its name within its namespace."""
        return ShardId(self.pool, self.number)

    def __str__(self) -> str:
        """As ``energy/voke-gw-default-3``."""
        return f"{self.namespace}/{self.local}"


class FetchError(Exception):
    """No usable answer; the message says why, in words that stay the same while the cause does."""


Fetch = Callable[[str], Awaitable[bytes]]
"""Body of what is at a URL. Raises :class:`FetchError`; bounds time and size itself."""
Locate = Callable[[Shard], str | None]
"""Where a shard's gateway serves HTTP, such as ``http://10.244.0.7:9100``; None: its pod has no address yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What changed at a gateway."""

    shard: Shard
    plants: frozenset[str] = frozenset()
    """Names of those of which a report changed, came or went."""
    gateway: bool = False
    """Its own report changed, for example the generation of the bundle that it has applied."""
    silence: bool = False
    """It has fallen silent, or speaks again: this concerns all plants that are placed there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known of one gateway."""

    gateway: GatewayReport | None = None
    plants: Mapping[str, PlantReport] = field(default_factory=dict)
    """By name."""
    sessions: Sessions = field(default_factory=Sessions)
    silence: Silence | None = None

    def of(self, plant: str) -> Seen:
        """The part that concerns one plant."""
        return Seen(gateway=self.gateway, plant=self.plants.get(plant), silence=self.silence)


@dataclass(slots=True)
class _Gateway:
    """One that is asked."""

    view: View = field(default_factory=View)
    answered_at: float | None = None
    """By the loop's clock; that of the first question if it never answered."""
    task: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Gateways:
    """All gateways that are asked, and what they said."""

    def __init__(
        self,
        *,
        fetch: Fetch,
        locate: Locate,
        changed: Callable[[News], None],
        wall_clock: Callable[[], float],
        interval: float = INTERVAL,
        concurrency: int = 16,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        """``changed`` is called on the event loop and must not block; ``stopwatch`` measures what reading costs."""
        self._fetch = fetch
        self._locate = locate
        self._changed = changed
        self._wall_clock = wall_clock
        self._interval = interval
        self._stopwatch = stopwatch
        self._turns = asyncio.Semaphore(concurrency)
        self._large = asyncio.Lock()
        self._gateways: dict[Shard, _Gateway] = {}
        self._cost = 0.0
        """Seconds that an answer takes to be read, smoothed."""

    def watch(self, shard: Shard) -> None:
        """Ask this one, too, from now on. Needs a running event loop."""
        if shard not in self._gateways:
            gateway = self._gateways[shard] = _Gateway()
            gateway.task = asyncio.create_task(self._follow(shard, gateway), name=f"gateway {shard}")

    def unwatch(self, shard: Shard) -> None:
        """Ask no more, and forget what it said."""
        gateway = self._gateways.pop(shard, None)
        if gateway is not None and gateway.task is not None:
            gateway.task.cancel()

    async def close(self) -> None:
        """Ask nobody any more."""
        tasks = [each.task for each in self._gateways.values() if each.task is not None]
        self._gateways.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ask(self, shard: Shard) -> View:
        """Ask now and return what is known then, for who waits for a bundle to be applied."""
        gateway = self._gateways.get(shard)
        if gateway is not None:
            await self._ask(shard, gateway)
        return self.view(shard)

    def view(self, shard: Shard) -> View:
        """What is known of a gateway; nothing if it was not asked yet."""
        gateway = self._gateways.get(shard)
        return View() if gateway is None else gateway.view

    def sessions(self, namespace: str, pool: str) -> Sessions:
        """Of all plants of a pool whose gateways answer."""
        total = Sessions()
        for shard, gateway in self._gateways.items():
            if (shard.namespace, shard.pool) == (namespace, pool) and gateway.view.silence is None:
                total += gateway.view.sessions
        return total

    async def _follow(self, shard: Shard, gateway: _Gateway) -> None:
        await asyncio.sleep(_phase(shard) * min(self._interval, 1.0))  # not all in one moment after a start
        while True:
            try:
                await self._ask(shard, gateway)
            except Exception:  # one gateway's answer must not end the asking
                log.exception("a gateway's answer could not be handled", shard=str(shard))
            await asyncio.sleep(max(self._interval, self._cost * len(self._gateways) / SHARE))

    async def _ask(self, shard: Shard, gateway: _Gateway) -> None:
        async with gateway.lock:  # answers are handled in the order of the questions
            loop = asyncio.get_running_loop()
            if gateway.answered_at is None:
                gateway.answered_at = loop.time()
            before = gateway.view
            try:
                view = await self._answer(shard, before)
            except FetchError as error:
                if before.silence is not None or loop.time() - gateway.answered_at < SILENT_AFTER:
                    return
                view = replace(before, silence=Silence(self._wall_clock(), str(error)))
            else:
                gateway.answered_at = loop.time()
            if self._gateways.get(shard) is not gateway:
                return
            gateway.view = view
        news = _news(shard, before, view)
        if news.plants or news.gateway or news.silence:
            self._changed(news)

    async def _answer(self, shard: Shard, before: View) -> View:
        url = self._locate(shard)
        if url is None:
            raise FetchError("its pod has no address; it is starting, or cannot be scheduled")
        async with self._turns:
            return await self._read(await self._fetch(f"{url}/status"), before)

    async def _read(self, body: bytes, before: View) -> View:
        """The answer, as far as it can be understood: a gateway may be of another version.

        Raises:
            FetchError: nothing of it can.
        """
        if len(body) > _LARGE:
            async with self._large:
                return await self._parse(body, before)
        return await self._parse(body, before)

    async def _parse(self, body: bytes, before: View) -> View:
        started = self._stopwatch()
        paused = 0.0
        try:
            status, parts = read_in_parts(body)
        except StatusError:
            raise FetchError(
                "its answer cannot be understood; is it a gateway, and of what version?"
            ) from None
        plants: dict[str, PlantReport] = {}
        for index, (name, part) in enumerate(parts, 1):
            report = _plant(name, part, before.plants.get(name))
            if report is not None:
                plants[name] = report
            if index % _SLICE == 0:
                away = self._stopwatch()
                await asyncio.sleep(0)
                paused += self._stopwatch() - away
        view = View(gateway=gateway_report(status), plants=plants, sessions=sessions(plants.values()))
        self._cost += 0.1 * (self._stopwatch() - started - paused - self._cost)
        return view


def _plant(name: str, part: Any, before: PlantReport | None) -> PlantReport | None:
    """One plant's report: the very object that was there before if nothing changed, to keep memory small."""
    try:
        report = plant_report(PlantStatus.model_validate(part))
    except ValidationError as error:
        log.warning(
            "a gateway says of a plant what cannot be understood", plant=name, problems=error.error_count()
        )
        return before
    return before if report == before else report


def _news(shard: Shard, before: View, after: View) -> News:
    names = before.plants.keys() | after.plants.keys()
    return News(
        shard=shard,
        plants=frozenset(name for name in names if before.plants.get(name) != after.plants.get(name)),
        gateway=before.gateway != after.gateway,
        silence=before.silence != after.silence,
    )


def _phase(shard: Shard) -> float:
    """A number in 0 … 1 that is always the same for one shard."""
    return sha256(repr(shard).encode()).digest()[0] / 256
