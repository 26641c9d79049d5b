"""What a device has been found to refuse, and the requests that go around it.

Two things are learnt: points (or whole tables) that are refused, and addresses that no request may cross
although the points on either side are answered – because the addresses between them are refused, because
the device wants its register groups read one by one, or because it takes no more registers at a time. All
of it is forgotten after a while, one lesson at a time, for a device may have been starting up or may have
been changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from voke_api.blocks import Block, Item, plan_blocks
from voke_api.resolved import DeviceLimits
from voke_api.resources.common import Table
from voke_gateway.drivers.base import Fault

RETRY_AFTER: Final = 300.0
"""Seconds after which something refused is tried again, give or take half."""


@dataclass(slots=True)
class Lesson:
    """Something that the device refused, and when to see whether it still does."""

    fault: Fault
    retry_at: float
    table: Table
    items: tuple[Item, ...] = ()
    """Items at one place that are refused; empty for a whole table and for a cut."""
    cut: int | None = None
    """Address that no request of the table may cross."""


@dataclass(slots=True)
class Memory:
    """What is known about one device; ``blocks`` are the requests that follow from it."""

    items: Sequence[Item]
    limits: DeviceLimits
    random: Random
    blocks: tuple[Block, ...] = ()
    faults: dict[str, Fault] = field(default_factory=dict)
    """Of what is not asked for because it is refused, by item key."""
    _lessons: list[Lesson] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._plan()

    def inherit(self, previous: Memory) -> None:
        """Take over what was learnt before the device was configured anew, as far as it still applies.

        What is refused alone stays so wherever it is still asked for. Lessons about a whole table depend on
        all that is asked of it.
        """
        mine, before = _by_table(self.items), _by_table(previous.items)
        for lesson in previous.lessons:
            if lesson.items:
                if not mine.get(lesson.table, frozenset()).issuperset(lesson.items):
                    continue
            elif mine.get(lesson.table) != before.get(lesson.table):
                continue
            if lesson.cut is None or self.limits == previous.limits:
                self._lessons.append(replace(lesson))
        if self._lessons:
            self._plan()

    @property
    def taught(self) -> bool:
        """Something is remembered."""
        return bool(self._lessons)

    @property
    def lessons(self) -> Sequence[Lesson]:
        """What is remembered."""
        return tuple(self._lessons)

    def refused(self, items: Iterable[Item], fault: Fault, now: float) -> None:
        """``items``, all at one place, are refused even when asked for alone."""
        items = tuple(items)
        self._learn(Lesson(fault, self._later(now), items[0].table, items=items))

    def unsupported(self, table: Table, fault: Fault, now: float) -> None:
        """The device has no such table."""
        self._learn(Lesson(fault, self._later(now), table))

    def cut(self, table: Table, address: int, fault: Fault, now: float) -> None:
        """What lies below ``address`` and what begins there are answered, but not together."""
        if any(known.cut == address and known.table == table for known in self._lessons):
            return  # overlapping points cannot be parted better
        self._learn(Lesson(fault, self._later(now), table, cut=address))

    def due(self, now: float) -> Lesson | None:
        """The lesson that most deserves to be put to the test, if its time has come."""
        lesson = min(self._lessons, key=lambda lesson: lesson.retry_at, default=None)
        return lesson if lesson is not None and lesson.retry_at <= now else None

    def question(self, lesson: Lesson) -> Block | None:
        """A request that puts a lesson to the test and hurts no other point; None for a cut."""
        if lesson.cut is not None:
            return None
        wanted = lesson.items or [item for item in self.items if item.table == lesson.table]
        limits = self.limits
        return plan_blocks(wanted, max_registers=limits.max_registers, max_gap=limits.max_gap)[0]

    def confirmed(self, lesson: Lesson, now: float) -> None:
        """Still refused."""
        lesson.retry_at = self._later(now)

    def forget(self, lesson: Lesson) -> None:
        """Let the next pass find out whether this still holds."""
        self._lessons.remove(lesson)
        self._plan()

    def forget_all(self) -> None:
        """Something refused is answered again: the device has changed, and nothing is known about it."""
        self._lessons.clear()
        self._plan()

    def _later(self, now: float) -> float:
        return now + self.random.uniform(0.5, 1.5) * RETRY_AFTER

    def _learn(self, lesson: Lesson) -> None:
        self._lessons.append(lesson)
        self._plan()

    def _plan(self) -> None:
        tables = {x.table: x.fault for x in self._lessons if x.cut is None and not x.items}
        places = {item: x.fault for x in self._lessons for item in x.items}
        self.faults = {
            item.key: tables.get(item.table) or places[item]
            for item in self.items
            if item.table in tables or item in places
        }
        blocks: list[Block] = []
        for group in self._apart([item for item in self.items if item.key not in self.faults]):
            blocks += plan_blocks(
                group,
                max_registers=self.limits.max_registers,
                max_gap=self.limits.max_gap,
                avoid=tuple(places),
            )
        self.blocks = tuple(blocks)

    def _apart(self, items: Iterable[Item]) -> Iterable[Sequence[Item]]:
        """Items in groups that no cut divides."""
        cuts: dict[Table, list[int]] = {}
        for lesson in self._lessons:
            if lesson.cut is not None:
                cuts.setdefault(lesson.table, []).append(lesson.cut)
        groups: dict[tuple[Table, int], list[Item]] = {}
        for item in items:
            group = bisect_right(sorted(cuts.get(item.table, ())), item.address)
            groups.setdefault((item.table, group), []).append(item)
        return groups.values()


def _by_table(items: Iterable[Item]) -> dict[Table, frozenset[Item]]:
    found: dict[Table, set[Item]] = {}
    for item in items:
        found.setdefault(item.table, set()).add(item)
    return {table: frozenset(each) for table, each in found.items()}
