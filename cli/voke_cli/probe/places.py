"""Other places where a value could be: table, address, unit id. Pure.

A person who copies a data sheet's numbers makes the same mistake at every point, so what several points of a
device agree on is said once, for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from voke_api.blocks import Item, plan_device
from voke_api.resources.common import Table, listed
from voke_api.resources.points import REGISTER_TABLES, Point, from_data_sheet
from voke_cli.probe.facts import Change, DeviceFacts, Guess, Question
from voke_cli.probe.plausible import Verdict, as_text, judge, quantity
from voke_cli.probe.readings import odd, variant, with_unit
from voke_gateway.drivers.base import Fault, FaultKind, Value
from voke_gateway.drivers.modbus.asked import Words
from voke_gateway.drivers.modbus.frames import span
from voke_gateway.drivers.modbus.look import value_of

_ASKED_ABOUT: Final = 3
"""Points of a device that stand for all of them."""
_OTHER_TABLE: Final[Mapping[Table, Table]] = {
    "holding": "input", "input": "holding", "coil": "discrete", "discrete": "coil",
}  # fmt: skip
_BASE: Final = 40000
"""Where SunSpec maps most often begin; others begin at 0 and leave it to the reader to add 40000 or not."""
_SUNS: Final = (0x5375, 0x6E53)
_COMMON_UNITS: Final = (1, 0, 255)
_LAST: Final = 65535
_LONGEST_MAP: Final = 10_000
_NARROWER: Final = {
    "int32": "int16", "uint32": "uint16", "int64": "int32", "uint64": "uint32", "float64": "float32",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    """Another place for an item, and what would have to be written for it."""

    kind: str
    by: tuple[str | int, ...]
    """What two points must have in common to agree."""
    question: Question
    keys: Mapping[str, Any]
    prior: float


@dataclass(frozen=True, slots=True)
class _Found:
    """An item at another place, and what was found there."""

    item: Item
    there: _Elsewhere
    shown: str
    score: float


def questions(facts: DeviceFacts) -> list[Question]:
    """What is worth asking now, the most telling first."""
    wanted = [there.question for item in _suspects(facts) for there in _elsewheres(facts, item)]
    wanted += [*_neighbours(facts), *_marks(facts)]
    asked = [q for q in dict.fromkeys(wanted) if q not in facts.answers]
    return [q for q in asked if q.unit != facts.device.unit_id or _from(facts, q) is None]


def place_guesses(facts: DeviceFacts) -> tuple[list[Guess], dict[str, list[Guess]]]:
    """Guesses about the device, and about single items by key."""
    suspects = _suspects(facts)
    found = [one for item in suspects for one in _findings(facts, item)]
    found.sort(key=lambda one: (one.there.kind, [str(part) for part in one.there.by]))
    shared: list[Guess] = [*_shift(facts)]
    single: dict[str, list[Guess]] = {}
    for _, group in groupby(found, key=lambda one: (one.there.kind, one.there.by)):
        agreeing = list(group)
        if agreeing[0].there.kind == "unit-id" or (len(agreeing) > 1 and len(agreeing) == len(suspects)):
            shared.append(_shared(facts, agreeing))
        else:
            for one in agreeing:
                if one.there.kind != "off-by-one" or len(suspects) == 1 or _telling(facts, one.item):
                    single.setdefault(one.item.key, []).append(_single(facts, one))
    for item in suspects:
        single.setdefault(item.key, []).extend(_unread(facts, item))
    return shared, single


def other_units(facts: DeviceFacts) -> list[int]:
    """Unit ids that the device may have instead of its own."""
    return [
        unit for unit in dict.fromkeys((*_COMMON_UNITS, *facts.other_units)) if unit != facts.device.unit_id
    ]


def value_at(
    facts: DeviceFacts, item: Item, words: Words, keys: Mapping[str, Any]
) -> tuple[Value | None, Verdict]:
    """What an item would be, and how well that fits; of a mask's bit only whether it was read."""
    point = facts.point(item.key)
    if point is None:
        return None, Verdict.POSSIBLE
    other = variant(point, {key: value for key, value in keys.items() if value is not None})
    if "registerBit" in keys:
        other = variant(other, {"registerBit": keys["registerBit"]})
    if other.scale_from is not None:
        other = variant(other, {"scaleFrom": None, "scale": 1.0})
    value = value_of(other, words)
    if isinstance(value, Fault):
        return None, Verdict.IMPOSSIBLE
    return value, judge(other, value)


def _suspects(facts: DeviceFacts) -> list[Item]:
    """Items that were refused, else those whose values cannot be right, else those of a device that is all 0."""
    refused = [item for item in facts.items() if _refused(facts, item)]
    if facts.listed_bits:
        return []
    if facts.device.mask:
        return sorted(refused, key=lambda item: item.address)[:1]
    if refused:
        return refused[:_ASKED_ABOUT]
    strange = [item for item in facts.items() if is_odd(facts, item)]
    return (strange or _zeros(facts))[:_ASKED_ABOUT]


def is_odd(facts: DeviceFacts, item: Item) -> bool:
    """What was read for the item cannot be right."""
    point, words = facts.point(item.key), words_of(facts, item)
    value = facts.values.get(item.key, facts.faults.get(item.key))
    return point is not None and words is not None and value is not None and odd(point, words, value)


def _wrong(facts: DeviceFacts, item: Item) -> bool:
    """The item was refused, or what was read for it cannot be right."""
    return _refused(facts, item) or is_odd(facts, item)


def _refused(facts: DeviceFacts, item: Item) -> bool:
    fault = facts.faults.get(item.key)
    return fault is not None and fault.kind is FaultKind.REFUSED


def words_of(facts: DeviceFacts, item: Item) -> Words | None:
    """An item's registers or bit as they were read."""
    return _from(facts, Question(facts.device.unit_id, item.table, item.address, item.count))


def _zeros(facts: DeviceFacts) -> list[Item]:
    """All points of which something is known, if there are several and every one is 0."""
    known = [
        item
        for item in facts.items()
        if (point := facts.point(item.key)) is not None
        and point.scale_from is None
        and quantity(point) is not None
    ]
    words = [words_of(facts, item) for item in known]
    return known if len(known) > 1 and all(read is not None and not any(read) for read in words) else []


def _elsewheres(facts: DeviceFacts, item: Item) -> Iterator[_Elsewhere]:
    """Where an item could be instead."""
    unit = facts.device.unit_id
    for kind, by, table, address, prior in _addresses(item):
        keys: dict[str, Any] = {}
        if table != item.table:
            keys["table"] = table
        if address != item.address:
            keys["address"] = address
        yield _Elsewhere(kind, by, Question(unit, table, address, item.count), keys, prior)
    yield from _bit_or_register(facts, item)
    point = facts.point(item.key)
    if point is not None and point.type in _NARROWER:
        question = Question(unit, item.table, item.address, item.count // 2)
        yield _Elsewhere("type", (), question, {"type": _NARROWER[point.type]}, 1.0)
    if not facts.values and facts.mask is None:
        for other in other_units(facts):
            question = Question(other, item.table, item.address, item.count)
            yield _Elsewhere("unit-id", (other,), question, {"unitId": other}, 1.5)


def _addresses(item: Item) -> Iterator[tuple[str, tuple[int, ...], Table, int, float]]:
    """Kind of mistake, what others must agree on, table, address, and how common the mistake is."""
    table, address = item.table, item.address
    sheet = from_data_sheet(address)
    if sheet is not None and (sheet[0] in REGISTER_TABLES) == (table in REGISTER_TABLES):
        yield "data-sheet-address", (), *sheet, 3.0
    if table == "holding" and address >= _BASE:
        yield "base-address", (-_BASE,), table, address - _BASE, 2.4
    yield "table", (), _OTHER_TABLE[table], address, 2.0
    if address > 0:
        yield "off-by-one", (-1,), table, address - 1, 1.6
    if address + item.count <= _LAST:
        yield "off-by-one", (1,), table, address + 1, 0.8
    if table == "holding" and address < _LONGEST_MAP:
        yield "base-address", (_BASE,), table, address + _BASE, 2.2


def _bit_or_register(facts: DeviceFacts, item: Item) -> Iterator[_Elsewhere]:
    """A flag that is declared as a coil and is a register's bit, or the other way round."""
    point = facts.point(item.key)
    if point is None or point.type != "bool":
        return
    tables: tuple[Table, Table] = ("holding", "input")
    bit: int | None = 0
    if item.table in REGISTER_TABLES:
        tables, bit = ("coil", "discrete"), None
    for table in tables:
        question = Question(facts.device.unit_id, table, item.address, 1)
        keys = {"table": table, "registerBit": bit}
        yield _Elsewhere("bit-or-register", (table,), question, keys, 1.7)


def _neighbours(facts: DeviceFacts) -> Iterator[Question]:
    """One address on either side of everything that is declared, if several points agree that they are wrong."""
    strange = [item for item in facts.items() if _wrong(facts, item)]
    for item in strange[:_ASKED_ABOUT]:
        after = min(item.count, _LAST - item.address - item.count)
        if item.count > 1 and after > 0:
            yield Question(facts.device.unit_id, item.table, item.address + item.count, after)
    if len(strange) > 1:
        for block in plan_device(facts.device):
            if block.address > 0:
                yield Question(facts.device.unit_id, block.table, block.address - 1, 1)
            if block.end <= _LAST:
                yield Question(facts.device.unit_id, block.table, block.end, 1)


def _marks(facts: DeviceFacts) -> Iterator[Question]:
    """Where a SunSpec map would say that it begins."""
    for item in _suspects(facts):
        if item.table == "holding" and _refused(facts, item):
            base = 0 if item.address >= _BASE else _BASE
            yield Question(facts.device.unit_id, "holding", base, len(_SUNS))


def _findings(facts: DeviceFacts, item: Item) -> Iterator[_Found]:
    refused = _refused(facts, item)
    taken = {(other.table, other.address) for other in facts.items()}
    for there in _elsewheres(facts, item):
        question = there.question
        words = _answer(facts, question)
        if words is None:
            continue
        if there.kind == "off-by-one" and (question.table, question.address) in taken:
            continue
        value, verdict = value_at(facts, item, words, there.keys if there.kind != "unit-id" else {})
        if there.kind == "bit-or-register" and any(word > 1 for word in words):
            continue
        if verdict is Verdict.IMPOSSIBLE or (not refused and verdict is not Verdict.TYPICAL):
            continue
        by_chance = there.kind == "type" or (there.kind == "off-by-one" and not _telling(facts, item))
        if not refused and by_chance:
            continue  # at a neighbour's registers much looks right; see _shift
        weight = {Verdict.TYPICAL: 2.0, Verdict.POSSIBLE: 0.8 if any(words) else 0.3}[verdict]
        if there.kind == "base-address" and _marked(facts.words):
            weight += 1.5
        yield _Found(item, there, _shown(facts.point(item.key), words, value), there.prior + weight)


def _unread(facts: DeviceFacts, item: Item) -> Iterator[Guess]:
    """What a refused address says by itself, where no further reads are made."""
    sheet = (each for each in _elsewheres(facts, item) if each.kind == "data-sheet-address")
    for there in sheet if _refused(facts, item) else ():
        if there.question not in facts.answers and _answer(facts, there.question) is None:
            place = _place(there.question)
            said = f"{item.address} looks like a data sheet's number for {place}, which was not read"
            target: Any = "raw" if facts.device.mask else "point"
            change = Change(target, there.keys, "" if facts.device.mask else item.key)
            yield Guess(there.kind, said, (change,), there.prior)


def _telling(facts: DeviceFacts, item: Item) -> bool:
    point = facts.point(item.key)
    measured = None if point is None else quantity(point)
    return measured is not None and measured.telling


def _shift(facts: DeviceFacts) -> Iterator[Guess]:
    """All addresses are one too high or one too low: what is impossible becomes typical, nothing the reverse."""
    points = [point for point in facts.device.points if point.type != "bool" and point.scale_from is None]
    keys = {item.key for item in facts.items() if _wrong(facts, item)}
    if len(keys) < 2:  # noqa: PLR2004 - one could be chance
        return
    by_key = {item.key: item for item in facts.items()}
    for delta in (-1, 1):
        better: list[tuple[Point, Value]] = []
        for point in points:
            item = by_key[point.field]
            place = Question(facts.device.unit_id, item.table, item.address + delta, item.count)
            words = _from(facts, place)
            value = None if words is None else value_of(point, words)
            if value is None or isinstance(value, Fault) or odd(point, words or (), value):
                break
            if point.field in keys and judge(point, value) is Verdict.TYPICAL:
                better.append((point, value))
        else:
            if len(better) == len(keys):
                point, value = better[0]
                yield Guess(
                    "off-by-one",
                    f"one address {'lower' if delta < 0 else 'higher'}, all {len(points)} values would be plausible, "
                    f"such as {point.field} {with_unit(point, value)}"
                    + ("; the data sheet may count from 1" if delta < 0 else ""),
                    tuple(
                        Change("point", {"address": each.address + delta}, each.field)
                        for each in facts.device.points
                    ),
                    6.0,
                )


def _shared(facts: DeviceFacts, agreeing: Sequence[_Found]) -> Guess:
    best = max(agreeing, key=lambda one: one.score)
    there = best.there
    if there.kind == "unit-id":
        evidence = (
            f"unit {there.question.unit} answers {_place(there.question)} ({best.shown}); "
            f"unit {facts.device.unit_id} does not give it"
        )
        return Guess("unit-id", evidence, (Change("device", there.keys),), best.score + len(agreeing) / 2)
    fields = listed((one.item.key for one in agreeing), at_most=3)
    evidence = f"{_why(there, best)}; the same holds for {fields}"
    changes = _changes_of_all(facts, there)
    return Guess(there.kind, evidence, changes, best.score + 1)


def _single(facts: DeviceFacts, one: _Found) -> Guess:
    target: Any = "raw" if facts.device.mask else "point"
    change = Change(target, one.there.keys, "" if facts.device.mask else one.item.key)
    return Guess(one.there.kind, _why(one.there, one), (change,), one.score)


def _changes_of_all(facts: DeviceFacts, there: _Elsewhere) -> tuple[Change, ...]:
    """What was found for some of the suspects, for all points of which the same may be said."""
    changes = []
    for item in facts.items():
        odd_one = _wrong(facts, item) or not any(words_of(facts, item) or (0,))
        if not odd_one or item.table == there.keys.get("table"):
            continue
        keys = next(
            (t.keys for t in _elsewheres(facts, item) if (t.kind, t.by) == (there.kind, there.by)), None
        )
        if keys:
            changes.append(Change("point", keys, item.key))
    return tuple(changes)


def _why(there: _Elsewhere, found: _Found) -> str:
    place = _place(there.question)
    sentences = {
        "data-sheet-address": f"{found.item.address} looks like a data sheet's number for {place}, "
        f"which holds {found.shown}",
        "base-address": f"the map may begin at another address: {place} holds {found.shown}",
        "type": f"with half the registers it is answered: {place} holds {found.shown}",
    }
    return sentences.get(there.kind, f"{place} holds {found.shown}")


def _place(question: Question) -> str:
    return span(question.table, question.address, question.count)


def _shown(point: Point | None, words: Words, value: Value | None) -> str:
    raw = as_text(words) if point is None or point.type != "bool" else " ".join(map(str, words))
    if point is None or value is None or isinstance(value, bool):
        return raw
    return f"{raw}, {with_unit(point, value) if not isinstance(value, str) else repr(value)}"


def _marked(known: Mapping[tuple[Table, int], int]) -> bool:
    """The letters SunS, with which a SunSpec map begins, were seen."""
    return any(
        word == _SUNS[0] and known.get((table, address + 1)) == _SUNS[1]
        for (table, address), word in known.items()
    )


def _answer(facts: DeviceFacts, question: Question) -> Words | None:
    answer = facts.answers.get(question)
    if answer is not None:
        return None if isinstance(answer.words, Fault) else answer.words
    return _from(facts, question) if question.unit == facts.device.unit_id else None


def _from(facts: DeviceFacts, question: Question) -> Words | None:
    words = [facts.words.get((question.table, question.address + n)) for n in range(question.count)]
    return None if None in words else tuple(word for word in words if word is not None)
