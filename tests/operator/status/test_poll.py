"""Asking gateways, on a virtual clock."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from tests.support import virtual_time
from tests.support.site_facts import REFUSED, gateway, on_gateway
from voke_api.status import FaultStatus, GatewayStatus, PlantStatus, SessionStatus
from voke_operator.status.poll import INTERVAL, SHARE, SILENT_AFTER, FetchError, Gateways, News, Shard

FIRST = Shard("energy", "default", 0)
SECOND = Shard("energy", "default", 1)


def answer(*plants: PlantStatus, bundle: int = 7) -> bytes:
    status = gateway(bundle=bundle).model_copy(update={"plants": plants})
    return GatewayStatus.model_validate(status).model_dump_json().encode()


def named(name: str, plant: PlantStatus) -> PlantStatus:
    return plant.model_copy(update={"name": name})


@dataclass
class World:
    """Gateways by their address, each with what it answers."""

    answers: dict[str, bytes | FetchError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    takes: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    gateways: Gateways = field(init=False)

    def __post_init__(self) -> None:
        self.gateways = Gateways(
            fetch=self.fetch,
            locate=self.locate,
            changed=self.news.append,
            wall_clock=virtual_time.wall_clock,
        )

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        found = self.answers[url]
        if isinstance(found, FetchError):
            raise found
        return found

    def locate(self, shard: Shard) -> str | None:
        return f"http://{shard.number}:9100" if shard.number < 100 else None

    def says(self, number: int, *plants: PlantStatus, bundle: int = 7) -> None:
        self.answers[f"http://{number}:9100/status"] = answer(*plants, bundle=bundle)

    def fails(self, number: int, why: str = "connection refused") -> None:
        self.answers[f"http://{number}:9100/status"] = FetchError(why)


def on_virtual_clock(test: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        world = World()
        await test(world)
        await world.gateways.close()

    def run() -> None:
        virtual_time.run(main())

    run.__name__ = test.__name__
    run.__module__ = test.__module__
    return run


async def rounds(count: float = 1.0) -> None:
    await asyncio.sleep(count * (INTERVAL + 1))


@on_virtual_clock
async def test_every_gateway_is_asked_again_and_again(world: World) -> None:
    for number, shard in enumerate((FIRST, SECOND)):
        world.says(number)
        world.gateways.watch(shard)
    await asyncio.sleep(60)
    for number in range(2):
        assert 11 <= world.asked.count(f"http://{number}:9100/status") <= 13


@on_virtual_clock
async def test_nothing_is_known_before_the_first_answer(world: World) -> None:
    world.says(0, on_gateway())
    assert world.gateways.view(FIRST).of("brno-roof-3").gateway is None
    world.gateways.watch(FIRST)
    await rounds()
    seen = world.gateways.view(FIRST).of("brno-roof-3")
    assert seen.gateway is not None
    assert seen.gateway.bundle_generation == 7
    assert seen.plant is not None
    assert seen.plant.read == 5
    assert world.news == [News(shard=FIRST, plants=frozenset({"brno-roof-3"}), gateway=True, silence=False)]


@on_virtual_clock
async def test_ages_counters_and_healthy_devices_are_no_news(world: World) -> None:
    world.says(0, on_gateway())
    world.gateways.watch(FIRST)
    await rounds()
    world.news.clear()
    later = on_gateway(last_snapshot_at=2.0, last_delivered_at=3.0)
    devices = tuple(each.model_copy(update={"last_read_at": 4.0}) for each in later.devices)
    world.says(0, later.model_copy(update={"devices": devices}))
    await rounds(3)
    assert world.news == []


@on_virtual_clock
async def test_texts_that_count_down_are_no_news(world: World) -> None:
    def fault(seconds: int) -> FaultStatus:
        return REFUSED.model_copy(update={"detail": f"{REFUSED.detail}; next try in {seconds} s"})

    world.says(0, on_gateway({"INV1": fault(7)}))
    world.gateways.watch(FIRST)
    await rounds()
    world.news.clear()
    world.says(0, on_gateway({"INV1": fault(2)}))
    await rounds()
    assert world.news == []


@on_virtual_clock
async def test_only_plants_that_changed_are_named(world: World) -> None:
    names = [f"plant-{number}" for number in range(200)]
    world.says(0, *(named(name, on_gateway()) for name in names))
    world.gateways.watch(FIRST)
    await rounds()
    world.news.clear()
    lost = on_gateway(session=SessionStatus(reason="BrokerUnreachable"))
    world.says(0, *(named(name, lost if name == "plant-7" else on_gateway()) for name in names[:-1]))
    await rounds()
    assert world.news == [News(shard=FIRST, plants=frozenset({"plant-7", "plant-199"}))]


@on_virtual_clock
async def test_a_newly_applied_bundle_is_news_of_the_gateway(world: World) -> None:
    world.says(0, on_gateway())
    world.gateways.watch(FIRST)
    await rounds()
    world.news.clear()
    world.says(0, on_gateway(), bundle=8)
    view = await world.gateways.ask(FIRST)
    assert view.gateway is not None
    assert view.gateway.bundle_generation == 8
    assert world.news == [News(shard=FIRST, gateway=True)]


@on_virtual_clock
async def test_a_gateway_that_misses_one_question_is_not_silent(world: World) -> None:
    world.says(0, on_gateway())
    world.gateways.watch(FIRST)
    await rounds()
    world.news.clear()
    world.fails(0)
    await asyncio.sleep(SILENT_AFTER - 2 * INTERVAL)
    world.says(0, on_gateway())
    await rounds(3)
    assert world.news == []


@on_virtual_clock
async def test_silence_is_said_once_with_its_cause_and_ends_with_the_next_answer(world: World) -> None:
    world.says(0, on_gateway())
    world.gateways.watch(FIRST)
    await rounds()
    world.news.clear()
    began = virtual_time.wall_clock()
    world.fails(0, "connection refused")
    await asyncio.sleep(SILENT_AFTER + INTERVAL)
    world.fails(0, "no answer within 3 s")
    await asyncio.sleep(60)
    assert world.news == [News(shard=FIRST, silence=True)]
    view = world.gateways.view(FIRST)
    assert view.silence is not None
    assert view.silence.problem == "connection refused"
    assert began < view.silence.since < began + SILENT_AFTER + INTERVAL
    assert view.of("brno-roof-3").plant is not None, "what it said last is still known"
    world.says(0, on_gateway())
    await rounds()
    assert world.news[1:] == [News(shard=FIRST, silence=True)]
    assert world.gateways.view(FIRST).silence is None


@on_virtual_clock
async def test_a_gateway_without_an_address_is_silent_after_a_while(world: World) -> None:
    unplaced = Shard("energy", "default", 100)
    world.gateways.watch(unplaced)
    await asyncio.sleep(SILENT_AFTER + 2 * INTERVAL)
    silence = world.gateways.view(unplaced).silence
    assert silence is not None
    assert silence.problem == "its pod has no address; it is starting, or cannot be scheduled"


@on_virtual_clock
async def test_an_answer_of_a_newer_gateway_is_taken_as_far_as_it_can_be(world: World) -> None:
    document: dict[str, Any] = json.loads(answer(on_gateway(), named("other", on_gateway())))
    document["futureFeature"] = {"on": True}
    document["plants"][0]["futureField"] = 1
    document["plants"][1]["state"] = "Hibernating"
    world.answers["http://0:9100/status"] = json.dumps(document).encode()
    world.gateways.watch(FIRST)
    await rounds()
    view = world.gateways.view(FIRST)
    assert set(view.plants) == {"brno-roof-3"}
    assert view.silence is None


@on_virtual_clock
async def test_an_answer_of_an_older_gateway_has_defaults_where_it_says_nothing(world: World) -> None:
    document = {"gateway": "g", "version": "0.1", "startedAt": 0.0, "plants": [{"name": "brno-roof-3"}]}
    world.answers["http://0:9100/status"] = json.dumps(document).encode()
    world.gateways.watch(FIRST)
    await rounds()
    plant = world.gateways.view(FIRST).plants["brno-roof-3"]
    assert (plant.state, plant.connected, plant.devices) == ("Running", False, 0)


@on_virtual_clock
async def test_rubbish_is_silence_and_not_an_end_of_asking(world: World) -> None:
    dense = b'{"plants": [' + b"[]," * 1_000_000 + b"[]]}"  # parsed it would take 64 MB
    for rubbish in (b"", b"<html>", b"[]", b'{"plants": 3}', b'{"plants": [3]}', b'{"gateway": "g"}', dense):
        world.answers["http://0:9100/status"] = rubbish
        world.gateways.watch(FIRST)
        await asyncio.sleep(SILENT_AFTER + 2 * INTERVAL)
        silence = world.gateways.view(FIRST).silence
        assert silence is not None
        assert silence.problem == "its answer cannot be understood; is it a gateway, and of what version?"
        world.says(0)
        await rounds()
        assert world.gateways.view(FIRST).silence is None
        world.gateways.unwatch(FIRST)


@on_virtual_clock
async def test_slow_gateways_hold_up_nobody_and_few_are_asked_at_once(world: World) -> None:
    world.takes = 3.0
    for number in range(50):
        world.says(number)
        world.gateways.watch(Shard("energy", "default", number))
    await asyncio.sleep(120)
    assert world.most_at_once == 16
    for number in range(50):
        assert world.asked.count(f"http://{number}:9100/status") >= 120 / (INTERVAL + 3.0 * 50 / 16) - 2


@on_virtual_clock
async def test_sessions_are_counted_over_the_gateways_of_a_pool_that_answer(world: World) -> None:
    lost = on_gateway(session=SessionStatus(reason="BrokerUnreachable"))
    world.says(0, named("a", on_gateway()), named("b", lost))
    world.says(1, named("c", lost))
    world.says(2, named("d", lost))
    for shard in (FIRST, SECOND, Shard("energy", "north", 2)):
        world.gateways.watch(shard)
    await rounds()
    assert world.gateways.sessions("energy", "default").through == 1
    assert world.gateways.sessions("energy", "default").cut_off.total() == 2
    world.fails(0)
    await asyncio.sleep(SILENT_AFTER + 2 * INTERVAL)
    assert world.gateways.sessions("energy", "default").through == 0
    assert world.gateways.sessions("energy", "north").cut_off.total() == 1


@on_virtual_clock
async def test_who_is_not_watched_any_more_is_forgotten_even_if_an_answer_is_under_way(world: World) -> None:
    world.takes = 2.0
    world.says(0, on_gateway())
    world.gateways.watch(FIRST)
    asking = asyncio.create_task(world.gateways.ask(FIRST))
    await asyncio.sleep(1)
    world.gateways.unwatch(FIRST)
    assert (await asking).gateway is None
    await rounds(3)
    assert world.news == []


@on_virtual_clock
async def test_gateways_are_asked_less_often_if_their_answers_take_long_to_read(world: World) -> None:
    ticks = count(0.0, 0.05)  # each look at the stopwatch finds 50 ms gone: two for an answer
    world.gateways = Gateways(
        fetch=world.fetch,
        locate=world.locate,
        changed=world.news.append,
        wall_clock=virtual_time.wall_clock,
        stopwatch=lambda: next(ticks),
    )
    for number in range(20):
        world.says(number)
        world.gateways.watch(Shard("energy", "default", number))
    await asyncio.sleep(600)
    world.asked.clear()
    await asyncio.sleep(600)
    assert len(world.asked) == pytest.approx(600 * SHARE / 0.05, rel=0.1)


@on_virtual_clock
async def test_what_an_answer_costs(world: World) -> None:
    """500 plants of ten devices that are well: the figure is printed (-s), the bound is generous."""
    plant = on_gateway()
    devices = tuple(plant.devices[0].model_copy(update={"external_id": f"INV{n}"}) for n in range(10))
    plant = plant.model_copy(update={"devices": devices})
    world.says(0, *(named(f"plant-{number}", plant) for number in range(500)))
    world.gateways.watch(FIRST)
    await rounds()
    before = world.gateways.view(FIRST).plants
    started = time.perf_counter()
    for _ in range(5):
        await world.gateways.ask(FIRST)
    spent = (time.perf_counter() - started) / 5
    print(f"{spent * 1000:.0f} ms for an answer of 500 plants")
    assert spent < 0.5
    after = world.gateways.view(FIRST).plants
    assert all(after[name] is before[name] for name in before), "an unchanged report is not kept twice"


@on_virtual_clock
async def test_no_more_is_kept_of_an_answer_than_a_gateway_has_to_say(world: World) -> None:
    long = "x" * 1_000
    device = {"externalId": long, "type": "METER", "fault": {"kind": long, "detail": long}}
    plant = {
        "name": long,
        "plantId": long,
        "message": long,
        "session": {"reason": long, "message": long},
        "devices": [device] * 1000,
    }
    document = json.loads(answer()) | {"plants": [plant]}
    document["bundleProblems"] = [long] * 20
    world.answers["http://0:9100/status"] = json.dumps(document).encode()
    world.gateways.watch(FIRST)
    await rounds()
    view = world.gateways.view(FIRST)
    assert view.silence is None
    assert len(repr(view)) < 600_000


@on_virtual_clock
async def test_a_plant_with_more_than_a_plant_can_have_costs_no_memory(world: World) -> None:
    plant = {"name": "brno", "devices": [1] * 300_000, "x": "x" * 1_000_000}
    document = {"gateway": "g", "version": "1", "startedAt": 0.0, "plants": [plant]}
    world.answers["http://0:9100/status"] = json.dumps(document).encode()
    tracemalloc.start()
    try:
        world.gateways.watch(FIRST)
        await rounds()
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()
