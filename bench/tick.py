"""CPU that one tick costs: ten PLCs of ten values each, without driver, socket and disk.

    python -m bench.tick

Schedule, passes, alarms, snapshot and canonical body are the gateway's own, on the virtual clock; the PLCs
answer at once, the store keeps nothing and Voke is away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random

import structlog

from tests.support.plants import battery_document, resolved
from tests.support.virtual_time import EPOCH, VirtualTimeLoop, run
from voke_api.resolved import PlantCredentials, ResolvedDevice, ResolvedPlant
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import ConnectionState, DeviceReading, PointWrite
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Entry, Kind, Quota
from voke_gateway.plant.runner import PlantRunner
from voke_gateway.plant.turns import Turns
from voke_gateway.stats import GatewayStats
from voke_gateway.uplink.session import ConnectFailedError, Login, Session

PLCS = 10
VALUES = 10
TICKS = 20_000


class InstantPlc:
    """A connection whose readings are made beforehand."""

    def __init__(
        self,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],
        *,
        wall_clock: WallClock,
        random: Random,
    ) -> None:
        self.name = spec.name
        self.state = ConnectionState()
        self._devices = frozenset(device.external_id for device in devices)
        self._readings = [
            DeviceReading(
                device.external_id,
                wall_clock(),
                {point.field: round(random.uniform(-500, 500), 1) for point in device.points},
            )
            for device in devices
        ]

    def configure(self, devices: Sequence[ResolvedDevice]) -> None:
        raise NotImplementedError(devices)

    def awaited(self, devices: Iterable[str]) -> frozenset[str]:
        return self._devices.intersection(devices)

    async def poll(self, devices: Sequence[str], deliver: Callable[[DeviceReading], None]) -> None:
        assert len(devices) == len(self._readings)
        for reading in self._readings:
            deliver(reading)

    async def read(self, device: str, fields: Sequence[str]) -> DeviceReading:
        raise NotImplementedError(device, fields)

    def check_write(self, write: PointWrite) -> None:
        raise NotImplementedError(write)

    async def write(self, write: PointWrite) -> None:
        raise NotImplementedError(write)

    async def close(self) -> None:
        pass


class CountingStore(MemoryStore):
    """Counts what is put into it and keeps none of it."""

    messages = 0
    size = 0

    def put(self, plant: str, kind: Kind, content: bytes) -> Entry:
        self.messages += 1
        self.size += len(content)
        return Entry(plant, self.messages, kind, content, EPOCH)


class NoVoke:
    """Voke is away."""

    async def connect(self, login: Login) -> Session:
        raise ConnectFailedError(login.host)


def a_plant() -> ResolvedPlant:
    document = battery_document(telemetry={"interval": "1s"})
    document["spec"] |= {
        "connections": [{"name": f"plc{n}", "modbusTcp": {"host": "plc"}} for n in range(PLCS)],
        "devices": [
            {
                "externalId": f"INV{n}",
                "type": "INVERTER",
                "connection": f"plc{n}",
                "points": [
                    {"field": f"value{k}Kw", "table": "input", "address": 2 * k, "type": "float32"}
                    for k in range(VALUES)
                ],
            }
            for n in range(PLCS)
        ],
    }
    return resolved(document)


async def measure() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    store = CountingStore(Quota(), loop.wall_clock)
    runner = PlantRunner(
        a_plant(),
        PlantCredentials(client_id="bench", username="bench", hmac_key=bytes(32)),
        drivers={"modbus_tcp": InstantPlc},
        connector=NoVoke(),
        store=store,
        gateway_stats=GatewayStats(),
        turns=Turns(),
        wall_clock=loop.wall_clock,
        random=Random(1),
        nonce=lambda: "0" * 16,
    )
    task = asyncio.create_task(runner.run())
    for _ in range(3):
        ticks, started = runner.stats.ticks, time.process_time()
        await asyncio.sleep(TICKS)
        spent, ticks = time.process_time() - started, runner.stats.ticks - ticks
        per_tick = spent / ticks * 1e6
        print(f"{per_tick:.1f} µs of CPU per tick, {per_tick / PLCS:.1f} µs per PLC")
    print(f"{store.messages} messages of {store.size // store.messages} bytes, one per tick")
    await runner.stop(1.0)
    await task


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    run(measure())
