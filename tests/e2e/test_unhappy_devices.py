"""Real sockets, a real broker, a judge in JavaScript: one device's trouble is not its neighbours'."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path

from tests.support.thread import Json, Thread, device, meter, thread
from voke_sim.plc.faults import Silent, Slow
from voke_sim.plc.server import ModbusServer

TICKS = 5


def instants(samples: list[tuple[str, Json]]) -> list[float]:
    return [datetime.fromisoformat(timestamp).timestamp() for timestamp, _ in samples]


def keeps_its_tick(run: Thread, name: str, values: Json) -> None:
    """Every second one sample, with all of its values."""
    samples = run.samples(name)
    assert all(seen == values for _, seen in samples)
    # The first sample is that of the start; from the second on the plant's phase counts.
    gaps = [later - earlier for earlier, later in pairwise(instants(samples)[1:])]
    assert all(0.5 < gap < 1.5 for gap in gaps), gaps


async def run_for_ticks(run: Thread, name: str) -> None:
    await run.voke.wait_for(lambda: len(run.samples(name)) >= TICKS + 2, within=TICKS + 20)
    assert not run.voke.refused


async def test_a_dead_plc_costs_the_others_of_its_plant_nothing(tmp_path: Path) -> None:
    healthy, dead = ModbusServer({1: meter(11)}), ModbusServer({1: meter(22)})
    dead.faults.add(Silent())
    servers = {"healthy": healthy, "dead": dead}
    devices = [device("OK1", "healthy"), device("DEAD1", "dead")]
    async with thread(tmp_path, servers, devices) as run:
        await run_for_ticks(run, "OK1")
        keeps_its_tick(run, "OK1", {"v0": 11})
        assert run.samples("DEAD1") == [], "what was not read is not sent"
        dead.faults.clear()
        await run.voke.wait_for(lambda: run.samples("DEAD1"), within=40)
        status = await run.gateway.status()
        assert status is not None
        assert status.plants[0].session.connected
    assert healthy.stats.connections_peak == 1


async def test_a_dead_unit_behind_a_live_connection_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    server = ModbusServer({1: meter(11), 2: meter(22), 3: meter(33)})
    server.faults.add(Silent(), unit=2)
    devices = [device(f"U{unit}", "plc", unit=unit) for unit in (1, 2, 3)]
    async with thread(tmp_path, {"plc": server}, devices, plc_timeout="300ms") as run:
        await run_for_ticks(run, "U3")
        keeps_its_tick(run, "U1", {"v0": 11})
        keeps_its_tick(run, "U3", {"v0": 33})
        assert run.samples("U2") == []
        server.faults.clear()
        await run.voke.wait_for(lambda: run.samples("U2"), within=60)
    assert server.stats.connections_peak == 1


async def test_a_slow_plc_is_late_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    fast, slow = ModbusServer({1: meter(11, 12)}), ModbusServer({1: meter(22)})
    slow.faults.add(Slow(2.0))
    devices = [device("FAST1", "fast", fields=2), device("SLOW1", "slow")]
    async with thread(tmp_path, {"fast": fast, "slow": slow}, devices) as run:
        await run_for_ticks(run, "FAST1")
        keeps_its_tick(run, "FAST1", {"v0": 11, "v1": 12})
        samples = run.samples("SLOW1")
        assert len(samples) >= 2
        assert all(values == {"v0": 22} for _, values in samples)
        late = [
            message.document
            for message in run.voke.accepted
            if message.kind == "telemetry"
            and any(entry["externalId"] == "SLOW1" for entry in message.document["devices"])
        ]
        for document in late:
            assert len(document["devices"]) == 1, "a late reading goes out by itself"
            read_at = datetime.fromisoformat(document["timestamp"]).timestamp()
            assert 1.5 < document["ts"] / 1000 - read_at < 3, "and says when it was asked for"
        status = await run.gateway.status()
        assert status is not None
