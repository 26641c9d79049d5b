"""Kubernetes Events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import virtual_time
from voke_api.resources.observed import Condition
from voke_operator.status.events import (
    LONGEST_NOTE,
    MOST_KNOWN,
    MOST_WAITING,
    REPEAT_AFTER,
    EventBook,
    EventWriter,
    Occurrence,
    Post,
    Regarding,
    transition,
)

PLANT = Regarding(
    api_version="voke.lovinka.com/v1alpha1",
    kind="Plant",
    namespace="energy",
    name="brno-roof-3",
    uid="8f14e45f-ceea-467f-a0e6-1d6b7c3f0f5b",
)
LOST = Occurrence(
    regarding=PLANT, type="Warning", reason="BrokerUnreachable", note="no connection to mqtt.example"
)
EPOCH = 1_800_000_000.0


def book() -> EventBook:
    return EventBook(instance="voke-operator-7d9f-x2x")


def drained(said: EventBook, now: float) -> list[Post]:
    return list(_drain(said, now))


def _drain(said: EventBook, now: float) -> Iterator[Post]:
    while (post := said.take(now)) is not None:
        yield post


def test_the_first_occurrence_is_written_at_once_and_whole() -> None:
    said = book()
    said.note(LOST, EPOCH)
    (post,) = drained(said, EPOCH)
    assert post.patch is None
    assert post.event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": post.name, "namespace": "energy"},
        "involvedObject": {
            "apiVersion": "voke.lovinka.com/v1alpha1",
            "kind": "Plant",
            "namespace": "energy",
            "name": "brno-roof-3",
            "uid": "8f14e45f-ceea-467f-a0e6-1d6b7c3f0f5b",
        },
        "type": "Warning",
        "reason": "BrokerUnreachable",
        "message": "no connection to mqtt.example",
        "source": {"component": "voke-operator"},
        "reportingComponent": "voke-operator",
        "reportingInstance": "voke-operator-7d9f-x2x",
        "firstTimestamp": "2027-01-15T08:00:00Z",
        "lastTimestamp": "2027-01-15T08:00:00Z",
        "count": 1,
    }
    assert post.name.startswith("brno-roof-3.")


def test_repetitions_are_counted_and_written_once_a_minute() -> None:
    said = book()
    for second in range(50):
        said.note(LOST, EPOCH + second)
    (first,) = drained(said, EPOCH + 50)
    assert first.event["count"] == 50
    for second in range(51, 100):
        said.note(LOST, EPOCH + second)
    assert drained(said, EPOCH + 100) == []
    assert said.due(EPOCH + 100) == pytest.approx(REPEAT_AFTER - 50)
    (second_post,) = drained(said, EPOCH + 50 + REPEAT_AFTER)
    assert second_post.name == first.name
    assert second_post.patch == {"count": 99, "lastTimestamp": "2027-01-15T08:01:39Z"}
    assert said.due(EPOCH + 1000) is None


def test_another_message_is_another_event() -> None:
    said = book()
    said.note(LOST, EPOCH)
    said.note(replace(LOST, note="no connection to mqtt2.example"), EPOCH)
    said.note(replace(LOST, regarding=replace(PLANT, name="brno-roof-4")), EPOCH)
    assert len({post.name for post in drained(said, EPOCH)}) == 3


def test_a_long_note_is_cut_between_characters() -> None:
    said = book()
    said.note(replace(LOST, note="ž" * 2000), EPOCH)
    (post,) = drained(said, EPOCH)
    note = post.event["message"]
    assert note == "ž" * (len(note) - 1) + "…"
    assert LONGEST_NOTE - 4 < len(note.encode()) <= LONGEST_NOTE


def test_a_storm_is_cut_off_and_the_first_ones_are_written() -> None:
    said = book()
    taken = [said.note(replace(LOST, note=str(number)), EPOCH) for number in range(MOST_WAITING + 100)]
    assert taken == [True] * MOST_WAITING + [False] * 100
    assert len(drained(said, EPOCH)) == MOST_WAITING


def test_old_events_are_forgotten() -> None:
    said = book()
    for number in range(MOST_KNOWN + 1):
        said.note(replace(LOST, note=str(number)), EPOCH + number)
        drained(said, EPOCH + number)
    said.note(replace(LOST, note="0"), EPOCH + 10 * MOST_KNOWN)
    (post,) = drained(said, EPOCH + 10 * MOST_KNOWN)
    assert post.patch is None, "it begins anew"


def test_an_event_that_is_forgotten_while_it_waits_for_its_minute_is_not_missed() -> None:
    said = book()
    for _ in range(2):
        said.note(LOST, EPOCH)
        said.take(EPOCH)
    for number in range(MOST_KNOWN):
        said.note(replace(LOST, note=str(number)), EPOCH + 1)
        said.take(EPOCH + 1)
    assert said.due(EPOCH + 1) is None
    assert said.take(EPOCH + 2 * REPEAT_AFTER) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 200), st.booleans()), min_size=1, max_size=100))
@settings(deadline=None)
def test_every_occurrence_is_counted_in_the_end(steps: list[tuple[int, float, bool]]) -> None:
    said, now = book(), EPOCH
    noted = dict.fromkeys(range(6), 0)
    written: dict[str, int] = {}
    writes: dict[str, list[float]] = {}

    def write(post: Post) -> None:
        written[post.event["message"]] = (post.patch or post.event)["count"]
        times = writes.setdefault(post.event["message"], [])
        assert not times or now - times[-1] >= REPEAT_AFTER - 0.001
        times.append(now)

    for which, seconds, taking in steps:
        said.note(replace(LOST, note=str(which)), now)
        noted[which] += 1
        if taking:
            for post in drained(said, now):
                write(post)
        now += seconds
    now += REPEAT_AFTER
    for post in drained(said, now):
        write(post)
    assert written == {str(which): count for which, count in noted.items() if count}


# -- the writer


def test_noting_never_waits_and_a_slow_server_gets_one_at_a_time() -> None:
    async def main() -> list[str]:
        posted: list[str] = []
        under_way = 0

        async def post(event: Post) -> None:
            nonlocal under_way
            under_way += 1
            assert under_way == 1
            await asyncio.sleep(30)
            under_way -= 1
            posted.append(event.event["message"])

        writer = EventWriter(post, instance="one", wall_clock=virtual_time.wall_clock)
        running = asyncio.create_task(writer.run())
        before = asyncio.get_running_loop().time()
        for number in range(3):
            writer.note(replace(LOST, note=str(number)))
        assert asyncio.get_running_loop().time() == before
        await asyncio.sleep(100)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return posted

    assert virtual_time.run(main()) == ["0", "1", "2"]


def test_what_cannot_be_written_is_lost_counted_and_holds_up_nothing() -> None:
    async def main() -> tuple[list[str], int]:
        posted: list[str] = []
        dropped = 0

        def count() -> None:
            nonlocal dropped
            dropped += 1

        async def post(event: Post) -> None:
            if event.event["message"] == "0":
                raise OSError("the API server is away")
            posted.append(event.event["message"])

        writer = EventWriter(post, instance="one", wall_clock=virtual_time.wall_clock, dropped=count)
        running = asyncio.create_task(writer.run())
        writer.note(replace(LOST, note="0"))
        writer.note(replace(LOST, note="1"))
        await asyncio.sleep(5)
        writer.note(replace(LOST, note="2"))
        await asyncio.sleep(5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return posted, dropped

    assert virtual_time.run(main()) == (["1", "2"], 1)


# -- which transitions are worth one


def ready(status: str, reason: str, message: str = "why") -> tuple[Condition, ...]:
    return (
        Condition.model_validate_json(
            json.dumps(
                {
                    "type": "Ready",
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            )
        ),
    )


def test_a_change_of_ready_is_an_event() -> None:
    well, lost = (
        ready("True", "AllWell"),
        ready("False", "BrokerUnreachable", "no connection to mqtt.example"),
    )
    assert transition(well, lost, PLANT) == LOST
    back = transition(lost, well, PLANT)
    assert back is not None
    assert (back.type, back.reason) == ("Normal", "AllWell")
    assert transition((), lost, PLANT) == LOST
    assert transition((), well, PLANT) is None, "that nothing was ever wrong is no news"


def test_a_plant_that_is_ready_and_needs_somebody_is_a_warning() -> None:
    partly = transition(ready("True", "AllWell"), ready("True", "SomeDevicesNotRead"), PLANT)
    assert partly is not None
    assert partly.type == "Warning"


def test_what_somebody_asked_for_is_no_warning() -> None:
    suspended = transition(ready("True", "AllWell"), ready("False", "Suspended"), PLANT)
    assert suspended is not None
    assert suspended.type == "Normal"


def test_other_words_are_no_event() -> None:
    assert transition(ready("False", "NoDeviceRead", "a"), ready("False", "NoDeviceRead", "b"), PLANT) is None
