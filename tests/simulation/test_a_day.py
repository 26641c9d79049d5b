"""A day in the life of a plant, in seconds: the gateway's own code on a virtual clock.

Only the two ends are simulated: PLCs behind the driver seam, Voke behind the session seam. What is between
them (schedule, passes, alarms, snapshots, store, window, signatures, reconnects) is what runs at a site.
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from tests.support.plants import PLANT_ID
from tests.support.simulated_voke import SimulatedVoke
from tests.support.site import HMAC_KEY, Site, plant_of
from tests.support.virtual_time import EPOCH, run
from voke_api.resolved import ResolvedPlant
from voke_gateway.outbox.store import Kind
from voke_gateway.protocol.envelope import iso_timestamp

HOUR = 3600.0
DAY = 24 * HOUR


def a_plant() -> ResolvedPlant:
    alarm = {"device": "C", "when": {"notReadFor": "60s"}, "code": 202, "severity": "ERROR", "name": "mute"}
    return plant_of([["A", "B/6"], ["C"], ["R1"]], telemetry={"interval": "10s"}, alarms=[alarm])


async def live(seconds: float) -> tuple[Site, SimulatedVoke]:
    """PLC plc2 is dead from a sixth to a quarter of the time, Voke from the half on for a 24th of it."""
    voke = SimulatedVoke(keys={PLANT_ID: HMAC_KEY})
    site = Site(a_plant(), voke)
    for plc in ("plc1", "plc2", "plc3"):
        site.plcs[plc].latency, site.plcs[plc].jitter = 0.005, 0.02
    loop = site.loop
    start = loop.time()
    loop.call_at(start + seconds / 6, setattr, site.plcs["plc2"], "silent", True)
    loop.call_at(start + seconds / 4, setattr, site.plcs["plc2"], "silent", False)
    loop.call_at(start + seconds / 2, voke.go_offline)
    loop.call_at(start + seconds * 13 / 24, setattr, voke, "online", True)
    task = asyncio.create_task(site.runner.run())
    await asyncio.sleep(seconds)
    await site.runner.stop(10.0)
    await task
    return site, voke


def test_a_day_with_an_hour_without_voke_and_two_without_a_plc_loses_nothing() -> None:
    began = time.perf_counter()
    site, voke = run(live(DAY))
    took = time.perf_counter() - began
    stats = site.runner.stats
    print(f"\n{stats.ticks} ticks, {len(voke.received)} messages, {len(voke.logins)} logins in {took:.2f} s")

    assert voke.faults == [], "every signature, nonce and ts was good"
    assert stats.ticks in (8640, 8641)
    assert stats.ticks_missed == 0

    put = [message.body for message in site.snapshots]
    accepted = voke.accepted()
    assert len(put) == stats.snapshots + stats.late_messages
    assert len(accepted) == len(put), "each arrived, and none twice: nothing was in flight when Voke went"
    assert sorted(accepted, key=str) == sorted(put, key=str)
    assert site.store.state("site").messages == 0
    assert stats.delivered[Kind.TELEMETRY] == len(put)
    assert len(put) == stats.ticks + stats.late_messages, "A and the cabinet are in every tick's snapshot"

    assert_every_read_is_reported(site)
    assert_timestamps_are_true(site)
    assert [alarm["ev"] for alarm in voke.accepted("alarm")] == ["RAISE", "RESOLVE"]
    assert took < 30, "a day should take seconds"


def assert_every_read_is_reported(site: Site) -> None:
    """Each reading carries its number as a value: 1, 2, 3, … without a gap, in this order."""
    for device, plc in (("A", "plc1"), ("B", "plc1"), ("C", "plc2")):
        numbers = [message.devices[device]["faultCode"] for message in site.of(device)]
        assert numbers == list(range(1, site.plcs[plc].reads[device] + 1))
    assert len(site.of("A")) == len(site.of("R1")) == site.runner.stats.ticks
    assert len(site.of("B")) in range(1440, 1443)
    dead = 2 * HOUR / 10
    assert site.runner.stats.ticks - dead - 8 <= len(site.of("C")) <= site.runner.stats.ticks - dead + 1


def assert_timestamps_are_true(site: Site) -> None:
    """The n-th reading of A is the first of its message and was begun by the n-th pass."""
    start = site.loop.time() - site.loop.elapsed()
    begun = [at - start for at, devices in site.plcs["plc1"].passes if "A" in devices]
    told = [message.body["timestamp"] for message in site.of("A")]
    assert told == [iso_timestamp(EPOCH + at) for at in begun]
    assert all(9.9 < later - earlier < 10.1 for earlier, later in pairwise(begun[1:]))


def test_the_same_day_twice_is_the_same_day() -> None:
    def lived() -> list[tuple[float, int, bytes]]:
        _, voke = run(live(HOUR))
        return [(message.at, message.session, message.payload) for message in voke.received]

    first = lived()
    assert len(first) > 360
    assert lived() == first
