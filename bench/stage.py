"""Everything that runs for one measurement, and what is measured of it during a window of time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.fleet import PER_FARM, Plant, make_fleet, plant_document
from bench.machine import Calibration, Cores, Usage, busy, usage
from bench.subject import GATEWAY, Running, Subject, run
from bench.subscriber import Subscriber
from bench.verify import Counted, Tally
from bench.voke import BenchVoke
from voke_sim.plc.farm import farm_process

GRACE = 2.0
"""Seconds that a poll's message may take to arrive and still count."""
SAMPLE_EVERY = 0.25
"""Seconds between two looks at the core's speed, which take less than a hundredth of it."""
SETTLE = 5.0
"""Seconds without stale messages before the first window: the backlog of the start has been delivered, and what is
done once after it, such as putting memory on large pages, is over."""
SETTLE_WITHIN = 45.0
"""A gateway with more to do than it can never gets there; then it is measured as it is."""
_SKIPPED = re.compile(rb"^voke_gateway_plant_ticks_skipped_total\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


class StageError(Exception):
    """The measurement could not be set up."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the gateway is given to do."""

    plcs: int
    per_plant: int
    interval: float = 1.0
    silent_every: int = 0
    """Every n-th PLC accepts the connection and never answers; 0: all answer."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was seen during one window."""

    seconds: float
    counted: Counted
    cpu: float
    """Gateway, share of a core."""
    wanted: float
    """Share of the time for which the gateway could have run but its core was taken by others."""
    rss: int
    """Bytes, at the end."""
    rss_growth: int
    files: int
    farm_cpu: float
    broker_cpu: float
    verifier_cpu: float
    others_busy: float
    """Share of time for which the measuring core was busy, with whatever."""
    strangers: float
    """Cores' worth of time that went to processes which are no part of the measurement, on both cores."""
    calibration: float
    """Turns of the calibrating loop per CPU second on the gateway's core, sampled all along."""

    @property
    def polls_per_second(self) -> float:
        return self.counted.delivered / self.seconds

    @property
    def cpu_per_poll(self) -> float:
        """Microseconds of the gateway per delivered poll."""
        return self.cpu * self.seconds / self.counted.delivered * 1e6 if self.counted.delivered else 0.0

    @property
    def cpu_per_message(self) -> float:
        return self.cpu * self.seconds / self.counted.messages * 1e6 if self.counted.messages else 0.0

    @property
    def relative_cost(self) -> float:
        """CPU of a poll in turns of the calibrating loop: comparable from machine to machine, nearly."""
        return self.cpu_per_poll * 1e-6 * self.calibration

    @property
    def measuring_side_full(self) -> bool:
        """The other core may have been what limited the figure."""
        return self.others_busy > 0.9


@dataclass(slots=True)
class Stage:
    """A gateway at work. Made by :func:`stage`."""

    cores: Cores
    load: Load
    plants: tuple[Plant, ...]
    gateway: Running
    documents: Path
    endpoints: list[tuple[str, int]]
    started_in: float
    """Seconds from starting the process to a verified message of every plant."""
    _verifier: Tally
    _subscriber: Subscriber
    _farms: list[int]
    _broker: int

    async def window(self, seconds: float, *, without: Plant | None = None) -> Window:
        """Measure for that long, a multiple of the load's interval.

        ``without``: a plant whose polls are not counted.
        """
        self._check()
        self._verifier.begin()
        begin = time.time()
        started = time.monotonic()
        first, other, own = self._usages(), busy(self.cores.others), busy(self.cores.gateway)
        calibration = await self._sampled(started + seconds)
        last, other, own = (
            self._usages(),
            busy(self.cores.others) - other,
            busy(self.cores.gateway) - own,
        )
        lasted = time.monotonic() - started
        await asyncio.sleep(GRACE)
        self._check()
        both = other + own if self.cores.separate else own
        cpu = {name: (last[name].cpu - first[name].cpu) / lasted for name in first}
        gateway = last["gateway"]
        return Window(
            seconds=seconds,
            counted=self._verifier.count(begin, begin + seconds, without=without),
            cpu=cpu["gateway"],
            wanted=(gateway.waited - first["gateway"].waited) / lasted,
            rss=gateway.rss,
            rss_growth=gateway.rss - first["gateway"].rss,
            files=gateway.files,
            farm_cpu=sum(share for name, share in cpu.items() if name.startswith("farm")),
            broker_cpu=cpu["broker"],
            verifier_cpu=cpu["verifier"],
            others_busy=other / lasted,
            strangers=max(0.0, both / lasted - sum(cpu.values())),
            calibration=calibration.speed,
        )

    async def _sampled(self, until: float) -> Calibration:
        """Wait, and see meanwhile how fast the gateway's core is."""
        calibration = Calibration(self.cores.gateway)
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(SAMPLE_EVERY, left))
            calibration.sample()
        return calibration

    async def edit(self, plant: Plant, edited: Plant, *, within: float) -> float | None:
        """Replace a plant's file by one with fewer PLCs; seconds until its telemetry shows it, or None."""
        path = self.documents / f"{plant.name}.yaml"
        _, secret = path.read_text().split("\n---\n")
        scratch = path.with_suffix(".new")
        document = plant_document(edited, self.endpoints)
        scratch.write_text(json.dumps(document) + "\n---\n" + secret)
        scratch.chmod(0o600)
        started = time.monotonic()
        scratch.replace(path)
        while time.monotonic() - started < within:
            await asyncio.sleep(0.05)
            if not self._verifier.carries(plant, len(plant.plcs) - 1):
                return time.monotonic() - started
        return None

    async def skipped(self) -> int:
        """Turns that PLC connections sat out, as the gateway counts them."""
        text = await self.gateway.get("/metrics")
        return int(sum(float(number) for number in _SKIPPED.findall(text)))

    def _usages(self) -> dict[str, Usage]:
        pids = {"gateway": self.gateway.pid, "broker": self._broker, "verifier": os.getpid()}
        pids |= {f"farm{number}": pid for number, pid in enumerate(self._farms)}
        return {name: usage(pid) for name, pid in pids.items()}

    def _check(self) -> None:
        self.gateway.check()
        if self._subscriber.lost:
            raise StageError("the subscriber lost its connection to the broker")


@asynccontextmanager
async def stage(
    cores: Cores, load: Load, *, subject: Subject = GATEWAY, start_within: float = 180.0
) -> AsyncIterator[Stage]:
    """Start farm, broker, subscriber and gateway; ready when every plant's telemetry has been verified."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voke-bench-")))
        plants = make_fleet(load.plcs, per_plant=load.per_plant, interval=load.interval)
        farms, endpoints = [], []
        for first in range(0, load.plcs, PER_FARM):
            farm = await stack.enter_async_context(farm_process(min(PER_FARM, load.plcs - first)))
            farms.append(farm.process.pid)
            endpoints += [(farm.host, port) for port in farm.ports]
        silent = frozenset(range(0, load.plcs, load.silent_every) if load.silent_every else ())
        if silent:
            for place in silent:
                endpoints[place] = await stack.enter_async_context(_deaf_server())
        voke = await stack.enter_async_context(BenchVoke.start(directory / "voke", plants))
        verifier = subject.tally(plants, silent=silent)
        subscriber = await voke.subscribe(verifier.receive, subject.topics)
        stack.callback(subscriber.close)
        broker = voke.broker.pid
        assert broker is not None
        documents = directory / "plants"
        subject.write(documents, plants, voke.site, voke.certificates, endpoints)
        started = time.monotonic()
        gateway = await stack.enter_async_context(
            run(subject, core=cores.gateway, documents=documents, directory=directory)
        )
        try:
            async with asyncio.timeout(start_within):
                while verifier.unheard:
                    gateway.check()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise StageError(
                f"{verifier.unheard} of {len(plants)} plants were not heard within {start_within:g} s; "
                f"refused: {dict(verifier.refused)}"
            ) from None
        started_in = time.monotonic() - started
        await _settle(verifier, gateway)
        yield Stage(
            cores=cores,
            load=load,
            plants=plants,
            gateway=gateway,
            documents=documents,
            endpoints=endpoints,
            started_in=started_in,
            _verifier=verifier,
            _subscriber=subscriber,
            _farms=farms,
            _broker=broker,
        )


async def _settle(verifier: Tally, gateway: Running) -> None:
    heard = time.time()
    while time.time() - heard < SETTLE_WITHIN:
        await asyncio.sleep(0.2)
        gateway.check()
        if time.time() - max(verifier.stale_at, heard) > SETTLE:
            return


@asynccontextmanager
async def _deaf_server() -> AsyncIterator[tuple[str, int]]:
    """A port that takes every connection and answers nothing."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    try:
        address = server.sockets[0].getsockname()
        yield str(address[0]), int(address[1])
    finally:
        server.close()
