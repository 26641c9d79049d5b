"""One plant with every kind of bad PLC, on real sockets: the good ones keep their tick and their content."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime
from itertools import pairwise
from random import Random

from tests.support.modbus import eventually
from tests.support.plants import battery_document, resolved
from tests.support.site import HMAC_KEY, Message, NoVoke, RecordingStore
from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_gateway.clock import system_clock
from voke_gateway.drivers.registry import DRIVERS
from voke_gateway.outbox.store import Kind
from voke_gateway.plant.runner import PlantRunner
from voke_gateway.plant.turns import Turns
from voke_gateway.stats import GatewayStats
from voke_sim.plc.bank import Bank
from voke_sim.plc.faults import Silent, Slow
from voke_sim.plc.server import ModbusServer, Unit

TICKS = 8
SLOW = 2.0
"""Seconds, at a tick of one."""

DEVICES = {  # name: connection, unit id
    "GOOD": ("good", 1),
    "LIVE-UNIT": ("mixed", 1),
    "DEAD-UNIT": ("mixed", 2),
    "SLOW": ("slow", 1),
    "SILENT": ("silent", 1),
    "GONE": ("gone", 1),
}


def a_plant(ports: dict[str, int]) -> ResolvedPlant:
    point = {"field": "powerW", "table": "holding", "address": 0, "type": "int16"}
    document = battery_document(telemetry={"interval": "1s"})
    document["spec"] |= {
        "connections": [
            {
                "name": name,
                "modbusTcp": {
                    "host": "127.0.0.1",
                    "port": port,
                    "timeout": "3s" if name == "slow" else "1s",
                },
            }
            for name, port in ports.items()
        ],
        "devices": [
            {
                "externalId": device,
                "type": "BATTERY",
                "connection": connection,
                "unitId": unit,
                "points": [point],
            }
            for device, (connection, unit) in DEVICES.items()
        ],
    }
    return resolved(document)


def read_at(message: Message) -> float:
    return datetime.fromisoformat(message.body["timestamp"]).timestamp()


async def test_bad_plcs_cost_the_good_ones_neither_tick_nor_content() -> None:
    loop = asyncio.get_running_loop()
    start, wall_start = loop.time(), system_clock()
    servers = {
        name: ModbusServer({1: Unit(Bank.of(10)), 2: Unit(Bank.of(10))}) for name in ("good", "mixed", "slow")
    }
    servers |= {name: ModbusServer({1: Unit(Bank.of(10))}) for name in ("silent", "gone")}
    for server in servers.values():
        await server.start()
    servers["mixed"].fail(Silent(), unit=2)
    servers["slow"].fail(Slow(SLOW))
    servers["silent"].fail(Silent())
    servers["gone"].refuse_connections()
    store = RecordingStore(system_clock, lambda: loop.time() - start)
    runner = PlantRunner(
        a_plant({name: server.port for name, server in servers.items()}),
        PlantCredentials(client_id="c", username="c", hmac_key=HMAC_KEY),
        drivers=DRIVERS,
        connector=NoVoke(),
        store=store,
        gateway_stats=GatewayStats(),
        turns=Turns(),
        wall_clock=system_clock,
        random=Random(1),
        nonce=lambda: secrets.token_hex(8),
    )
    task = asyncio.create_task(runner.run())
    try:
        await eventually(lambda: runner.stats.ticks > TICKS, within=3 * TICKS)
        await runner.stop(10.0)
        await task
    finally:
        task.cancel()
        for server in servers.values():
            await server.stop()

    of = {
        device: [m for m in store.messages if m.kind is Kind.TELEMETRY and device in m.devices]
        for device in DEVICES
    }
    ticks = runner.stats.ticks
    assert len(of["GOOD"]) == ticks
    assert all(later > earlier for earlier, later in pairwise(map(read_at, of["GOOD"])))
    assert all(message.at - (read_at(message) - wall_start) < 1.0 for message in of["GOOD"][1:])
    lost = ticks - len(of["LIVE-UNIT"])
    assert lost <= 5, "its neighbour's first time-outs, until probes give way to the rhythm"
    together = [message for message in of["GOOD"] if "LIVE-UNIT" in message.devices]
    assert len(of["LIVE-UNIT"]) - len(together) <= 1, "in the same message, unless the first snapshot closed"
    assert len(of["SLOW"]) >= ticks / 4
    for message in of["SLOW"]:
        assert list(message.devices) == ["SLOW"], "it goes out by itself"
        assert message.at - (read_at(message) - wall_start) >= SLOW - 0.1, "and tells when it was read"
    assert not of["DEAD-UNIT"]
    assert not of["SILENT"]
    assert not of["GONE"]
    assert runner.stats.read_errors["unreachable"] > 0
    assert runner.stats.read_errors["timeout"] > 0
    assert all(server.stats.connections_open == 0 for server in servers.values())
