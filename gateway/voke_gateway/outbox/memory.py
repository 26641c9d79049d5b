"""The outbox of a gateway without a disk: what waits is bounded, and gone when the process ends."""

from __future__ import annotations

from bisect import bisect_right
from itertools import count
from operator import attrgetter

from voke_gateway.clock import WallClock
from voke_gateway.outbox.store import Entry, Kind, Quota, StoreState

_COMPACT_FROM = 64
_URGENT = (Kind.ACK, Kind.ALARM, Kind.INFO)
_by_id = attrgetter("id")


class _Lane:
    """Entries of one kind in order of creation. Every operation is O(1), amortised."""

    __slots__ = ("bytes", "head", "ids", "live")

    def __init__(self) -> None:
        self.live: dict[int, Entry] = {}
        self.ids: list[int] = []
        """Ascending; holds ids no longer live until it is compacted."""
        self.head = 0
        """Index in ``ids`` of the oldest live entry."""
        self.bytes = 0

    def append(self, entry: Entry) -> None:
        self.live[entry.id] = entry
        self.ids.append(entry.id)
        self.bytes += len(entry.content)

    def remove(self, entry: Entry) -> bool:
        """Take ``entry`` out; False if it is not here."""
        if self.live.pop(entry.id, None) is None:
            return False
        self.bytes -= len(entry.content)
        live, ids = self.live, self.ids
        if not live:
            ids.clear()
            self.head = 0
            return True
        while ids[-1] not in live:
            ids.pop()
        while ids[self.head] not in live:
            self.head += 1
        if len(ids) > _COMPACT_FROM and len(ids) > 2 * len(live):
            self.ids = list(live)  # a dict keeps the order of insertion
            self.head = 0
        return True

    def oldest(self) -> Entry:
        """The first that waits; only asked of a lane with ``live`` entries."""
        return self.live[self.ids[self.head]]

    def after(self, entry_id: int, limit: int) -> list[Entry]:
        if not self.live:
            return []
        ids, live = self.ids, self.live
        found: list[Entry] = []
        for index in range(bisect_right(ids, entry_id, self.head), len(ids)):
            entry = live.get(ids[index])
            if entry is not None:
                found.append(entry)
                if len(found) == limit:
                    break
        return found


class _Plant:
    """What waits for one plant."""

    __slots__ = ("lanes", "newest", "oldest_id", "state")

    def __init__(self) -> None:
        self.lanes = {kind: _Lane() for kind in Kind}
        self.state = StoreState()
        self.newest = 0
        self.oldest_id = 0

    def add(self, entry: Entry) -> None:
        self.lanes[entry.kind].append(entry)
        self.newest = entry.id
        state = self.state
        state.messages += 1
        state.urgent += entry.kind is not Kind.TELEMETRY
        state.bytes += len(entry.content)
        if state.oldest_at is None:
            self.oldest_id, state.oldest_at = entry.id, entry.created_at

    def remove(self, entry: Entry) -> bool:
        if not self.lanes[entry.kind].remove(entry):
            return False
        state = self.state
        state.messages -= 1
        state.urgent -= entry.kind is not Kind.TELEMETRY
        state.bytes -= len(entry.content)
        if not state.messages:
            state.oldest_at = None
        elif entry.id == self.oldest_id:
            first = min((lane.oldest() for lane in self.lanes.values() if lane.live), key=_by_id)
            self.oldest_id, state.oldest_at = first.id, first.created_at
        return True


class MemoryStore:
    """The store seam in memory, with a quota per plant."""

    def __init__(self, quota: Quota, wall_clock: WallClock) -> None:
        self._quota = quota
        self._wall_clock = wall_clock
        self._plants: dict[str, _Plant] = {}
        self._ids = count(1)
        """One sequence for all plants, never reused: an id outlives ``forget``."""

    def put(self, plant: str, kind: Kind, content: bytes) -> Entry:
        """Keep a message; what the quota then has no room for is dropped, oldest first, and counted."""
        entry = Entry(plant, next(self._ids), kind, content, self._wall_clock())
        waiting = self._plant(plant)
        waiting.add(entry)
        lane = waiting.lanes[kind]
        if kind is Kind.TELEMETRY:
            self._expire(waiting, entry.created_at)
            while lane.bytes > self._quota.max_bytes:
                waiting.state.dropped_quota += 1
                waiting.remove(lane.oldest())
        else:
            urgent = [waiting.lanes[kind] for kind in _URGENT]
            while sum(lane.bytes for lane in urgent) > self._quota.max_urgent_bytes:
                waiting.state.dropped_urgent += 1
                waiting.remove(min((lane.oldest() for lane in urgent if lane.live), key=_by_id))
        return entry

    async def flush(self, entry: Entry) -> None:
        """Nothing here survives a crash, so there is nothing to wait for."""

    def pending(self, plant: str, kind: Kind, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Waiting messages of a lane, oldest first, with an id greater than ``after``."""
        waiting = self._plants.get(plant)
        if waiting is None:
            return []
        if kind is Kind.TELEMETRY and waiting.lanes[kind].live:
            self._expire(waiting, self._wall_clock())
        return waiting.lanes[kind].after(after, limit)

    def newest(self, plant: str) -> int:
        """Id of the plant's newest message, delivered or not; 0 before the first."""
        waiting = self._plants.get(plant)
        return waiting.newest if waiting else 0

    def delivered(self, entry: Entry) -> None:
        """Forget a message that is at Voke; one dropped meanwhile is ignored."""
        waiting = self._plants.get(entry.plant)
        if waiting is not None:
            waiting.remove(entry)

    def quarantine(self, entry: Entry, reason: str) -> None:  # noqa: ARG002  # a store on disk keeps the reason
        """Take a message that can never be delivered out of its lane and count it."""
        waiting = self._plants.get(entry.plant)
        if waiting is not None and waiting.remove(entry):
            waiting.state.quarantined += 1

    def state(self, plant: str) -> StoreState:
        """Live; the caller only reads it."""
        return self._plant(plant).state

    def forget(self, plant: str) -> None:
        """The plant is gone: drop what waits for it."""
        self._plants.pop(plant, None)

    async def close(self) -> None:
        """There is no file to let go of."""

    def _plant(self, name: str) -> _Plant:
        waiting = self._plants.get(name)
        if waiting is None:
            waiting = self._plants[name] = _Plant()
        return waiting

    def _expire(self, waiting: _Plant, now: float) -> None:
        lane = waiting.lanes[Kind.TELEMETRY]
        too_old = now - self._quota.max_age
        while lane.live and (oldest := lane.oldest()).created_at < too_old:
            waiting.state.dropped_age += 1
            waiting.remove(oldest)
