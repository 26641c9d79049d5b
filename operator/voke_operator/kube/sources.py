"""Where :class:`Objects` comes from: kopf for the custom resources, watches of our own for the children, lists against gaps.

kopf tells of what is there, never of what vanished while its watch was broken. So everything is listed at the
start, soon after kopf has begun a watch anew, and every ten minutes; what is known but not listed is gone. Where
nothing is left, kopf is silent: so twice a minute it is counted, and what is less than known is listed. Nothing here
ever writes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from random import Random
from typing import Final

import structlog

from voke_api.backoff import Backoff, Pace
from voke_operator.kube import errors, events
from voke_operator.kube.client import WATCH_SECONDS, Client
from voke_operator.kube.objects import Objects, known_of
from voke_operator.kube.resources import CHILDREN, OURS, Resource

log = structlog.get_logger(__name__)

RELIST: Final = 600.0
"""Seconds between lists of everything."""
COUNT: Final = 20.0
"""Seconds between two counts, which cost the server next to nothing."""
SILENCE: Final = 150.0
"""Seconds without an event or a bookmark (there is one a minute) after which a watch is dead."""

_QUIET: Final = 2.0
"""Seconds without another object that kopf lists after which its list is taken to be over."""
_PACE: Final = Pace(base=1.0, cap=30.0)
_SHORT: Final = 1.0
"""Seconds; a watch that ended sooner than this counts as failed, or it might be opened in a tight loop."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the operator looks."""

    namespaces: tuple[str, ...] = ()
    """Empty: the whole cluster."""

    @property
    def parts(self) -> tuple[str | None, ...]:
        """What to ask for, one request each; None is the whole cluster."""
        return self.namespaces or (None,)


class Sources:
    """Keeps ``objects`` as the cluster is."""

    def __init__(
        self,
        client: Client,
        objects: Objects,
        *,
        scope: Scope,
        random: Random,
        relist: float = RELIST,
        count: float = COUNT,
        silence: float = SILENCE,
    ) -> None:
        self._client = client
        self._objects = objects
        self._scope = scope
        self._random = random
        self._relist = relist
        self._count = count
        self._silence = silence
        self._heard: dict[Resource, float] = {}
        self._restarts: Counter[str] = Counter()
        self._unlisted = {(resource, part) for resource in (*OURS, *CHILDREN) for part in scope.parts}
        self._gaps = {(resource, part): asyncio.Event() for resource in OURS for part in scope.parts}
        self._synced = asyncio.Event()

    @property
    def synced(self) -> asyncio.Event:
        """Set once everything has been listed: absence means something from then on."""
        return self._synced

    async def run(self) -> None:
        """Watch and list until cancelled. Faults are logged and tried again, for ever."""
        async with asyncio.TaskGroup() as group:
            for part in self._scope.parts:
                for resource in OURS:
                    group.create_task(self._list_again(resource, part), name=f"list {resource.title}")
                for resource in CHILDREN:
                    group.create_task(self._follow(resource, part), name=f"watch {resource.title}")
            group.create_task(self._kopf(), name="kopf")

    def ages(self) -> Mapping[str, float]:
        """Seconds since each kind was last heard of, by event, bookmark or list; from its first list on."""
        now = asyncio.get_running_loop().time()
        ages: dict[str, float] = {}
        for resource, heard in self._heard.items():
            ages[resource.kind] = max(ages.get(resource.kind, 0.0), now - heard)
        return ages

    def restarts(self) -> Mapping[str, int]:
        """How often a list or watch of each kind had to be begun again: it failed, fell silent, was too old."""
        return self._restarts

    async def _list_again(self, resource: Resource, part: str | None) -> None:
        patience = self._patience(resource.kind, part)
        while True:
            await self._list(resource, part, patience)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_next_list()):
                    await self._gap(resource, part)

    async def _gap(self, resource: Resource, part: str | None) -> None:
        """Wait until kopf's watch has missed something, and has been begun anew since."""
        gap = self._gaps[resource, part]
        while not gap.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._count):
                    await gap.wait()
            if not gap.is_set() and await self._some_vanished(resource, part):
                return
        while gap.is_set():
            gap.clear()
            await asyncio.sleep(_QUIET)

    async def _some_vanished(self, resource: Resource, part: str | None) -> bool:
        """Whether there are fewer than are known, and not only because an event is on its way."""
        with suppress(errors.KubeError):  # a list will say what is wrong
            for wait in (0.0, _QUIET):
                await asyncio.sleep(wait)
                there = await self._client.count(resource, part)
                if sum(1 for _ in self._objects.all(resource, part)) <= there:
                    return False
            return True
        return False

    async def _follow(self, resource: Resource, part: str | None) -> None:
        clock = asyncio.get_running_loop().time
        patience = self._patience(resource.kind, part)
        while True:
            version: str | None = await self._list(resource, part, patience)
            until = clock() + self._until_next_list()
            while version is not None and clock() < until:
                version = await self._watch(resource, part, version, until=until, patience=patience)

    async def _list(self, resource: Resource, part: str | None, patience: _Patience) -> str:
        """Take in a whole list, however often that has to be tried; returns where a watch goes on from."""
        while True:
            try:
                version = await self._list_once(resource, part)
            except errors.KubeError as error:
                await patience.lose(str(error), asked=_asked(error))
            else:
                self._unlisted.discard((resource, part))
                if not self._unlisted:
                    self._synced.set()
                return version

    async def _list_once(self, resource: Resource, part: str | None) -> str:
        version = ""
        with self._objects.listing(resource, part) as listing:
            pages = self._client.pages(resource, part, metadata_only=resource not in OURS)
            async with aclosing(pages):
                async for page in pages:
                    version = page.resource_version
                    for document in page.items:
                        listing.add(document, version=version)
                    await asyncio.sleep(0)  # a large fleet's list must not hold up everything else
            listing.finish(version=version)
        self._hear(resource)
        return version

    async def _watch(
        self, resource: Resource, part: str | None, version: str, *, until: float, patience: _Patience
    ) -> str | None:
        """Take in events; returns where to go on from, or None if a list is needed first."""
        clock = asyncio.get_running_loop().time
        began = clock()
        stream = self._client.watch(
            resource,
            part,
            resource_version=version,
            metadata_only=True,
            seconds=max(1, min(WATCH_SECONDS, int(until - began))),
        )
        try:
            async with aclosing(stream):
                while True:
                    async with asyncio.timeout(self._silence):
                        event = await anext(stream, None)
                    if event is None:
                        break
                    version = event.object["metadata"]["resourceVersion"]
                    patience.found()
                    self._hear(resource)
                    if event.type != "BOOKMARK":
                        self._take(
                            events.Event(resource, known_of(resource, event.object), event.type == "DELETED")
                        )
        except errors.GoneError as error:
            await patience.lose(str(error), asked=_asked(error))
            return None
        except errors.KubeError as error:
            await patience.lose(str(error), asked=_asked(error))
        except TimeoutError:
            await patience.lose(f"the watch was silent for {self._silence:g} s")
        else:
            if clock() - began < _SHORT:
                await patience.lose("the watch ended at once")
            else:
                patience.found()
        return version

    async def _kopf(self) -> None:
        clock = asyncio.get_running_loop().time
        patience = self._patience("kopf", None)
        while True:
            began = clock()
            try:
                await events.watch(self._client.configuration, self._scope.namespaces, self._take)
            except Exception as error:  # noqa: BLE001 – whatever ended it, it is begun again
                if clock() - began > _PACE.cap:
                    patience.found()
                await patience.lose(f"{type(error).__name__}: {error}")

    def _take(self, event: events.Event) -> None:
        self._hear(event.resource)
        if event.listed:
            self._gaps[
                event.resource, event.known.metadata.namespace if self._scope.namespaces else None
            ].set()
        if event.gone:
            self._objects.drop(event.resource, event.known.metadata)
        else:
            self._objects.put(event.resource, event.known)

    def _hear(self, resource: Resource) -> None:
        self._heard[resource] = asyncio.get_running_loop().time()

    def _until_next_list(self) -> float:
        return self._relist * self._random.uniform(0.9, 1.1)

    def _patience(self, what: str, part: str | None) -> _Patience:
        return _Patience(what, part, self._random, self._restarts)


def _asked(error: errors.KubeError) -> float:
    return (error.retry_after or 0.0) if isinstance(error, errors.RetryError) else 0.0


class _Patience:
    """Waits longer with each failure in a row, and counts them."""

    def __init__(self, what: str, part: str | None, random: Random, restarts: Counter[str]) -> None:
        self._what = what
        self._where = part or "all namespaces"
        self._backoff = Backoff(_PACE, random)
        self._restarts = restarts

    def found(self) -> None:
        """It works."""
        self._backoff.reset()

    async def lose(self, why: str, *, asked: float = 0.0) -> None:
        """It does not work: say why, and wait, ``asked`` seconds at least."""
        self._restarts[self._what] += 1
        wait = asked + self._backoff.next()
        log.warning(
            "source failed, to be begun again",
            what=self._what,
            where=self._where,
            why=why,
            in_seconds=round(wait, 1),
        )
        await asyncio.sleep(wait)
