"""What a device can take: requests that are too long, gaps that must not be read, replies that come late. Pure.

The gateway finds its way around refused blocks by itself; saying so in the Plant saves it the attempts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from voke_api.blocks import plan_device
from voke_api.resources.common import format_duration, listed
from voke_api.resources.points import REGISTER_TABLES
from voke_cli.probe.facts import Answer, Change, DeviceFacts, Guess, Question
from voke_cli.probe.places import other_units, value_at
from voke_cli.probe.plausible import Verdict
from voke_gateway.drivers.base import Fault, FaultKind
from voke_gateway.drivers.modbus.frames import span
from voke_gateway.drivers.modbus.look import Asked

SETTLE: Final = 1.0
"""Seconds of rest on a new connection, for a question that is asked settled."""


def patience(timeout: float) -> float:
    """Seconds for a question that is asked patiently."""
    return min(10.0, 5 * timeout)


def limit_questions(facts: DeviceFacts) -> list[Question]:
    """What to ask about silence and about refused blocks."""
    wanted = [*_about_silence(facts), *_about_gaps(facts), *_about_length(facts)]
    return [question for question in dict.fromkeys(wanted) if question not in facts.answers]


def limit_guesses(facts: DeviceFacts) -> list[Guess]:
    """Guesses about the device, its limits and its connection."""
    return [*_silence(facts), *_blocks(facts)]


def _about_silence(facts: DeviceFacts) -> Iterator[Question]:
    if facts.silent is None:
        yield from _about_slow_points(facts)
        return
    if not facts.connected:
        return
    first = facts.asked[0]
    own = facts.device.unit_id
    if facts.silent.kind is not FaultKind.UNREACHABLE:
        units = [Question(unit, first.table, first.address, first.count) for unit in other_units(facts)]
        yield from units
        if any(_lives(facts.answers.get(question)) for question in units):
            return
    if facts.silent.kind is not FaultKind.NO_UNIT:
        yield Question(own, first.table, first.address, first.count, "patient")
        yield Question(own, first.table, first.address, first.count, "settled")


def _about_slow_points(facts: DeviceFacts) -> Iterator[Question]:
    for each in facts.asked:
        if isinstance(each.answer, Fault) and each.answer.kind is FaultKind.TIMEOUT:
            yield Question(each.unit, each.table, each.address, each.count, "patient")
            return


def _silence(facts: DeviceFacts) -> Iterator[Guess]:
    yield from _slow(facts)
    if facts.silent is None or not facts.asked:
        return
    first = facts.asked[0]
    item = next((i for i in facts.items() if (i.table, i.address) == (first.table, first.address)), None)
    for unit in other_units(facts):
        answer = facts.answers.get(Question(unit, first.table, first.address, first.count))
        if answer is None or not _lives(answer):
            continue
        place = span(first.table, first.address, first.count)
        if isinstance(answer.words, Fault):
            said, score = f"unit {unit} is there, although it refuses {place}", 1.5
        else:
            words = answer.words[: item.count] if item is not None else answer.words
            verdict = Verdict.POSSIBLE if item is None else value_at(facts, item, words, {})[1]
            said, score = f"unit {unit} answers {place}; unit {first.unit} does not", 3.0 + verdict
        taken = facts.other_units.get(unit)
        said += f"; {taken} has that unit already" if taken else ""
        yield Guess("unit-id", said, (Change("device", {"unitId": unit}),), score - bool(taken))
    if facts.silent.kind is FaultKind.NO_UNIT:
        yield from _absent(facts, first)
    yield from _unsettled(facts, first)


def _absent(facts: DeviceFacts, first: Asked) -> Iterator[Guess]:
    """The PLC says itself that there is no such unit; whether there is another one may not have been asked."""
    answers = {
        unit: facts.answers.get(Question(unit, first.table, first.address, first.count))
        for unit in other_units(facts)
    }
    if any(_lives(answer) for answer in answers.values()):
        return
    tried = [str(unit) for unit, answer in answers.items() if answer is not None]
    yield Guess(
        "unit-id",
        f"the PLC answers, but not for unit {first.unit}"
        + (f", nor for {listed(tried, at_most=len(tried))}" if tried else "")
        + ": what is behind it is off, or has another unit id, which its menu or data sheet tells",
        (),
        0.5,
    )


def _slow(facts: DeviceFacts) -> Iterator[Guess]:
    for question, answer in facts.answers.items():
        if question.how == "patient" and _lives(answer) and answer.seconds > facts.timeout:
            enough = math.ceil(2 * answer.seconds)
            yield Guess(
                "timeout",
                f"the reply took {answer.seconds:.1f} s, the connection's timeout is "
                f"{format_duration(facts.timeout)}",
                (Change("connection", {"timeout": f"{enough}s"}),),
                4.0,
            )


def _unsettled(facts: DeviceFacts, first: Asked) -> Iterator[Guess]:
    place = (first.table, first.address, first.count)
    at_once = facts.answers.get(Question(first.unit, *place, "patient"))
    settled = facts.answers.get(Question(first.unit, *place, "settled"))
    if at_once is None or settled is None or _lives(at_once):
        return
    if _lives(settled):
        yield Guess(
            "settle",
            f"asked {format_duration(SETTLE)} after connecting it answers, asked at once it does not",
            (Change("connection", {"settleAfterConnect": format_duration(SETTLE)}),),
            4.0,
        )
    elif _closed(at_once) and _closed(settled):
        yield Guess(
            "slots-taken",
            "it takes the connection and closes it without an answer: other programs may hold all the connections "
            "that it has; end one of them, or take turns",
            (Change("connection", {"closeAfterPoll": True}),),
            3.0,
        )


def _about_gaps(facts: DeviceFacts) -> Iterator[Question]:
    for block in _refused_but_read(facts):
        for address, count in _gaps(facts, block):
            yield Question(facts.device.unit_id, block.table, address, count)


def _about_length(facts: DeviceFacts) -> Iterator[Question]:
    """Halve the span between the longest request that was answered and the shortest that was refused."""
    for block in _refused_but_read(facts):
        low, high = _bounds(facts, block)
        if high - low > 1 and not _gap_refused(facts, block):
            yield Question(facts.device.unit_id, block.table, block.address, (low + high) // 2)


def _blocks(facts: DeviceFacts) -> Iterator[Guess]:
    for block in _refused_but_read(facts)[:1]:
        what = span(block.table, block.address, block.count)
        gap = _gap_refused(facts, block)
        if gap is not None:
            yield Guess(
                "gap",
                f"the device refuses {what} because of {span(block.table, *gap)}, which no point declares",
                (Change("limits", {"maxGap": 0}),),
                3.0,
            )
            continue
        low, high = _bounds(facts, block)
        if low:
            yield Guess(
                "max-registers",
                f"the device answers {low} registers at a time and refuses {high}",
                (Change("limits", {"maxRegisters": low}),),
                3.0,
            )


def _refused_but_read(facts: DeviceFacts) -> list[Asked]:
    """Requests of several registers that were refused although everything in them is answered."""
    found = []
    for block in plan_device(facts.device):
        if block.table not in REGISTER_TABLES or any(item.key in facts.faults for item in block.items):
            continue
        place = (block.table, block.address, block.count)
        for each in facts.asked:
            same = (each.table, each.address, each.count) == place
            if same and isinstance(each.answer, Fault) and each.answer.kind is FaultKind.REFUSED:
                found.append(each)
    return found


def _gaps(facts: DeviceFacts, block: Asked) -> Iterator[tuple[int, int]]:
    """Address and count of what a block reads along."""
    declared = {
        address
        for item in facts.items()
        if item.table == block.table
        for address in range(item.address, item.end)
    }
    start = None
    for address in range(block.address, block.address + block.count):
        if address not in declared and start is None:
            start = address
        elif address in declared and start is not None:
            yield start, address - start
            start = None


def _gap_refused(facts: DeviceFacts, block: Asked) -> tuple[int, int] | None:
    for address, count in _gaps(facts, block):
        answer = facts.answers.get(Question(facts.device.unit_id, block.table, address, count))
        if answer is not None and isinstance(answer.words, Fault):
            return address, count
    return None


def _bounds(facts: DeviceFacts, block: Asked) -> tuple[int, int]:
    """Most registers that were answered at once, fewest that were refused."""
    low, high = 0, block.count
    tried: list[tuple[int, bool]] = [
        (each.count, not isinstance(each.answer, Fault)) for each in facts.asked if each.table == block.table
    ]
    tried += [
        (question.count, not isinstance(answer.words, Fault))
        for question, answer in facts.answers.items()
        if (question.table, question.address) == (block.table, block.address)
    ]
    for count, answered in tried:
        if answered and count < block.count:
            low = max(low, count)
    for count, answered in tried:
        if not answered and count > low:
            high = min(high, count)
    return low, high


def _lives(answer: Answer | None) -> bool:
    """Something came back, be it an exception."""
    if answer is None:
        return False
    return not isinstance(answer.words, Fault) or answer.words.kind in {FaultKind.REFUSED, FaultKind.BUSY}


def _closed(answer: Answer) -> bool:
    return isinstance(answer.words, Fault) and answer.words.kind is FaultKind.UNREACHABLE
