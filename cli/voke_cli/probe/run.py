"""Reads what a gateway would read, once, and asks a little more where something is wrong.

One connection to each PLC, claimed so that no gateway on this machine holds it meanwhile; nothing is written.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from voke_api.resolved import ResolvedDevice, ResolvedPlant
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_cli.probe.facts import Answer, Change, DeviceFacts, Guess, Question
from voke_cli.probe.guesses import MOST, Guesses, guess, questions
from voke_cli.probe.limits import SETTLE, patience
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind
from voke_gateway.drivers.claims import EndpointClaims
from voke_gateway.drivers.modbus.look import LookingConnection, listens

AT_ONCE: Final = 32
"""PLCs that are read at the same time."""
EXTRA_SECONDS: Final = 30.0
"""After so long on one connection, no further question is asked."""
STANDARD_PORT: Final = 502


@dataclass(slots=True)
class DeviceReport:
    """One device: what was read, and what could be wrong."""

    facts: DeviceFacts
    fault: Fault | None
    """Why nothing was read."""
    seconds: float
    guesses: Guesses = field(default_factory=lambda: Guesses((), {}))

    @property
    def device(self) -> ResolvedDevice:
        """Which one."""
        return self.facts.device

    @property
    def complete(self) -> bool:
        """Whether every point has a value."""
        return self.fault is None and not self.facts.faults


@dataclass(slots=True)
class ConnectionReport:
    """One connection of a plant and its devices."""

    plant: str
    spec: ConnectionSpec
    devices: list[DeviceReport] = field(default_factory=list)
    guesses: tuple[Guess, ...] = ()
    requests: int = 0
    """For declared points."""
    extra_reads: int = 0
    """For guesses."""


class Probe:
    """Connections of plants, opened when first read and kept until :meth:`close`.

    Args:
        plants: Each with the ids of the devices that are wanted; none: all.
        claims: Who else on this machine may hold a PLC.
        wall_clock: For the times of readings.
        standard_port: Where a Modbus server is looked for if there is none at the port given.
    """

    def __init__(
        self,
        plants: Sequence[tuple[ResolvedPlant, frozenset[str]]],
        *,
        claims: EndpointClaims,
        wall_clock: WallClock,
        standard_port: int = STANDARD_PORT,
    ) -> None:
        self._lines = [
            _Line(plant, spec, wanted, claims=claims, wall_clock=wall_clock, standard_port=standard_port)
            for plant, only in plants
            for spec in plant.connections
            if (
                wanted := [
                    d
                    for d in plant.devices
                    if d.connection == spec.name and (not only or d.external_id in only)
                ]
            )
        ]
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(self, *, guessing: bool = True) -> list[ConnectionReport]:
        """Read everything once; with ``guessing``, ask about what is wrong."""
        return list(await asyncio.gather(*(self._one(line, guessing=guessing) for line in self._lines)))

    async def _one(self, line: _Line, *, guessing: bool) -> ConnectionReport:
        async with self._turns:
            return await line.read(guessing=guessing)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(line.connection.close() for line in self._lines))


class _Line:
    """One connection."""

    def __init__(
        self,
        plant: ResolvedPlant,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],
        *,
        claims: EndpointClaims,
        wall_clock: WallClock,
        standard_port: int,
    ) -> None:
        assert spec.modbus_tcp is not None
        self._plant = plant
        self._spec = spec
        self._tcp = spec.modbus_tcp
        self._devices = devices
        self._claims = claims
        self._standard_port = standard_port
        self._units: dict[int, Fault] = {}
        """Why a unit gave nothing when it was last tried."""
        self.connection = LookingConnection(
            spec, devices, wall_clock=wall_clock, random=random.SystemRandom(), claims=claims
        )

    async def read(self, *, guessing: bool) -> ConnectionReport:
        """One pass over the devices."""
        report = ConnectionReport(self._plant.name, self._spec)
        unreachable: Fault | None = None
        for device in self._devices:
            one = await self._read(device, unreachable)
            report.requests += len(one.facts.asked)
            report.devices.append(one)
            if not self.connection.state.connects:
                unreachable = one.fault
        if guessing:
            await self._guess(report)
        return report

    async def _read(self, device: ResolvedDevice, unreachable: Fault | None) -> DeviceReport:
        loop = asyncio.get_running_loop()
        started = loop.time()
        reading = DeviceReading(device.external_id, 0.0, fault=unreachable)
        self.connection.asked.clear()
        if unreachable is None:
            brought: list[DeviceReading] = []
            await self.connection.poll([device.external_id], brought.append)
            # A unit that has just been silent is left alone for a while.
            fault = self._units.get(device.unit_id, Fault(FaultKind.TIMEOUT, "not tried again yet"))
            reading = brought[0] if brought else DeviceReading(device.external_id, 0.0, fault=fault)
        facts = DeviceFacts(
            device,
            self._tcp.timeout,
            values=reading.values,
            mask=reading.mask,
            faults=self._faults(device, reading),
            asked=tuple(self.connection.asked),
            other_units=other_units(self._plant, device),
            connected=self.connection.state.connects > 0,
            listed_bits=listed_bits(device),
        )
        if reading.fault is not None and facts.silent is not None:
            self._units[device.unit_id] = reading.fault
        return DeviceReport(facts, reading.fault, loop.time() - started)

    def _faults(self, device: ResolvedDevice, reading: DeviceReading) -> dict[str, Fault]:
        """Of a device that gave nothing: of every item, as far as it is known what is the matter with each."""
        faults = dict(reading.faults)
        if reading.fault is not None and not faults:
            faults = dict(self.connection.state.devices[device.external_id].bad_points)
        if reading.fault is not None and not faults:
            faults = {item.key: reading.fault for item in DeviceFacts(device, 0.0).items()}
        return faults

    async def _guess(self, report: ConnectionReport) -> None:
        until = asyncio.get_running_loop().time() + EXTRA_SECONDS
        found: dict[str, Guess] = {}
        for one in report.devices:
            await self._ask_about(one.facts, until)
            report.extra_reads += len(one.facts.answers)
            guesses = guess(one.facts)
            ours = [each for each in guesses.device if {c.target for c in each.changes} == {"connection"}]
            found.update((each.kind, each) for each in ours)
            one.guesses = Guesses(tuple(g for g in guesses.device if g not in ours), guesses.points)
        if not self.connection.state.connects and await self._other_port():
            found["port"] = Guess(
                "port",
                f"something listens on port {self._standard_port} of {self._tcp.host}, nothing on {self._tcp.port}",
                (Change("connection", {"port": self._standard_port}),),
                3.0,
            )
        report.guesses = tuple(found.values())[:MOST]

    async def _ask_about(self, facts: DeviceFacts, until: float) -> None:
        loop = asyncio.get_running_loop()
        while asked := questions(facts):
            for question in asked:
                if loop.time() >= until:
                    return
                started = loop.time()
                words = await self._ask(facts, question)
                facts.learn(question, Answer(words, loop.time() - started))
                if facts.silent is not None:
                    break  # one answer may make the other questions idle, and each may take a time-out

    async def _ask(self, facts: DeviceFacts, question: Question) -> tuple[int, ...] | Fault:
        within = self._tcp.timeout
        if question.how == "patient":
            within = patience(within)
        elif question.how == "settled":
            fault = await self.connection.reconnect(settle=SETTLE)
            if fault is not None:
                return fault
        return await self.connection.look(
            facts.device, question.unit, question.table, question.address, question.count, within=within
        )

    async def _other_port(self) -> bool:
        refused = "refused" in self.connection.state.last_error
        return (
            refused
            and self._tcp.port != self._standard_port
            and await listens(self._tcp.host, self._standard_port, self._claims, within=self._tcp.timeout)
        )


def other_units(plant: ResolvedPlant, device: ResolvedDevice) -> dict[int, str]:
    """Unit ids that other devices of the plant have, each with the device of the same connection that has it."""
    here: dict[int, str] = {
        d.unit_id: d.external_id for d in plant.devices if d.connection == device.connection
    }
    units = sorted({other.unit_id for other in plant.devices} - {device.unit_id})
    return {unit: here.get(unit, "") for unit in units}


def listed_bits(device: ResolvedDevice) -> bool:
    """Whether the bits of a mask lie anyhow, as only a list of bits makes them."""
    places = [(bit.table, bit.address, bit.register_bit) for bit in device.mask]
    in_bits = all(place[2] is None for place in places)
    if in_bits:
        first = min((place[1] for place in places), default=0)
        return [place[1] for place in places] != list(range(first, first + len(places)))
    return len(places) not in {16, 32} or len({place[0] for place in places}) > 1


Tell = Callable[[list[ConnectionReport]], None]


async def probe_once(probe: Probe) -> list[ConnectionReport]:
    """Read everything once and close."""
    try:
        return await probe.read()
    finally:
        await probe.close()


async def probe_again_and_again(probe: Probe, interval: float, tell: Tell) -> None:
    """Read every ``interval`` seconds until cancelled; guesses are made in the first pass and stay."""
    loop = asyncio.get_running_loop()
    guessed: dict[tuple[str, str], DeviceReport] = {}
    first: list[ConnectionReport] = []
    due = loop.time()
    try:
        while True:
            reports = await probe.read(guessing=not first)
            first = first or reports
            for report, earlier in zip(reports, first, strict=True):
                report.guesses = earlier.guesses
                for one in report.devices:
                    before = guessed.setdefault((report.plant, one.device.external_id), one)
                    one.guesses = before.guesses
            tell(reports)
            due = max(due + interval, loop.time())
            await asyncio.sleep(due - loop.time())
    finally:
        await probe.close()
