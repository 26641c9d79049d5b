"""The story that ``voke demo`` tells: three sites, what goes wrong there, and what Voke asks of them.

Only the outside world is here: PLCs that live, fail and recover, commands that Voke sends, and what Voke
has verified. The gateway in between is the real one, and somebody else's to start.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from voke_sim.plc import faults
from voke_sim.plc.physics import HOUR, Pulse
from voke_sim.plc.server import ModbusServer
from voke_sim.plc.signals import Json
from voke_sim.plc.site import Site, SiteOptions
from voke_sim.voke import LocalVoke, SentCommand

SITES: tuple[SiteOptions, ...] = (
    SiteOptions(
        name="brno-roof",
        plant_id="a94d2f60-8b17-4c5e-b3a1-6e0f7d28c915",
        auth_method="MTLS",
        time_factor=60.0,
        starts_at=9.5 * HOUR,
        second_inverter=True,
        door=Pulse(start=4.0, length=4.0, every=14.0),
        battery_fault=Pulse(start=12.0, length=4.0, every=24.0),
    ),
    SiteOptions(
        name="ostrava-storage",
        plant_id="8a1d5c02-4f7e-4b1a-a6d3-5b9e2c7f1048",
        auth_method="JWT",
        time_factor=60.0,
        starts_at=12.0 * HOUR,
        battery_capacity=120_000.0,
        cabinet="register",
        door=Pulse(start=6.0, length=4.0, every=15.0),
        battery_fault=Pulse(start=14.0, length=4.0, every=26.0),
    ),
    SiteOptions(
        name="plzen-works",
        plant_id="c47b90e6-1d2f-4c38-8e05-f3a6d1b2c794",
        auth_method="PASSWORD",
        time_factor=60.0,
        starts_at=15.0 * HOUR,
        cabinet="bits",
        door=Pulse(start=8.0, length=4.0, every=16.0),
        battery_fault=Pulse(start=16.0, length=4.0, every=28.0),
    ),
)
"""One site for each way to log in; the first has the PLC that misbehaves."""

COMMAND_EVERY = 3.0
"""Seconds between two commands to one plant."""
INTERVAL = "1s"
_ANSWER_WITHIN = 8.0
"""Seconds that a command may take before it counts as unanswered."""

Tell = Callable[[str, str], None]
"""Says what happens: the plant's name, and a sentence."""


@dataclass(frozen=True, slots=True)
class Phase:
    """How the bad PLC behaves for a while."""

    says: str
    seconds: float
    faults: tuple[faults.Fault, ...] = ()
    listens: bool = True


BAD_DAY: tuple[Phase, ...] = (
    Phase("answers", 3.0),
    Phase("is silent", 6.0, (faults.Silent(),)),
    Phase("answers in pieces", 2.0, (faults.InPieces(3),)),
    Phase("refuses its voltage registers", 4.0, (faults.RefusedBlock(40, 45, table="input"),)),
    Phase("resets every connection", 3.0, (faults.Reset(),)),
    Phase("answers late and out of order", 3.0, (faults.Late(0.7),)),
    Phase("sends garbage", 3.0, (faults.Garbage(),)),
    Phase("is switched off", 4.0, listens=False),
)
"""What the second inverter's PLC goes through, again and again."""


@dataclass(slots=True)
class Tally:
    """Commands of one plant. Those that are still under way are only in ``sent``."""

    sent: int = 0
    completed: int = 0
    failed: int = 0
    unanswered: int = 0
    last: str = ""
    """What became of the last one, for people."""


@dataclass(slots=True)
class Stage:
    """One plant on the stage."""

    site: Site
    tally: Tally = field(default_factory=Tally)
    alarms_raised: int = 0
    alarms_resolved: int = 0
    weather: str = ""
    """What the bad PLC does, where there is one."""

    @property
    def name(self) -> str:
        """The Plant's name."""
        return self.site.options.name

    @property
    def plant_id(self) -> str:
        """Voke's id of the plant."""
        return self.site.options.plant_id


class Demo:
    """Three sites, their PLCs and the local Voke. Made by :meth:`start`."""

    def __init__(self, voke: LocalVoke, stages: Sequence[Stage], tell: Tell, random: Random) -> None:
        self.voke = voke
        self.stages = tuple(stages)
        self._tell = tell
        self._random = random
        self._commanding: list[asyncio.Task[None]] = []
        self._quiet = asyncio.Event()
        self._seen: dict[tuple[str, str], bool] = {}
        """Alarms told of, and whether they were resolved then."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        voke: LocalVoke,
        *,
        tell: Tell,
        random: Random | None = None,
        host: str = "127.0.0.1",
        first_port: int | None = None,
    ) -> AsyncIterator[Demo]:
        """Open every PLC at ``host`` and let time pass there, until the end of the block.

        Their ports are free ones, or begin at ``first_port``, ten for each site.
        """
        async with contextlib.AsyncExitStack() as stack:
            stages = []
            for number, options in enumerate(SITES):
                site = Site(options)
                stack.push_async_callback(site.stop)
                await site.start(host, first_port=None if first_port is None else first_port + 10 * number)
                stages.append(Stage(site))
            demo = cls(voke, stages, tell, random or Random(0))
            for stage in stages:
                await stack.enter_async_context(_task(stage.site.run()))
                if "plc2" in stage.site.servers:
                    await stack.enter_async_context(_task(demo._misbehave(stage)))
            try:
                yield demo
            finally:
                await demo.hush(within=0.0)

    # -- what Voke does

    def command(self) -> None:
        """Start sending a command to each plant every few seconds, once it has been heard of."""
        for number, stage in enumerate(self.stages):
            orders = self._command(stage, first_after=number * COMMAND_EVERY / len(self.stages))
            self._commanding.append(asyncio.create_task(orders, name=f"commands to {stage.name}"))

    async def hush(self, *, within: float = _ANSWER_WITHIN) -> None:
        """Send no more commands, and give those under way so many seconds to end."""
        self._quiet.set()
        ending, self._commanding = self._commanding, []
        if not ending:
            return
        ended, late = await asyncio.wait(ending, timeout=within)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for task in ended:
            task.result()  # raises what went wrong on Voke's side

    def look(self) -> None:
        """Take note of what Voke has learnt since the last look, and tell it."""
        names = {stage.plant_id: stage for stage in self.stages}
        for alarm in self.voke.alarms():
            stage = names[alarm.plant_id]
            key = (alarm.plant_id, alarm.alarm_id)
            resolved = alarm.resolved_at is not None
            if key not in self._seen:
                stage.alarms_raised += 1
                self._tell(stage.name, f"alarm {alarm.msg} raised (code {alarm.code})")
            if resolved and not self._seen.get(key, False):
                stage.alarms_resolved += 1
                self._tell(stage.name, f"alarm {alarm.msg} resolved")
            self._seen[key] = resolved

    # -- what came of it

    def summary(self) -> Json:
        """What Voke and its judge have seen, as plain figures."""
        counters = self.voke.counters
        tallies = [stage.tally for stage in self.stages]
        return {
            "plants": len(self.stages),
            "devices": len(self.voke.records.latest),
            "snapshots_verified": counters.total_accepted(kind="telemetry"),
            "snapshots_refused": counters.total_refused(kind="telemetry"),
            "messages_verified": counters.total_accepted(),
            "messages_refused": counters.total_refused(),
            "refused_reasons": dict(counters.reasons),
            "commands_sent": sum(tally.sent for tally in tallies),
            "commands_completed": sum(tally.completed for tally in tallies),
            "commands_failed": sum(tally.failed for tally in tallies),
            "commands_unanswered": sum(tally.unanswered for tally in tallies),
            "alarms_raised": sum(stage.alarms_raised for stage in self.stages),
            "alarms_resolved": sum(stage.alarms_resolved for stage in self.stages),
        }

    async def _command(self, stage: Stage, *, first_after: float) -> None:
        while not self.voke.counters.total_accepted(plant_id=stage.plant_id, kind="telemetry"):
            if await self._told_to_stop(within=0.1):
                return
        pause = first_after
        now = asyncio.get_running_loop().time
        for command_type, parameters in orders(self._random):
            if await self._told_to_stop(within=pause):
                return
            started = now()
            await self._order(stage, command_type, parameters)
            pause = max(0.0, COMMAND_EVERY - (now() - started))

    async def _told_to_stop(self, *, within: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._quiet.wait()
        return self._quiet.is_set()

    async def _order(self, stage: Stage, command_type: str, parameters: Json | None) -> None:
        tally = stage.tally
        power = (parameters or {}).get("powerW")
        words = command_type if power is None else f"{command_type} {power} W"
        tally.sent += 1
        cmd_id = await self.voke.send_command(stage.plant_id, command_type, parameters)
        command: SentCommand = self.voke.commands[cmd_id]
        try:
            outcome = await self.voke.outcome(cmd_id, _ANSWER_WITHIN)
        except TimeoutError:
            tally.unanswered += 1
            tally.last = f"{words}: no answer"
        else:
            if outcome.st == "COMPLETED":
                tally.completed += 1
                tally.last = f"{words} done in {outcome.received_at - command.sent_at:.2f} s"
            else:
                tally.failed += 1
                tally.last = f"{words} failed: {outcome.err} {outcome.msg or ''}".rstrip()
        self._tell(stage.name, tally.last)

    async def _misbehave(self, stage: Stage) -> None:
        server: ModbusServer = stage.site.servers["plc2"]
        for phase in itertools.cycle(BAD_DAY):
            stage.weather = phase.says
            self._tell(stage.name, f"plc2 {phase.says}")
            for fault in phase.faults:
                server.fail(fault)
            if not phase.listens:
                server.refuse_connections()
            await asyncio.sleep(phase.seconds)
            server.faults.clear()
            if not phase.listens:
                await server.accept_connections()


def orders(random: Random) -> Iterator[tuple[str, Json | None]]:
    """What Voke asks of a plant, one after the other, without end."""
    yield "GET_INFO", None
    for command_type in itertools.cycle(("CHARGE", "HOLD", "DISCHARGE", "GET_INFO")):
        if command_type in ("CHARGE", "DISCHARGE"):
            yield command_type, {"powerW": 500 * random.randrange(4, 30)}
        else:
            yield command_type, {}


@asynccontextmanager
async def _task(doing: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(doing)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
