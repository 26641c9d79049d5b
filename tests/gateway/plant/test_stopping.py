"""How a plant ends: passes, PLCs and what is not delivered yet, on the virtual clock."""

from __future__ import annotations

import asyncio

from tests.support.plants import PLANT_ID
from tests.support.simulated_voke import SimulatedVoke
from tests.support.site import HMAC_KEY, NoVoke, Site, plant_of, running
from tests.support.virtual_time import run

EVERY_SECOND = {"interval": "1s"}


def test_a_suspended_plant_connects_to_nothing_and_stops_at_once() -> None:
    async def main() -> None:
        voke = NoVoke()
        site = Site(plant_of([["A"]], telemetry=EVERY_SECOND, suspend=True), voke)
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(100.0)
        assert voke.attempts == 0
        assert site.plcs["plc1"].passes == []
        assert site.runner.stats.ticks == 0
        await site.runner.stop(10.0)
        await task
        assert site.loop.elapsed() == 100.0

    run(main())


def test_stopping_lets_a_pass_end_and_keeps_what_it_read() -> None:
    async def main() -> None:
        site = Site(plant_of([["A", "B"], ["C"]], telemetry={"interval": "10s"}))
        site.plcs["plc1"].latency = 0.4
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(0.1)
        await site.runner.stop(10.0)
        await task
        assert list(site.snapshots[0].devices) == ["A", "B", "C"]
        assert len(site.snapshots) == 1
        assert [site.plcs[name].closed for name in ("plc1", "plc2")] == [1, 1]
        assert site.plcs["plc1"].running == 0
        ticks = site.runner.stats.ticks
        await asyncio.sleep(60.0)
        assert site.runner.stats.ticks == ticks

    run(main())


def test_stopping_takes_no_longer_than_it_may_though_a_plc_hangs() -> None:
    async def main() -> None:
        site = Site(plant_of([["A"], ["C"]], telemetry={"interval": "10s"}))
        site.plcs["plc1"].latency = 1e6
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(3.0)
        began = site.loop.time()
        await site.runner.stop(10.0)
        await task
        assert site.loop.time() - began <= 11.0
        assert [list(message.devices) for message in site.snapshots] == [["C"]]

    run(main())


def test_cancelling_closes_every_plc() -> None:
    async def main() -> None:
        site = Site(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND))
        async with running(site):
            await asyncio.sleep(10)
        assert [plc.closed for plc in site.plcs.plcs.values()] == [1, 1]
        assert [plc.opened for plc in site.plcs.plcs.values()] == [1, 1]

    run(main())


def test_stopping_delivers_what_the_last_pass_read() -> None:
    async def main() -> None:
        voke = SimulatedVoke(keys={PLANT_ID: HMAC_KEY}, latency=0.5)
        site = Site(plant_of([["A"]], telemetry=EVERY_SECOND), voke)
        site.plcs["plc1"].latency = 0.4
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(10.1)
        await site.runner.stop(10.0)
        await task
        assert len(voke.accepted()) == len(site.snapshots) == site.plcs["plc1"].reads["A"]
        assert site.store.state("site").messages == 0
        assert voke.sessions == {}
        assert voke.faults == []

    run(main())


def test_stopping_gives_up_on_a_voke_that_is_away_and_keeps_its_messages() -> None:
    async def main() -> None:
        site = Site(plant_of([["A"]], telemetry=EVERY_SECOND))
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(10.1)
        began = site.loop.time()
        await site.runner.stop(10.0)
        await task
        assert site.loop.time() - began <= 10.0
        assert site.store.state("site").messages == len(site.snapshots) >= 10

    run(main())


def test_stopping_twice_or_before_the_start_is_harmless() -> None:
    async def main() -> None:
        site = Site(plant_of([["A"]], telemetry=EVERY_SECOND))
        await site.runner.stop(1.0)
        await site.runner.run()
        assert site.plcs["plc1"].passes == []
        running_one = Site(plant_of([["A"]], telemetry=EVERY_SECOND))
        task = asyncio.create_task(running_one.runner.run())
        await asyncio.sleep(1.0)
        await asyncio.gather(running_one.runner.stop(5.0), running_one.runner.stop(5.0))
        await task
        assert running_one.plcs["plc1"].closed == 1

    run(main())


def test_stopping_in_the_middle_of_a_long_pass_delivers_what_was_read_of_it() -> None:
    units = [f"UNIT{n:02}" for n in range(50)]

    async def main() -> None:
        voke = SimulatedVoke(keys={PLANT_ID: HMAC_KEY})
        site = Site(plant_of([units, ["A"]], telemetry={"interval": "60s", "assembleWithin": "30s"}), voke)
        site.plcs["plc1"].latency = 0.7
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(1.0)
        await site.runner.stop(8.0)
        await task
        (content,) = voke.accepted()
        read = sum(site.plcs["plc1"].reads.values())
        assert len(content["devices"]) == read + 1
        assert read == 5, "four in the second before and the two of grace, and the request in flight"

    run(main())


def test_stopping_sends_what_is_gathered_though_another_plc_hangs() -> None:
    async def main() -> None:
        voke = SimulatedVoke(keys={PLANT_ID: HMAC_KEY})
        site = Site(plant_of([["A"], ["B"]], telemetry={"interval": "60s", "assembleWithin": "30s"}), voke)
        site.plcs["plc1"].latency = 1e6
        task = asyncio.create_task(site.runner.run())
        await asyncio.sleep(1.0)
        await site.runner.stop(8.0)
        await task
        assert [[device["externalId"] for device in content["devices"]] for content in voke.accepted()] == [
            ["B"]
        ]

    run(main())


def test_a_stop_in_the_moment_of_a_tick_still_lets_its_passes_run() -> None:
    async def main() -> None:
        site = Site(plant_of([["A"], ["B"]], telemetry=EVERY_SECOND))
        task = asyncio.create_task(site.runner.run())
        for _ in range(2):  # the plant starts its parts, then ticks
            await asyncio.sleep(0)
        assert site.runner.stats.ticks == 1
        assert site.plcs["plc1"].passes == [], "started, and not yet running"
        await site.runner.stop(10.0)
        await task
        assert [list(message.devices) for message in site.snapshots] == [["A", "B"]]

    run(main())
