"""Commands: from a signed message to writes on a PLC and one honest answer (protocol §6.3, §6.4).

A command is recorded, then acknowledged to the broker, then answered RECEIVED, IN_PROGRESS, and finally
COMPLETED or FAILED. What cannot be verified is met with silence. Commands that touch a common connection
write in the order of their arrival; waiting for a confirmation holds nobody up.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

import structlog

from voke_api.resolved import ResolvedPlant
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import (
    Connection,
    Value,
    WriteRefusedError,
    WriteUnknownError,
    WriteUnreachableError,
)
from voke_gateway.outbox.store import Entry, Kind
from voke_gateway.plant.command_journal import Answer, Journal, MemoryJournal
from voke_gateway.plant.command_plan import CommandRefusedError, Confirmation, Err, Step, plan
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.envelope import CommandMessage, MalformedCommandError, parse_command
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import PlantStats
from voke_gateway.uplink.session import Inbound

MAX_UNDER_WAY: Final = 64
"""Commands of one plant that may be under way at once."""
READ_BACK_EVERY: Final = 0.2
"""Seconds between two looks at a value that has not appeared yet."""
SAY_IGNORED_EVERY: Final = 60.0
"""Seconds between two log lines about messages without a valid signature."""
MAX_MESSAGE: Final = 200
"""Characters of an acknowledgement's msg."""

log = structlog.get_logger()


class Commands:
    """Carries out the commands of one plant."""

    def __init__(
        self,
        plant: ResolvedPlant,
        signer: Signer,
        connections: Mapping[str, Connection],
        *,
        put: Callable[[Kind, bytes], Entry],
        stats: PlantStats,
        wall_clock: WallClock,
        writes_stopped: Callable[[], bool],
        journal: Journal | None = None,
    ) -> None:
        """``writes_stopped`` tells whether another client is using the plant's identity."""
        self._plant = plant
        self._signer = signer
        self._connections = connections
        self._put = put
        self._stats = stats
        self._wall_clock = wall_clock
        self._writes_stopped = writes_stopped
        self._journal = journal or MemoryJournal(wall_clock())
        self._connection_of = {device.external_id: device.connection for device in plant.devices}
        self._locks = {name: asyncio.Lock() for name in connections}
        self._intake = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._executing: set[asyncio.Task[None]] = set()
        """Of these, the ones that depend on what plant and connections are now."""
        self._open = asyncio.Event()
        self._open.set()
        self._last_writer: dict[tuple[str, str], str] = {}
        self._stopping = False
        self._said_ignored_at = -math.inf
        self._log = log.bind(plant=plant.name)

    def receive(self, inbound: Inbound) -> None:
        """Take a message from the session. While stopping it is left to the broker, which keeps it."""
        if self._stopping:
            return
        task = asyncio.create_task(self._handle(inbound), name=f"command[{self._plant.name}]")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        self._stats.commands_in_progress = len(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._stats.commands_in_progress = len(self._tasks)

    async def stop(self, within: float) -> None:
        """Let commands under way end for ``within`` seconds; answer for what has not ended then."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def hold(self, within: float) -> None:
        """Let commands that are being carried out end, for ``within`` seconds; answer for what has not then.

        Others are taken in and wait until :meth:`configure` or :meth:`release`.
        """
        self._open.clear()
        if self._executing:
            await asyncio.wait(self._executing, timeout=within)
        broken_off = tuple(self._executing)
        for task in broken_off:
            task.cancel()
        await asyncio.gather(*broken_off, return_exceptions=True)

    def release(self) -> None:
        """Go on after :meth:`hold`."""
        self._open.set()

    def configure(self, plant: ResolvedPlant, connections: Mapping[str, Connection]) -> None:
        """Carry out commands as ``plant`` says from now on; those under way go on as they began."""
        self._plant = plant
        self._connections = connections
        self._connection_of = {device.external_id: device.connection for device in plant.devices}
        self._locks = {name: self._locks.get(name) or asyncio.Lock() for name in connections}
        self._last_writer = {
            point: command for point, command in self._last_writer.items() if point[0] in self._connection_of
        }
        self.release()

    def verify_with(self, signer: Signer) -> None:
        """Take commands that are signed with another key from now on."""
        self._signer = signer

    async def _handle(self, inbound: Inbound) -> None:
        message = self._verified(inbound.payload)
        if message is None:
            self._ignored()
            inbound.acknowledge()
            return
        async with self._intake:
            known = self._journal.latest(message.cmd_id)
            if known is None:
                await self._record(message, "RECEIVED")
        inbound.acknowledge()
        if known is not None:
            self._put(Kind.ACK, known.content)
            return
        self._put_latest(message)
        await self._carry_out(message)

    def _ignored(self) -> None:
        """Count a message without a valid signature, and say so once a minute at most."""
        self._stats.commands["ignored"] += 1
        now = self._wall_clock()
        if abs(now - self._said_ignored_at) >= SAY_IGNORED_EVERY:
            self._said_ignored_at = now
            total = self._stats.commands["ignored"]
            self._log.warning("command ignored", reason="no valid signature", ignored_so_far=total)

    def _verified(self, payload: bytes) -> CommandMessage | None:
        try:
            message = parse_command(payload)
        except MalformedCommandError:
            return None
        valid = self._signer.verifies_command(
            message.cmd_id, message.ts, message.type, message.p_canonical, message.sig
        )
        return message if valid else None

    async def _carry_out(self, message: CommandMessage) -> None:
        """From RECEIVED to the terminal answer, whatever happens in between."""
        made: list[Step] = []
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._open.wait()
            self._executing.add(task)
            remark = await self._execute(message, made)
        except CommandRefusedError as refused:
            await self._answer(message, "FAILED", err=refused.err, msg=refused.message)
        except asyncio.CancelledError:
            err = Err.SHUTTING_DOWN if self._stopping else Err.RECONFIGURED
            msg = "the gateway stopped" if self._stopping else "the plant was changed"
            if made:
                err = Err.OUTCOME_UNKNOWN
            await self._answer(message, "FAILED", err=err, msg=f"{msg} meanwhile")
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the command gets its one answer
            self._log.exception("command failed", command=message.type, cmd_id=message.cmd_id)
            err = Err.OUTCOME_UNKNOWN if made else Err.INTERNAL
            await self._answer(message, "FAILED", err=err, msg="internal error, see the gateway's log")
        else:
            await self._answer(message, "COMPLETED", msg=remark)
        finally:
            self._executing.discard(task)

    async def _execute(self, message: CommandMessage, made: list[Step]) -> str:
        """Validate, write, confirm. Returns a remark for the answer; appends to ``made`` as it writes."""
        self._refuse_by_age(message)
        if message.type == "GET_INFO" and message.type not in self._plant.commands:
            await self._answer(message, "IN_PROGRESS")
            self._put(Kind.INFO, canonical(self._info()))
            return ""
        steps = self._validated(message)
        await self._answer(message, "IN_PROGRESS")
        async with self._writing(steps):
            for step in steps:
                self._refuse_if_stopped()
                made.append(step)
                self._last_writer[step.write.device, step.write.field] = message.cmd_id
                await self._write(step, made, len(steps))
        unseen = []
        for step in steps:
            if step.confirmation is None:
                unseen.append(f"{step.write.device}.{step.write.field}")
            else:
                await self._confirm(message, step, step.confirmation)
        return f"not read back: {', '.join(unseen)}" if unseen else ""

    def _refuse_by_age(self, message: CommandMessage) -> None:
        age = self._wall_clock() - message.ts / 1000
        limit = self._plant.command_max_age
        if age > limit:
            raise CommandRefusedError(Err.STALE, f"signed {age:.0f} s ago, at most {limit:.0f} s is taken")
        if message.ts / 1000 < self._journal.knows_since:
            raise CommandRefusedError(Err.STALE, "signed before this gateway's memory of commands begins")
        if age < -self._plant.voke.replay_window:
            raise CommandRefusedError(Err.NOT_YET_VALID, f"signed {-age:.0f} s in the future")

    def _validated(self, message: CommandMessage) -> tuple[Step, ...]:
        """Everything that can be known before the first write."""
        command = self._plant.commands.get(message.type)
        if command is None:
            declared = ", ".join(sorted(self._plant.commands)) or "none"
            raise CommandRefusedError(
                Err.UNKNOWN_COMMAND, f"not declared in the Plant (declared: {declared})"
            )
        if self._plant.read_only is not None:
            raise CommandRefusedError(Err.WRITES_DISABLED, self._plant.read_only)
        self._refuse_if_stopped()
        if len(self._tasks) > MAX_UNDER_WAY:
            raise CommandRefusedError(Err.BUSY, f"{MAX_UNDER_WAY} commands are under way")
        parameters: Any = {} if message.p_canonical is None else message.p
        if not isinstance(parameters, dict):
            raise CommandRefusedError(Err.MALFORMED, "p is not an object")
        steps = plan(self._plant, command, parameters)
        for step in steps:
            try:
                self._connection(step).check_write(step.write)
            except WriteRefusedError as error:
                raise CommandRefusedError(Err.OUT_OF_RANGE, str(error)) from error
        return steps

    def _refuse_if_stopped(self) -> None:
        if self._writes_stopped():
            raise CommandRefusedError(Err.IDENTITY_IN_USE, "another client logs in as this plant")

    def _connection(self, step: Step) -> Connection:
        return self._connections[self._connection_of[step.write.device]]

    @asynccontextmanager
    async def _writing(self, steps: Sequence[Step]) -> AsyncIterator[None]:
        """Hold the locks of all connections concerned, taken in one order so that none waits in a ring."""
        async with AsyncExitStack() as stack:
            for name in sorted({self._connection(step).name for step in steps}):
                await stack.enter_async_context(self._locks[name])
            yield

    async def _write(self, step: Step, made: Sequence[Step], total: int) -> None:
        where = f"{step.write.device}.{step.write.field}"
        done = f" ({len(made) - 1} of {total} writes were made before)" if len(made) > 1 else ""
        try:
            await self._connection(step).write(step.write)
        except WriteUnreachableError as error:
            raise CommandRefusedError(Err.PLC_UNREACHABLE, f"{where}: {error}{done}") from error
        except WriteRefusedError as error:
            raise CommandRefusedError(Err.WRITE_REFUSED, f"{where}: {error}{done}") from error
        except WriteUnknownError as error:
            raise CommandRefusedError(Err.OUTCOME_UNKNOWN, f"{where}: {error}{done}") from error

    async def _confirm(self, message: CommandMessage, step: Step, wanted: Confirmation) -> None:
        """Read the value until it is what was written, or ``within`` has passed."""
        where = f"{wanted.device}.{wanted.field}"
        connection = self._connection(step)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wanted.within
        while True:
            reading = await connection.read(wanted.device, [wanted.field])
            seen = reading.values.get(wanted.field)
            if seen is not None and _agree(seen, wanted):
                return
            if self._last_writer[step.write.device, step.write.field] != message.cmd_id:
                raise CommandRefusedError(Err.SUPERSEDED, f"{where}: a newer command wrote it")
            remaining = deadline - loop.time()
            if remaining <= 0:
                break
            await asyncio.sleep(min(READ_BACK_EVERY, remaining))
        if seen is None:
            fault = reading.fault or reading.faults.get(wanted.field)
            raise CommandRefusedError(
                Err.OUTCOME_UNKNOWN, f"{where}: written, but not read back ({fault.detail if fault else '?'})"
            )
        raise CommandRefusedError(Err.NOT_CONFIRMED, f"{where}: wrote {wanted.expected}, reads {seen}")

    def _info(self) -> dict[str, Any]:
        """What GET_INFO publishes, retained. Its shape is ours: no source gives one (protocol §2)."""
        return {
            "commands": sorted({*self._plant.commands, "GET_INFO"}),
            "devices": dict(Counter(device.type for device in self._plant.devices)),
            "readOnly": self._plant.read_only is not None,
            "software": f"voke-fleet {version('voke-fleet')}",
            "telemetryIntervalMs": round(self._plant.interval * 1000),
        }

    async def _answer(
        self, message: CommandMessage, st: str, *, err: Err | None = None, msg: str = ""
    ) -> None:
        await self._record(message, st, err=err, msg=msg)
        self._put_latest(message)
        if st in ("COMPLETED", "FAILED"):
            outcome = err.value if err is not None else st
            self._stats.commands[outcome] += 1
            self._log.info("command ended", command=message.type, cmd_id=message.cmd_id, outcome=outcome)

    async def _record(
        self, message: CommandMessage, st: str, *, err: Err | None = None, msg: str = ""
    ) -> None:
        content = {"cmdId": message.cmd_id, "st": st}
        if err is not None:
            content["err"] = err.value
        if msg:
            content["msg"] = msg[:MAX_MESSAGE]
        now = self._wall_clock()
        await self._journal.record(
            message.cmd_id,
            Answer(st, canonical(content)),
            now=now,
            signed_at=message.ts / 1000,
            stale_before=now - self._plant.command_max_age,
        )

    def _put_latest(self, message: CommandMessage) -> None:
        answer = self._journal.latest(message.cmd_id)
        if answer is not None:
            self._put(Kind.ACK, answer.content)


def _agree(seen: Value, wanted: Confirmation) -> bool:
    """Whether what was read confirms what was written."""
    expected = wanted.expected
    if isinstance(seen, bool | str) or isinstance(expected, bool | str):
        return seen == expected
    return abs(seen - expected) <= wanted.tolerance
