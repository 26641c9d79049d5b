"""Reading one device that refuses some of what it is asked, on a virtual clock and without a network."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import virtual_time
from tests.support.modbus_devices import device, point
from voke_api.resolved import DeviceLimits, MaskBit, ResolvedDevice
from voke_gateway.drivers.base import DeviceReading, FaultKind
from voke_gateway.drivers.modbus.frames import ExchangeError, NoReplyError, Request, payload
from voke_gateway.drivers.modbus.memory import RETRY_AFTER
from voke_gateway.drivers.modbus.reader import DeviceReader

LATENCY = 0.01
TIMEOUT = 1.0
Refusal = Callable[[str, int, int], int]
"""From table, address and count to an exception code; 0 answers, -1 keeps silent."""
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


class Served:
    """A device whose register a holds a, and its reader."""

    def __init__(self, one: ResolvedDevice, refuse: Refusal = lambda *_: 0) -> None:
        self.refuse = refuse
        self.requests: list[tuple[str, int, int]] = []
        self.reader = DeviceReader(one, ask=self._ask, ask_now=self._ask, random=Random(1))
        self._device = one

    async def _ask(self, request: Request, reading: DeviceReading, within: float) -> bytes:
        address, count = struct.unpack(">HH", request.pdu[1:])
        asked = (TABLES[request.function], address, count)
        self.requests.append(asked)
        code = self.refuse(*asked)
        if code < 0:
            await asyncio.sleep(within)
            raise NoReplyError(f"no reply on {request.about}")
        await asyncio.sleep(LATENCY)
        if code:
            return payload(request, bytes((request.function | 0x80, code)))
        if request.function in (1, 2):
            size = (count + 7) // 8
            return payload(request, bytes((request.function, size)) + b"\xff" * size)
        words = struct.pack(f">{count}H", *range(address, address + count))
        return payload(request, bytes((request.function, 2 * count)) + words)

    async def read(self) -> DeviceReading:
        self.requests.clear()
        reading = DeviceReading(self._device.external_id, 0.0)
        failure = await self.reader.read(reading, TIMEOUT)
        if failure is not None:
            reading.fault = failure.fault
        return reading

    async def failure(self) -> ExchangeError | None:
        self.requests.clear()
        return await self.reader.read(DeviceReading(self._device.external_id, 0.0), TIMEOUT)


def refusing(addresses: Iterable[int], *, code: int = 2, most: int = 125, wall: int = 0) -> Refusal:
    """Refuses requests that touch ``addresses``, are longer than ``most``, or cross a multiple of ``wall``."""
    refused = frozenset(addresses)

    def refuse(_table: str, address: int, count: int) -> int:
        end = address + count
        crosses = wall and address // wall != (end - 1) // wall
        return code if count > most or crosses or not refused.isdisjoint(range(address, end)) else 0

    return refuse


def words(count: int, start: int = 0) -> ResolvedDevice:
    return device(*(point(f"p{start + n}", start + n) for n in range(count)))


def test_one_request_brings_all_there_is() -> None:
    async def main() -> None:
        served = Served(words(50))
        reading = await served.read()
        assert reading.values == {f"p{n}": n for n in range(50)}
        assert served.requests == [("holding", 0, 50)]
        assert reading.fault is None
        assert reading.faults == {}

    virtual_time.run(main())


@pytest.mark.parametrize("code", [2, 3])
def test_one_bad_register_is_found_remembered_and_left_out(code: int) -> None:
    async def main() -> None:
        served = Served(words(64), refusing([17], code=code))
        first = await served.read()
        assert first.values == {f"p{n}": n for n in range(64) if n != 17}
        assert len(served.requests) <= 13
        second = await served.read()
        assert served.requests == [("holding", 0, 17), ("holding", 18, 46)]
        assert second.values == first.values
        assert set(second.faults) == {"p17"}
        assert second.faults["p17"].kind is FaultKind.REFUSED
        assert "holding 17, unit 1" in second.faults["p17"].detail
        assert set(served.reader.memory.faults) == {"p17"}

    virtual_time.run(main())


def test_a_refused_gap_costs_one_request_more_and_no_point() -> None:
    async def main() -> None:
        one = device(*(point(f"p{n}", n) for n in (0, 1, 2, 3, 4, 8, 9)))
        served = Served(one, refusing([6]))
        first = await served.read()
        assert set(first.values) == {"p0", "p1", "p2", "p3", "p4", "p8", "p9"}
        await served.read()
        assert served.requests == [("holding", 0, 5), ("holding", 8, 2)]
        assert served.reader.memory.faults == {}

    virtual_time.run(main())


@pytest.mark.parametrize("code", [2, 3])
def test_a_device_that_takes_fewer_registers_at_a_time_loses_no_point(code: int) -> None:
    async def main() -> None:
        served = Served(words(250), refusing([], code=code, most=50))
        for _ in range(6):
            reading = await served.read()
            assert len(reading.values) == 250
        assert len(served.requests) <= 10
        assert all(count <= 50 for _, _, count in served.requests)
        assert served.reader.memory.faults == {}

    virtual_time.run(main())


def test_a_device_that_wants_its_register_groups_read_apart_loses_no_point() -> None:
    async def main() -> None:
        served = Served(words(135), refusing([], wall=45))
        for _ in range(5):
            reading = await served.read()
            assert len(reading.values) == 135
        assert {(a // 45, (a + n - 1) // 45) for _, a, n in served.requests} == {(0, 0), (1, 1), (2, 2)}
        assert len(served.requests) <= 5

    virtual_time.run(main())


points_and_refusals = st.tuples(
    st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from(["uint16", "int32", "uint64", "float32"])),
        min_size=1,
        max_size=25,
    ),
    st.frozensets(st.integers(0, 64)),
    st.integers(4, 125),
    st.integers(0, 12),
)


@given(points_and_refusals)
def test_in_the_end_exactly_the_points_that_touch_no_refused_address_are_read(
    case: tuple[list[tuple[int, str]], frozenset[int], int, int],
) -> None:
    places, refused, most, max_gap = case
    one = device(
        *(point(f"p{n}", address, type_) for n, (address, type_) in enumerate(places)),
        limits=DeviceLimits(max_gap=max_gap),
    )
    readable = {p.field for p in one.points if refused.isdisjoint(range(p.address, p.address + p.registers))}

    async def main() -> None:
        served = Served(one, refusing(refused, most=most))
        for _ in range(60):
            reading = await served.read()
            assert set(reading.values) <= readable
            assert not set(reading.values) & set(reading.faults)
            if len(served.requests) == len(served.reader.memory.blocks) and not any(
                served.refuse(*asked) for asked in served.requests
            ):
                break
        else:
            raise AssertionError("still learning")
        assert set(reading.values) | set(reading.faults) == {p.field for p in one.points}
        assert set(served.reader.memory.faults) == {p.field for p in one.points} - readable
        assert {p.field for p in one.points} - set(reading.faults) <= readable
        assert all(reading.faults[name].kind is FaultKind.REFUSED for name in served.reader.memory.faults)

    virtual_time.run(main())


def test_a_slow_device_is_explored_over_several_passes_and_each_makes_headway() -> None:
    async def main() -> None:
        served = Served(words(64), refusing(range(64)))
        bad = 0
        for _ in range(64):
            await served.read()
            assert len(served.requests) * LATENCY < TIMEOUT + 0.2
            found = len(served.reader.memory.faults)
            assert found == 64 or found > bad
            bad = found
        assert bad == 64
        reading = await served.read()
        assert served.requests == []
        assert reading.fault is not None
        assert reading.fault.kind is FaultKind.REFUSED

    virtual_time.run(main())


def test_a_refused_point_is_tried_again_slowly_and_comes_back() -> None:
    async def main() -> None:
        served = Served(words(20), refusing([7, 8]))
        await served.read()
        loop = asyncio.get_running_loop()
        asked_alone = 0
        start = loop.time()
        while loop.time() < start + 10 * RETRY_AFTER:
            await asyncio.sleep(1)
            await served.read()
            tries = [a for a in served.requests if a[1:] in ((7, 1), (8, 1))]
            assert len(tries) <= 1
            asked_alone += len(tries)
        assert 10 <= asked_alone <= 40
        served.refuse = refusing([])
        while served.reader.memory.faults:
            await asyncio.sleep(1)
            await served.read()
        await served.read()
        assert served.requests == [("holding", 0, 20)]

    virtual_time.run(main())


def test_a_split_that_is_no_longer_needed_is_given_up() -> None:
    async def main() -> None:
        served = Served(words(100), refusing([], most=50))
        await served.read()
        await served.read()
        assert len(served.requests) == 2
        served.refuse = refusing([])
        while len(served.requests) != 1:
            await asyncio.sleep(10)
            assert len((await served.read()).values) == 100

    virtual_time.run(main())


def test_exception_1_marks_the_table_and_the_others_are_read() -> None:
    async def main() -> None:
        one = device(point("h", 5), point("i", 5, table="input"), point("j", 900, table="input"))
        served = Served(one, lambda table, *_: int(table == "input"))
        reading = await served.read()
        assert reading.values == {"h": 5}
        assert set(reading.faults) == {"i", "j"}
        assert "exception 1 (illegal function)" in reading.faults["j"].detail
        await served.read()
        assert served.requests == [("holding", 5, 1)]
        served.refuse = refusing([])
        while served.reader.memory.faults:
            await asyncio.sleep(10)
            await served.read()
        assert (await served.read()).values == {"h": 5, "i": 5, "j": 900}

    virtual_time.run(main())


@pytest.mark.parametrize("code", [5, 6])
def test_a_busy_device_is_asked_once_more_in_the_same_pass(code: int) -> None:
    async def main() -> None:
        busy = [True]
        served = Served(device(point("x", 1), point("y", 900)))
        served.refuse = lambda _t, address, _n: code if address == 1 and busy and busy.pop() else 0
        assert (await served.read()).values == {"x": 1, "y": 900}
        served.refuse = lambda _t, address, _n: code if address == 1 else 0
        reading = await served.read()
        assert reading.values == {"y": 900}
        assert reading.faults["x"].kind is FaultKind.BUSY
        assert [a[1] for a in served.requests] == [1, 900, 1]
        assert served.reader.memory.faults == {}

    virtual_time.run(main())


def test_exception_4_is_of_this_pass_only() -> None:
    async def main() -> None:
        served = Served(device(point("x", 1), point("y", 900)))
        served.refuse = lambda _t, address, _n: 4 if address == 1 else 0
        reading = await served.read()
        assert reading.values == {"y": 900}
        assert "exception 4 (server device failure) on holding 1, unit 1" in reading.faults["x"].detail
        served.refuse = refusing([])
        assert (await served.read()).values == {"x": 1, "y": 900}

    virtual_time.run(main())


def test_a_silent_device_is_asked_one_thing_only_and_another_the_next_time() -> None:
    async def main() -> None:
        served = Served(device(point("x", 1), point("y", 500), point("z", 900)), lambda *_: -1)
        asked = []
        for _ in range(3):
            failure = await served.failure()
            assert failure is not None
            assert failure.kind is FaultKind.TIMEOUT
            asked += served.requests
        assert sorted(a[1] for a in asked) == [1, 500, 900]

    virtual_time.run(main())


def test_a_request_that_is_ignored_while_others_are_answered_is_made_less_and_less_often() -> None:
    async def main() -> None:
        served = Served(device(point("x", 1), point("y", 500), point("z", 900)))
        served.refuse = lambda _t, address, _n: -1 if address == 1 else 0
        await served.failure()
        loop = asyncio.get_running_loop()
        began, silences, passes = loop.time(), 0, 0
        while loop.time() < began + 1200:
            reading = await served.read()
            passes += 1
            silent = ("holding", 1, 1) in served.requests
            silences += silent
            assert reading.values == {"y": 500, "z": 900}
            assert reading.faults["x"].kind is FaultKind.TIMEOUT
            await asyncio.sleep(1)
        assert silences < passes / 20
        served.refuse = refusing([])
        while (await served.read()).faults:
            await asyncio.sleep(1)
        assert (await served.read()).values == {"x": 1, "y": 500, "z": 900}

    virtual_time.run(main())


def test_what_was_read_before_the_device_fell_silent_is_kept() -> None:
    async def main() -> None:
        served = Served(words(64))
        served.refuse = lambda _t, address, count: -1 if address >= 32 else 2 * (address + count > 60)
        reading = await served.read()
        assert reading.values == {f"p{n}": n for n in range(32)}
        assert set(reading.faults) == {f"p{n}" for n in range(32, 64)}
        assert {fault.kind for fault in reading.faults.values()} == {FaultKind.TIMEOUT}
        assert reading.fault is None

    virtual_time.run(main())


def test_a_unit_that_a_gateway_cannot_reach_is_asked_one_thing_only() -> None:
    async def main() -> None:
        served = Served(device(point("x", 1), point("y", 500)), lambda *_: 11)
        failure = await served.failure()
        assert failure is not None
        assert failure.kind is FaultKind.NO_UNIT
        assert len(served.requests) == 1

    virtual_time.run(main())


def test_a_mask_is_whole_or_not_there() -> None:
    async def main() -> None:
        mask = tuple(MaskBit(bit=n, table="discrete", address=n) for n in range(24))
        served = Served(device(mask=mask), refusing([5]))
        reading = await served.read()
        assert reading.mask is None
        assert reading.fault is not None
        assert "discrete 5, unit 1" in reading.fault.detail
        assert set(served.reader.memory.faults) == {"bit:5"}
        served.refuse = refusing([])
        while served.reader.memory.faults:
            await asyncio.sleep(10)
            await served.read()
        assert (await served.read()).mask == 0xFFFFFF

    virtual_time.run(main())


def test_some_fields_are_read_with_what_their_scale_needs_and_nothing_else() -> None:
    async def main() -> None:
        one = device(point("x", 1), point("y", 3, scale_from="sf"), point("sf", 2, "int16"), point("z", 4))
        served = Served(one)
        reading = DeviceReading("INV1", 0.0)
        await served.reader.read_fields(["y"], reading, TIMEOUT)
        assert reading.values == {"y": 300}
        assert served.requests == [("holding", 2, 2)]
        assert served.reader.exponents == {"sf": 2}

    virtual_time.run(main())
