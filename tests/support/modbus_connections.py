"""Driver connections to servers on this machine, and what a pass over them brought."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from voke_api.resolved import ResolvedDevice
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_api.resources.plant import ModbusTcp
from voke_gateway.drivers.base import Connection, DeviceReading, DeviceState, Fault
from voke_gateway.drivers.registry import DRIVERS


class Soonest(Random):
    """Jitter that always allows the next try at once."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Latest(Random):
    """Jitter that always makes the next try wait as long as may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


@asynccontextmanager
async def connection(
    port: int, *devices: ResolvedDevice, random: Random | None = None, host: str = "127.0.0.1", **spec: Any
) -> AsyncIterator[Connection]:
    """A connection ``plc1`` that is closed at the end; ``spec`` adds to its Modbus TCP settings."""
    settings = ModbusTcp(host=host, port=port, **{"timeout": 5.0, **spec})
    opened = DRIVERS["modbus_tcp"](
        ConnectionSpec(name="plc1", modbus_tcp=settings),
        devices,
        wall_clock=time.time,
        random=random or Soonest(),
    )
    try:
        yield opened
    finally:
        await opened.close()


async def poll(one: Connection, *names: str) -> dict[str, DeviceReading]:
    """What one pass delivered, by device; fails if a device was delivered twice."""
    brought: dict[str, DeviceReading] = {}

    def deliver(reading: DeviceReading) -> None:
        assert reading.device not in brought
        brought[reading.device] = reading

    await one.poll(names or list(one.state.devices), deliver)
    return brought


def fault_of(one: DeviceReading | DeviceState) -> Fault:
    """Why the device was not read; fails if it was."""
    assert one.fault is not None
    return one.fault
