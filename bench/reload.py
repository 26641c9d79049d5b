"""What a changed bundle costs a running gateway: ``python -m bench.reload [plants]``.

The real reader, source and gateway on uvloop, with PLCs and a Voke that do nothing, so that what is measured
is the reload. Printed: the CPU time that a change takes of the loop, and the longest that the loop was held up
meanwhile (looked at every five milliseconds), for no change at all, one plant, its credentials, and all of them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Self

import structlog
import uvloop

from tests.support.fleet import Entry, Fleet, entry, point
from voke_api.resolved import ResolvedDevice
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_gateway.clock import WallClock, system_clock
from voke_gateway.drivers.base import ConnectionState, DeviceReading, PointWrite
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Quota
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.bundle_source import BundleSource
from voke_gateway.runtime.gateway import Gateway
from voke_gateway.uplink.session import ConnectFailedError, Login, Session


class IdleConnection:
    """A PLC that is never there."""

    def __init__(
        self,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],  # noqa: ARG002 - of the protocol
        *,
        wall_clock: WallClock,  # noqa: ARG002
        random: Random,  # noqa: ARG002
    ) -> None:
        self.name = spec.name
        self.state = ConnectionState()

    def configure(self, devices: Sequence[ResolvedDevice]) -> None:
        pass

    def awaited(self, devices: Iterable[str]) -> frozenset[str]:
        return frozenset(devices)

    async def poll(self, devices: Sequence[str], deliver: Callable[[DeviceReading], None]) -> None:
        pass

    async def read(self, device: str, fields: Sequence[str]) -> DeviceReading:
        raise NotImplementedError

    def check_write(self, write: PointWrite) -> None:
        raise NotImplementedError

    async def write(self, write: PointWrite) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        pass


class NoVoke:
    """Every attempt to connect goes on for ever."""

    async def connect(self, login: Login) -> Session:
        await asyncio.Event().wait()
        raise ConnectFailedError(login.host)


class Measured:
    """CPU time of this process, and the longest turn of the loop, while a block runs."""

    def __init__(self) -> None:
        self.cpu = self.longest = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look())
        await asyncio.sleep(0.05)
        self.longest, self._began = 0.0, time.process_time()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cpu = time.process_time() - self._began
        self._task.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.005
            await asyncio.sleep(0.005)
            self.longest = max(self.longest, loop.time() - due)


def a_plant(number: int) -> Entry:
    made = entry(
        f"plant-{number:05}", *(f"10.{number // 250}.{number % 250}.{k}" for k in range(10)), interval="1h"
    )
    for device in made.spec["devices"]:
        device["points"] += [point(f"v{k}", 10 + k) for k in range(10)]
    return made


async def measure(plants: int, directory: Path) -> dict[str, tuple[float, float]]:
    """CPU seconds and longest turn, by what was changed."""
    fleet = Fleet({f"plant-{n:05}": a_plant(n) for n in range(plants)})
    nonces = count(1)
    gateway = Gateway(
        "bench",
        drivers={"modbus_tcp": IdleConnection},
        connector=NoVoke(),
        store=MemoryStore(Quota(), system_clock),
        wall_clock=system_clock,
        random=Random(1),
        nonce=lambda: f"{next(nonces):016x}",
    )
    source = BundleSource(directory, BundleReader(), take=gateway.apply, trouble=print)
    found = {}

    async def step(what: str) -> None:
        for name, content in fleet.files().items():
            path = directory / name
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
        async with Measured() as measured:
            await source.look()
            await gateway.settled()
            await asyncio.sleep(0.01)
        found[what] = (measured.cpu, measured.longest)

    one = fleet.plants["plant-00000"].spec
    gateway.start()
    gc.disable()  # as the process does at its start, and then spares what stays
    await step(f"first load of {plants} plants")
    gc.freeze()
    gc.enable()
    await step("nothing but the generation")
    one["devices"][0]["points"][0]["scale"] = 2
    await step("one plant's points")
    one["connections"][0]["modbusTcp"]["timeout"] = "1s"
    await step("one plant's connection")
    fleet.plants["plant-00000"].password = "another"
    await step("one plant's credentials")
    del fleet.plants[f"plant-{plants - 1:05}"]
    await step("one plant removed")
    for plant in fleet.plants.values():
        plant.spec["devices"][0]["points"][0]["scale"] = 3
    await step("every plant's points")
    await gateway.stop(1.0)
    return found


def main() -> None:
    plants = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as directory:
        found = uvloop.run(measure(plants, Path(directory)))
    print(f"{plants} plants, ten PLCs each")
    for what, (cpu, longest) in found.items():
        print(f"{what:34} CPU {cpu * 1e3:8.1f} ms   longest turn of the loop {longest * 1e3:6.1f} ms")


if __name__ == "__main__":
    main()
