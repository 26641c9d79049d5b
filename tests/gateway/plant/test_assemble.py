"""Which readings share a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping

from hypothesis import given
from hypothesis import strategies as st

from tests.support.plants import battery_document, resolved
from tests.support.virtual_time import VirtualTimeLoop, run
from voke_api.resolved import ResolvedPlant
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind
from voke_gateway.plant.assemble import Assembly, Pass
from voke_gateway.plant.snapshot import Reported, SnapshotFormat

WITHIN = 0.5
NAMES = ("A", "B", "C", "D")


def four_devices() -> ResolvedPlant:
    document = battery_document()
    battery = document["spec"]["devices"][0]
    document["spec"]["devices"] = [{**battery, "externalId": name} for name in NAMES]
    return resolved(document)


class Bench:
    """An assembly whose passes are driven by hand."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self._loop = loop
        self.compute = loop.compute
        self._start = self._loop.time()
        self.sent: list[tuple[float, str, str]] = []
        """Seconds, kind, and the devices of each message."""
        self.assembly = Assembly(
            SnapshotFormat(four_devices()),
            within=WITHIN,
            send_snapshot=lambda reports: self._sent("snapshot", reports),
            send_late=lambda reports: self._sent("late", reports),
        )

    def _sent(self, kind: str, reports: Mapping[int, Reported]) -> None:
        names = "".join(NAMES[position] for position in sorted(reports))
        self.sent.append((round(self._loop.time() - self._start, 6), kind, names))

    def begin(self, *awaited: str) -> list[Pass]:
        passes = []
        for devices in awaited:
            one = Pass()
            one.awaited = set(devices)
            passes.append(one)
        self.assembly.begin(passes)
        return passes

    def read(self, source: Pass, *names: str) -> None:
        for name in names:
            self.assembly.add(source, DeviceReading(name, 1.0, {"socPercent": 50}))

    def fail(self, source: Pass, name: str) -> None:
        self.assembly.add(source, DeviceReading(name, 1.0, fault=Fault(FaultKind.TIMEOUT)))


def on_the_bench(script: Callable[[Bench], Coroutine[None, None, None]]) -> list[tuple[float, str, str]]:
    async def main() -> list[tuple[float, str, str]]:
        bench = Bench()
        await script(bench)
        return bench.sent

    return run(main())


def test_a_snapshot_closes_when_the_last_awaited_device_has_answered() -> None:
    async def script(bench: Bench) -> None:
        first, second = bench.begin("AB", "C")
        bench.read(first, "A")
        await asyncio.sleep(0.1)
        bench.read(second, "C")
        await asyncio.sleep(0.1)
        bench.read(first, "B")
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.2, "snapshot", "ABC")]


def test_a_device_that_failed_is_not_awaited_any_more() -> None:
    async def script(bench: Bench) -> None:
        first, second = bench.begin("A", "B")
        bench.read(first, "A")
        await asyncio.sleep(0.1)
        bench.fail(second, "B")
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.1, "snapshot", "A")]


def test_a_pass_that_ends_without_a_word_about_a_device_settles_it() -> None:
    async def script(bench: Bench) -> None:
        first, second = bench.begin("A", "BC")
        bench.read(first, "A")
        bench.read(second, "B")
        await asyncio.sleep(0.1)
        bench.assembly.over(second)
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.1, "snapshot", "AB")]


def test_a_snapshot_waits_no_longer_than_it_may() -> None:
    async def script(bench: Bench) -> None:
        first, _slow = bench.begin("A", "B")
        bench.read(first, "A")
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(WITHIN, "snapshot", "A")]


def test_a_device_in_back_off_is_taken_in_time_but_not_waited_for() -> None:
    async def script(bench: Bench) -> None:
        first, second, _probing = bench.begin("A", "", "")
        bench.read(second, "B")
        await asyncio.sleep(0.1)
        bench.read(first, "A")
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.1, "snapshot", "AB")]


def test_nothing_read_is_no_message() -> None:
    async def script(bench: Bench) -> None:
        first, second = bench.begin("A", "B")
        bench.fail(first, "A")
        bench.assembly.over(first)
        await asyncio.sleep(1)
        bench.fail(second, "B")
        bench.assembly.over(second)
        bench.begin()
        await asyncio.sleep(1)
        bench.assembly.flush()

    assert on_the_bench(script) == []


def test_late_readings_are_gathered_until_the_last_late_pass_ends() -> None:
    async def script(bench: Bench) -> None:
        first, slow = bench.begin("A", "BCD")
        bench.read(first, "A")
        bench.assembly.over(first)
        await asyncio.sleep(0.7)
        bench.read(slow, "B")
        await asyncio.sleep(0.1)
        bench.read(slow, "C", "D")
        await asyncio.sleep(0.1)
        bench.assembly.over(slow)
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(WITHIN, "snapshot", "A"), (0.9, "late", "BCD")]


def test_a_late_window_is_no_longer_than_a_snapshots() -> None:
    async def script(bench: Bench) -> None:
        (slow,) = bench.begin("ABCD")
        await asyncio.sleep(1.0)
        for name in NAMES:
            bench.read(slow, name)
            await asyncio.sleep(0.3)
        bench.assembly.over(slow)

    assert on_the_bench(script) == [(1.5, "late", "AB"), (2.1, "late", "CD")]


def test_a_late_failure_opens_no_window() -> None:
    async def script(bench: Bench) -> None:
        (slow,) = bench.begin("AB")
        await asyncio.sleep(1.0)
        bench.fail(slow, "A")
        await asyncio.sleep(0.4)
        bench.read(slow, "B")
        bench.assembly.over(slow)

    assert on_the_bench(script) == [(1.4, "late", "B")]


def test_what_comes_back_together_after_an_outage_leaves_together() -> None:
    async def script(bench: Bench) -> None:
        (recovering,) = bench.begin("")
        for name in NAMES:
            await asyncio.sleep(0.01)
            bench.read(recovering, name)
        bench.assembly.over(recovering)
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.04, "late", "ABCD")]


def test_what_was_answered_while_the_process_was_busy_is_not_late() -> None:
    async def script(bench: Bench) -> None:
        first, second = bench.begin("A", "BC")
        bench.read(first, "A")
        await asyncio.sleep(0.1)
        bench.compute(0.7)  # the answers of B and C are there, but nobody had the time to look
        await asyncio.sleep(0.01)
        bench.read(second, "B", "C")
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.81, "snapshot", "ABC")]


def test_a_busy_process_prolongs_a_window_by_as_much_as_it_was_late_and_no_more() -> None:
    async def script(bench: Bench) -> None:
        first, _silent = bench.begin("A", "B")
        bench.read(first, "A")
        bench.compute(WITHIN + 0.3)
        await asyncio.sleep(2)

    assert on_the_bench(script) == [(1.1, "snapshot", "A")]


def test_late_readings_are_gathered_for_longer_too_when_the_process_is_busy() -> None:
    async def script(bench: Bench) -> None:
        (slow,) = bench.begin("ABCD")
        await asyncio.sleep(0.6)
        bench.read(slow, "A")
        bench.compute(0.9)
        await asyncio.sleep(0.1)
        bench.read(slow, "B", "C", "D")
        bench.assembly.over(slow)

    assert on_the_bench(script) == [(1.6, "late", "ABCD")]


def test_however_busy_the_process_is_a_window_ends_with_the_next_tick() -> None:
    async def script(bench: Bench) -> None:
        first, _silent = bench.begin("A", "B")
        bench.read(first, "A")
        bench.compute(5.0)
        await asyncio.sleep(0.1)
        bench.begin()

    assert on_the_bench(script) == [(5.1, "snapshot", "A")]


def test_the_next_tick_closes_everything_so_that_nothing_is_overtaken() -> None:
    async def script(bench: Bench) -> None:
        quick, slow = bench.begin("A", "BC")
        bench.assembly.over(quick)
        await asyncio.sleep(0.8)
        bench.read(slow, "B")
        await asyncio.sleep(0.2)
        (again,) = bench.begin("A")
        bench.read(again, "A")
        bench.assembly.over(again)
        await asyncio.sleep(0.2)
        bench.read(slow, "C")
        bench.assembly.over(slow)

    assert on_the_bench(script) == [(1.0, "late", "B"), (1.0, "snapshot", "A"), (1.2, "late", "C")]


def test_a_snapshot_that_is_still_open_closes_at_the_next_tick() -> None:
    async def script(bench: Bench) -> None:
        first, _slow = bench.begin("A", "B")
        bench.read(first, "A")
        await asyncio.sleep(0.1)
        bench.begin()
        await asyncio.sleep(1)

    assert on_the_bench(script) == [(0.1, "snapshot", "A")]


def test_a_driver_that_delivers_a_device_twice_gets_two_messages() -> None:
    async def script(bench: Bench) -> None:
        first, second = bench.begin("A", "B")
        bench.read(first, "A", "A", "A")
        bench.read(second, "B")
        bench.assembly.over(first)
        bench.assembly.over(second)

    sent = on_the_bench(script)
    assert sorted(names for _, _, names in sent) == ["A", "A", "AB"]


@given(st.data())
def test_whatever_happens_every_reading_leaves_once_in_order_and_within_the_time(data: st.DataObject) -> None:
    """Passes of any length over any devices; each reading carries its number as its value."""
    leaving: dict[str, list[int]] = {name: [] for name in NAMES}
    read: dict[str, list[int]] = {name: [] for name in NAMES}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        read_at: dict[tuple[str, int], float] = {}

        def sent(reports: Mapping[int, Reported]) -> None:
            for position, report in reports.items():
                assert isinstance(report.content, dict)
                number = report.content["socPercent"]
                leaving[NAMES[position]].append(number)
                assert loop.time() - read_at[NAMES[position], number] <= WITHIN + 1e-6

        assembly = Assembly(SnapshotFormat(four_devices()), within=WITHIN, send_snapshot=sent, send_late=sent)
        connections = {Pass(): names for names in ("A", "BC", "D")}
        busy: set[Pass] = set()

        async def one_pass(source: Pass, names: str) -> None:
            for name in names:
                await asyncio.sleep(data.draw(st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.7, 2.0])))
                answer = data.draw(st.sampled_from(["read", "fail", "silent"]))
                if answer == "silent":
                    continue
                reading = DeviceReading(name, 0.0, fault=Fault(FaultKind.TIMEOUT))
                if answer == "read":
                    number = len(read[name])
                    read[name].append(number)
                    read_at[name, number] = loop.time()
                    reading = DeviceReading(name, 0.0, {"socPercent": number})
                assembly.add(source, reading)
            busy.discard(source)
            assembly.over(source)

        tasks = []
        for _ in range(data.draw(st.integers(1, 5))):
            starting = [source for source in connections if source not in busy]
            for source in starting:
                waits = data.draw(st.booleans())
                source.awaited = set(connections[source]) if waits else set()
                busy.add(source)
            assembly.begin(starting)
            tasks += [asyncio.create_task(one_pass(source, connections[source])) for source in starting]
            await asyncio.sleep(1.0)
        await asyncio.gather(*tasks)
        await asyncio.sleep(WITHIN)

    run(main())
    assert leaving == read
