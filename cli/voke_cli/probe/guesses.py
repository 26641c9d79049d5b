"""What could be wrong with a device's declaration: the best two guesses for each point and for the device. Pure.

:func:`questions` says what is worth asking the device, in rounds; :func:`guess` judges what came back. Nothing
is guessed about what is plausible as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from voke_cli.probe.facts import DeviceFacts, Guess, Question
from voke_cli.probe.limits import limit_guesses, limit_questions
from voke_cli.probe.places import is_odd, place_guesses, words_of
from voke_cli.probe.places import questions as place_questions
from voke_cli.probe.readings import reading_guesses
from voke_gateway.drivers.modbus.asked import Words

MOST: Final = 2
"""Guesses for one point or one device."""
_FAR_BEHIND: Final = 1.0
"""A second guess that scores so much less than the first is not worth reading."""
_ORDERS: Final = {"word-order", "byte-order", "word-and-byte-order"}
_SEVERAL: Final = 3
MOST_QUESTIONS: Final = 40
"""Extra reads for one device."""


@dataclass(frozen=True, slots=True)
class Guesses:
    """The best guesses, the better first."""

    device: tuple[Guess, ...]
    points: dict[str, tuple[Guess, ...]]
    """By field; ``mask`` for a cabinet."""


def questions(facts: DeviceFacts) -> list[Question]:
    """What to ask next, no more than is left of :data:`MOST_QUESTIONS`; ask again until nothing is left."""
    if facts.silent is not None:
        wanted = limit_questions(facts)
    else:
        wanted = [*place_questions(facts), *limit_questions(facts)]
    return wanted[: max(0, MOST_QUESTIONS - len(facts.answers))]


def guess(facts: DeviceFacts) -> Guesses:
    """What could be wrong."""
    if facts.silent is not None:
        return Guesses(_best(limit_guesses(facts)), {})
    shared, single = place_guesses(facts)
    odd: set[str] = set()
    for item in facts.items():
        if is_odd(facts, item):
            point, words = facts.point(item.key), words_of(facts, item)
            value = facts.values.get(item.key, facts.faults.get(item.key))
            if point is not None and words is not None and value is not None:
                found = reading_guesses(point, words, value, beyond=_beyond(facts, item.key))
                single[item.key] = [*single.get(item.key, ()), *found]
                odd.add(item.key)
    shared = _with_orders(shared, single, odd)
    explained = {change.field for each in shared for change in each.changes if change.target == "point"}
    if any(change.target == "device" for each in shared for change in each.changes):
        explained |= set(single)
    points = {
        "mask" if facts.device.mask else key: _best(found)
        for key, found in single.items()
        if key not in explained and found
    }
    return Guesses(_best([*shared, *limit_guesses(facts)]), points)


def _with_orders(shared: list[Guess], single: dict[str, list[Guess]], odd: set[str]) -> list[Guess]:
    """One guess for the device where one order of words or bytes is the best guess for several points.

    If it is for all that are odd, then it is not the addresses: of values that follow each other, half of one
    and half of the next make a plausible value, too.
    """
    alike: dict[tuple[str, str], list[tuple[str, Guess]]] = {}
    for key in odd:
        best = max(single[key], key=lambda each: each.score, default=None)
        if best is not None and best.kind in _ORDERS:
            alike.setdefault((best.kind, str(best.changes[0].keys)), []).append((key, best))
    for found in alike.values():
        if len(found) < _SEVERAL:
            continue
        found.sort(key=lambda each: each[0])
        first, best = found[0]
        if len(found) == len(odd):
            shared = [each for each in shared if each.kind != "off-by-one"]
        evidence = f"{best.evidence} in {first}; {len(found)} of {len(odd)} odd values would be plausible"
        changes = tuple(change for _, each in found for change in each.changes)
        shared.append(Guess(best.kind, evidence, changes, best.score + 1))
    return shared


def _best(found: Iterable[Guess]) -> tuple[Guess, ...]:
    ranked = sorted(found, key=lambda each: -each.score)
    return tuple(each for each in ranked[:MOST] if each.score > ranked[0].score - _FAR_BEHIND)


def _beyond(facts: DeviceFacts, key: str) -> Words:
    """The registers after an item's, as far as they are known."""
    item = next(item for item in facts.items() if item.key == key)
    words = []
    for address in range(item.end, item.end + item.count):
        word = facts.words.get((item.table, address))
        if word is None:
            break
        words.append(word)
    return tuple(words)
