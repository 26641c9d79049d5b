"""Reading one device: which requests, what their replies mean, and what to do with each refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from random import Random
from typing import Final, Protocol

from voke_api.backoff import Backoff, Pace
from voke_api.blocks import Block, Item, halves, items, plan_blocks
from voke_api.resolved import ResolvedDevice
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind
from voke_gateway.drivers.modbus.decode import BlockDecoder, Decoded
from voke_gateway.drivers.modbus.frames import (
    ExceptionCode,
    ExceptionReplyError,
    ExchangeError,
    MalformedReplyError,
    Request,
    read_request,
)
from voke_gateway.drivers.modbus.memory import Memory

_NOT_HERE: Final = {ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE}
_BUSY_WAIT: Final = 0.1
"""Seconds until a device that was busy is asked once more."""
_IGNORED: Final = Pace(base=5.0, cap=300.0)
"""Before a request is made again that a device ignores while it answers others."""


class Ask(Protocol):
    """Sends a request of one device and brings its reply."""

    async def __call__(self, request: Request, reading: DeviceReading, within: float) -> bytes:
        """Stamps ``reading`` with the time of its first request; raises ExchangeError."""


class _Step:
    """One request of a device, compiled."""

    __slots__ = ("block", "decode", "request")

    def __init__(self, block: Block, device: ResolvedDevice) -> None:
        self.block = block
        self.request = read_request(device.unit_id, block.table, block.address, block.count)
        self.decode = BlockDecoder(block, device).decode


class DeviceReader:
    """Reads one device and remembers what it refuses.

    Args:
        device: Which one.
        ask: How its requests are sent.
        ask_now: The same, ahead of others' requests that wait.
        random: Jitter.
    """

    def __init__(self, device: ResolvedDevice, *, ask: Ask, ask_now: Ask, random: Random) -> None:
        self._device = device
        self._ask = ask
        self._ask_now = ask_now
        self._random = random
        self._items = {item.key: item for item in items(device)}
        self.memory = Memory(tuple(self._items.values()), device.limits, random)
        self._steps: tuple[_Step, ...] = ()
        self._planned: tuple[Block, ...] | None = None
        self._selections: dict[tuple[str, ...], tuple[_Step, ...]] = {}
        self._first = 0
        self._ignored: dict[Block, Backoff] = {}
        self.exponents: dict[str, int] = {}
        """Powers of ten as last read, by field."""

    def inherit(self, previous: DeviceReader) -> None:
        """Take over what is known of the device from before it was configured anew, as far as it applies."""
        self.memory.inherit(previous.memory)
        self._ignored = {b: o for b, o in previous._ignored.items() if b in self.memory.blocks}
        points, before = ({p.field: p for p in d.points} for d in (self._device, previous._device))
        self.exponents = {f: n for f, n in previous.exponents.items() if points.get(f) == before.get(f)}

    def read(self, reading: DeviceReading, within: float) -> Coroutine[None, None, ExchangeError | None]:
        """Read everything that the device is not known to refuse into ``reading``.

        Returns:
            Why nothing at all was answered; None if the device answered anything, be it an exception.
        """
        return _Pass(self, reading, within).run(self._order())

    async def read_fields(self, fields: Sequence[str], reading: DeviceReading, within: float) -> None:
        """Read some points, refused before or not, into ``reading``."""
        key = tuple(fields)
        steps = self._selections.get(key)
        if steps is None:
            steps = self._selections[key] = self._select(key)
        decoded = Decoded({}, {}, {})
        for step in steps:
            try:
                step.decode(await self._ask_now(step.request, reading, within), decoded)
            except ExchangeError as error:
                decoded.faults.update((item.key, error.fault) for item in step.block.items)
        decoded.finish()
        self.exponents.update(decoded.exponents)
        reading.values = {name: decoded.values[name] for name in key if name in decoded.values}
        reading.faults = {name: decoded.faults[name] for name in key if name in decoded.faults}
        reading.raw = {name: decoded.raw[name] for name in key if name in decoded.raw}
        if not reading.values:
            reading.fault = next(iter(reading.faults.values()), None)

    def _select(self, fields: Sequence[str]) -> tuple[_Step, ...]:
        points = [self._device.point(name) for name in fields]
        names = dict.fromkeys([*fields, *(p.scale_from for p in points if p.scale_from is not None)])
        blocks = plan_blocks(
            [self._items[name] for name in names if name in self._items],
            max_registers=self._device.limits.max_registers,
            max_gap=0,
        )
        return tuple(_Step(block, self._device) for block in blocks)

    def _order(self) -> Sequence[_Step]:
        """The requests of this pass. Those that the device ignored come last, or not at all for a while."""
        if self._planned is not self.memory.blocks:
            self._planned = self.memory.blocks
            self._steps = tuple(_Step(block, self._device) for block in self._planned)
            self._ignored = {b: back_off for b, back_off in self._ignored.items() if b in self._planned}
            self._first = 0
        steps = self._steps
        if self._first and steps:
            cut = self._first % len(steps)
            steps = steps[cut:] + steps[:cut]
        if not self._ignored:
            return steps
        return sorted(steps, key=lambda step: step.block in self._ignored)

    def ignored(self, block: Block) -> Backoff | None:
        """The back-off of a request that the device ignores; None if it does not."""
        return self._ignored.get(block) if self._ignored else None  # hashing a block takes its time

    def ignores(self, block: Block) -> None:
        """The device answers others, but gave no reply to this request."""
        back_off = self._ignored.setdefault(block, Backoff(_IGNORED, self._random))
        back_off.failed(asyncio.get_running_loop().time())

    def heeds(self, block: Block) -> None:
        """The device answered this request."""
        if self._ignored:
            self._ignored.pop(block, None)

    def start_elsewhere(self) -> None:
        """Nothing was answered: the device may ignore only the request that came first."""
        self._first += 1

    @property
    def device(self) -> ResolvedDevice:
        """Which one."""
        return self._device

    @property
    def ask(self) -> Ask:
        """How its requests are sent."""
        return self._ask

    def finish(self, reading: DeviceReading, decoded: Decoded) -> None:
        """All has been read that could be: what ``reading`` says of the device."""
        decoded.finish()
        if decoded.exponents:
            self.exponents.update(decoded.exponents)
        faults = decoded.faults
        if self.memory.faults:
            for key, fault in self.memory.faults.items():
                faults.setdefault(key, fault)
        if self._device.mask:
            if faults:
                reading.fault = next(iter(faults.values()))
                reading.faults = {}
            else:
                reading.mask = decoded.mask
        elif not reading.values:
            reading.fault = next(iter(faults.values()), None)


class _Pass:
    """One reading while it is being made."""

    def __init__(self, reader: DeviceReader, reading: DeviceReading, within: float) -> None:
        self._reader = reader
        self._memory = reader.memory
        self._reading = reading
        self._timeout = within
        self._answered = False
        self._asked: Block | None = None
        self._busy: list[_Step] = []
        self._explore_until: float | None = None
        self._learnt = 0
        self.decoded = Decoded(reading.values, reading.faults, reading.raw)

    async def run(self, steps: Sequence[_Step]) -> ExchangeError | None:
        """Make the requests; None, or why nothing was answered."""
        for position, step in enumerate(steps):
            back_off = self._reader.ignored(step.block)
            if back_off is not None and not back_off.due(_now()):
                self._fail(step.block.items, Fault(FaultKind.TIMEOUT, f"ignored: {step.request.about}"))
                continue
            try:
                await self._read(step)
            except ExchangeError as error:
                for missed in (*steps[position:], *self._busy):
                    self._fail(missed.block.items, error.fault)
                silent = error.kind in {FaultKind.TIMEOUT, FaultKind.NO_UNIT}
                if not self._answered:
                    if silent:
                        self._reader.start_elsewhere()
                    self._reading.faults.clear()
                    return error
                if silent and self._asked is not None:
                    self._reader.ignores(self._asked)
                break
        else:
            if self._busy or self._memory.taught:
                await self._ask_again()
        self._reader.finish(self._reading, self.decoded)
        return None

    async def _ask_again(self) -> None:
        """What was busy a moment ago, and one thing that was refused a while ago."""
        try:
            if self._busy:
                await self._ask_the_busy()
            await self._put_to_the_test()
        except ExchangeError as error:
            for missed in self._busy:
                self._fail(missed.block.items, error.fault)

    async def _read(self, step: _Step) -> bool:
        """Make one request. True if it was answered with what was asked for.

        Raises:
            ExchangeError: no reply, no connection or no unit; there is no point in asking for more.
        """
        self._asked = step.block
        try:
            data = await self._reader.ask(step.request, self._reading, self._timeout)
        except ExceptionReplyError as error:
            if error.kind is FaultKind.NO_UNIT:
                raise
            self._answered = True
            await self._refused(step, error)
            return False
        except MalformedReplyError as error:
            self._answered = True
            self._fail(step.block.items, error.fault)
            return False
        self._answered = True
        self._reader.heeds(step.block)
        step.decode(data, self.decoded)
        return True

    async def _refused(self, step: _Step, error: ExceptionReplyError) -> None:
        if error.code in _NOT_HERE:
            await self._explore(step.block, error)
        elif error.code == ExceptionCode.ILLEGAL_FUNCTION:
            self._learnt += 1
            self._memory.unsupported(step.block.table, error.fault, _now())
        elif error.kind is FaultKind.BUSY and step not in self._busy:
            self._busy.append(step)
        else:
            self._fail(step.block.items, error.fault)

    async def _explore(self, block: Block, error: ExceptionReplyError) -> None:
        """Find out what in a refused block is refused, reading the rest on the way.

        Goes on for one time-out's length beyond the first thing learnt; then the next pass goes on.
        """
        now = _now()
        if self._explore_until is None:
            self._explore_until = now + self._timeout
        parts = halves(block)
        if parts is None:
            self._learnt += 1
            self._memory.refused(block.items, error.fault, now)
            return
        if self._learnt and now > self._explore_until:
            self._fail(block.items, error.fault)
            return
        answered = [await self._read(_Step(part, self._reader.device)) for part in parts]
        if all(answered):
            self._learnt += 1
            self._memory.cut(block.table, parts[1].address, error.fault, now)

    async def _ask_the_busy(self) -> None:
        await asyncio.sleep(min(_BUSY_WAIT, self._timeout / 4))
        while self._busy:
            await self._read(self._busy[0])
            self._busy.pop(0)

    async def _put_to_the_test(self) -> None:
        """See whether one thing that was refused a while ago still is."""
        now = _now()
        lesson = self._memory.due(now)
        if lesson is None:
            return
        block = self._memory.question(lesson)
        if block is None:
            self._memory.forget(lesson)
            return
        step = _Step(block, self._reader.device)
        self._memory.confirmed(lesson, now)
        with suppress(MalformedReplyError):
            try:
                data = await self._reader.ask(step.request, self._reading, self._timeout)
            except ExceptionReplyError as error:
                if not lesson.items and error.code in _NOT_HERE:
                    self._memory.forget_all()  # the table is there after all
                return
            self._memory.forget_all()
            step.decode(data, self.decoded)

    def _fail(self, missed: Iterable[Item], fault: Fault) -> None:
        decoded = self.decoded
        for item in missed:
            if item.key not in decoded.values:
                decoded.faults[item.key] = fault


def _now() -> float:
    return asyncio.get_running_loop().time()
