"""Units and endpoints that do not answer, or too late: time-outs, back-off, probes, and pauses.

On the virtual clock, with the driver and the server as on real sockets.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any

import pytest

from tests.support.loops import repeat, until
from tests.support.modbus_connections import Latest, connection, fault_of, poll
from tests.support.modbus_devices import device, point, unit
from tests.support.scripted_modbus import Asked, Peer, ScriptedServer, honest, silent_units
from tests.support.virtual_network import on_virtual_network
from tests.support.virtual_time import elapsed
from voke_api.resolved import DeviceLimits, ResolvedDevice
from voke_gateway.drivers.base import Connection, FaultKind, PointWrite, WriteUnknownError

TIMEOUT = 0.2


def connected(
    server: ScriptedServer, *devices: ResolvedDevice, timeout: float = TIMEOUT, **more: Any
) -> AbstractAsyncContextManager[Connection]:
    """A connection to the server."""
    return connection(server.port, *devices, timeout=timeout, **more)


@on_virtual_network
async def test_a_late_reply_is_counted_and_answers_nothing() -> None:
    held: list[bytes] = []

    def script(asked: Asked, peer: Peer) -> None:
        if not held:
            held.append(asked.frame(bytes((3, 2, 0xBA, 0xAD))))
        else:
            peer.send(held[0])
            peer.reply(asked)

    async with ScriptedServer(script) as server, connected(server, unit(1), unit(2)) as plc:
        brought = await poll(plc)
        assert brought["U1"].fault is not None
        assert brought["U1"].fault.kind is FaultKind.TIMEOUT
        assert re.fullmatch(r"no reply in 0\.\d+ s on holding 40, unit 1", brought["U1"].fault.detail)
        assert brought["U2"].values == {"x": 40}
        assert plc.state.late_replies == 1
        assert server.connections == 1


@on_virtual_network
async def test_a_reply_with_another_transaction_id_is_no_reply_and_the_fault_says_so() -> None:
    def script(asked: Asked, peer: Peer) -> None:
        peer.send(asked.frame(asked.right(), transaction=0))

    async with ScriptedServer(script) as server, connected(server, unit(1)) as plc:
        fault = (await poll(plc))["U1"].fault
        assert fault is not None
        assert fault.kind is FaultKind.TIMEOUT
        assert "transaction id 0 instead of 1" in fault.detail
        assert plc.state.late_replies == 1


@on_virtual_network
async def test_a_server_that_accepts_and_closes_is_not_hammered() -> None:
    async with ScriptedServer() as server:
        server.greet = Peer.hang_up
        async with connected(server, *(unit(n) for n in range(1, 9)), random=Latest()) as plc:
            brought = await poll(plc)
            assert {r.fault.kind for r in brought.values() if r.fault} == {FaultKind.UNREACHABLE}
            assert len(brought) == 8
            assert server.connections <= 2
            for _ in range(20):
                await poll(plc)
            assert server.connections <= 2
            assert plc.awaited(["U1", "U8"]) == frozenset()


@on_virtual_network
async def test_a_dead_unit_is_probed_after_the_healthy_ones_and_once_a_pass() -> None:
    async with silent_units(2, 3) as server, connected(server, *(unit(n) for n in (2, 1, 3, 4))) as plc:
        await poll(plc)
        await poll(plc)
        assert plc.awaited(["U1", "U2", "U3", "U4"]) == {"U1", "U4"}
        assert plc.state.devices["U2"].in_back_off
        for _ in range(4):
            server.asked.clear()
            brought = await poll(plc)
            asked = [asked.unit for asked in server.asked]
            assert asked[:2] == [1, 4]
            assert len(asked) == 3
            assert set(brought) == {"U1", "U4", f"U{asked[2]}"}
        assert server.connections == 1, "a dead unit must not cost the others their connection"


@on_virtual_network
async def test_dead_units_take_turns_in_being_probed_and_one_reply_ends_the_back_off() -> None:
    async with silent_units(2, 3) as server, connected(server, *(unit(n) for n in (1, 2, 3))) as plc:
        for _ in range(2):
            await poll(plc)
        server.asked.clear()
        for _ in range(4):
            await poll(plc)
        probed = [asked.unit for asked in server.asked if asked.unit != 1]
        assert sorted(probed) == [2, 2, 3, 3]
        server.script = honest
        await repeat(lambda: poll(plc), lambda: len(plc.awaited(["U1", "U2", "U3"])) == 3)
        assert {r.fault for r in (await poll(plc)).values()} == {None}


@on_virtual_network
async def test_a_dead_unit_waits_longer_and_longer() -> None:
    async with (
        silent_units(2) as server,
        connected(server, unit(1), unit(2), random=Latest(), timeout=0.02) as plc,
    ):
        began = elapsed()
        while elapsed() < began + 1.5:
            await poll(plc)
            await asyncio.sleep(0.01)
        assert [asked.unit for asked in server.asked].count(2) == 2


@on_virtual_network
async def test_two_silent_units_in_a_row_end_the_pass() -> None:
    async with (
        silent_units(*range(1, 7)) as server,
        connected(server, *(unit(n) for n in range(1, 9)), random=Latest()) as plc,
    ):
        began = elapsed()
        brought = await poll(plc)
        assert elapsed() - began < 5 * TIMEOUT
        assert [asked.unit for asked in server.asked] == [1, 2]
        assert len(brought) == 8
        assert "units 1 and 2 gave no reply" in fault_of(brought["U8"]).detail
        await poll(plc)
        brought = await poll(plc)
        brought = await poll(plc)
        assert brought["U7"].values == brought["U8"].values == {"x": 40}


@on_virtual_network
async def test_silent_units_among_healthy_ones_do_not_end_the_pass() -> None:
    async with silent_units(1, 3) as server, connected(server, *(unit(n) for n in (1, 2, 3, 4))) as plc:
        brought = await poll(plc)
        assert [asked.unit for asked in server.asked] == [1, 2, 3, 4]
        assert brought["U2"].values == brought["U4"].values == {"x": 40}
        assert server.connections == 1


@on_virtual_network
async def test_a_pass_that_has_lost_time_already_probes_nobody() -> None:
    async with silent_units(3) as server, connected(server, *(unit(n) for n in (1, 2, 3))) as plc:
        await poll(plc)
        await poll(plc)
        server.script = silent_units(2, 3).script
        server.asked.clear()
        await poll(plc)
        assert [asked.unit for asked in server.asked] == [1, 2]


@on_virtual_network
async def test_when_all_were_silent_the_first_reply_makes_all_healthy_again() -> None:
    numbers = range(1, 7)
    async with (
        silent_units(*numbers) as server,
        connected(server, *(unit(n) for n in numbers), timeout=0.05) as plc,
    ):
        names = [f"U{n}" for n in numbers]
        await repeat(lambda: poll(plc), lambda: not plc.awaited(names))
        server.script = honest
        await poll(plc)
        assert plc.awaited(names) == set(names)


@on_virtual_network
async def test_a_pass_without_any_reply_ends_the_connection() -> None:
    async with silent_units(1) as server, connected(server, unit(1)) as plc:
        await poll(plc)
        assert not plc.state.connected
        server.script = honest
        assert (await poll(plc))["U1"].values == {"x": 40}
        assert server.connections == 2
        assert server.most_open == 1


@on_virtual_network
async def test_the_probe_of_a_dead_unit_gives_way_to_the_next_pass() -> None:
    async with silent_units(2) as server, connected(server, unit(1), unit(2), timeout=0.8) as plc:
        await poll(plc)
        loop = asyncio.get_running_loop()
        tick = loop.time()
        durations = []
        for _ in range(6):
            await poll(plc)
            durations.append(loop.time() - tick)
            tick += 0.3
            await asyncio.sleep(max(0.0, tick - loop.time()))
        assert max(durations[2:]) < 0.3
        assert [asked.unit for asked in server.asked].count(2) >= 5


@on_virtual_network
async def test_a_unit_too_slow_for_a_short_probe_comes_back_by_its_late_reply() -> None:
    slow = False

    async def script(asked: Asked, peer: Peer) -> None:
        if asked.unit == 1:
            peer.reply(asked)
        elif slow:
            await asyncio.sleep(0.45)
            peer.reply(asked)

    async with (
        ScriptedServer(script) as server,
        connected(server, unit(1), unit(2), timeout=1.0) as plc,
    ):
        await poll(plc)
        assert plc.state.devices["U2"].in_back_off
        slow = True
        loop = asyncio.get_running_loop()
        next_tick = loop.time()

        async def tick() -> None:
            nonlocal next_tick
            while next_tick < loop.time():
                next_tick += 0.5
            await asyncio.sleep(next_tick - loop.time())
            await poll(plc)

        await repeat(tick, lambda: plc.state.devices["U2"].last_success_at)
        assert not plc.state.devices["U2"].in_back_off
        assert server.connections == 1


@on_virtual_network
async def test_a_unit_that_always_replies_too_late_stays_in_back_off() -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        await asyncio.sleep(0.3)
        peer.reply(asked)

    async with ScriptedServer(script) as server, connected(server, unit(1), unit(2)) as plc:
        server.script = lambda asked, peer: script(asked, peer) if asked.unit == 2 else peer.reply(asked)
        await poll(plc)
        await until(lambda: plc.state.late_replies)
        assert plc.awaited(["U1", "U2"]) == {"U1"}


@on_virtual_network
async def test_devices_of_one_unit_share_its_fate() -> None:
    pair = [device(point("x", 40), name=name, unit=5) for name in ("A", "B")]
    async with silent_units(5) as server, connected(server, *pair, unit(1)) as plc:
        brought = await poll(plc)
        assert [asked.unit for asked in server.asked] == [5, 1]
        assert brought["B"].fault == brought["A"].fault
        assert plc.state.devices["B"].in_back_off
        brought = await poll(plc)
        assert len(brought) == 2
        server.script = honest
        await poll(plc)
        assert set(await poll(plc)) == {"A", "B", "U1"}


@on_virtual_network
async def test_an_endpoint_that_is_down_costs_no_time_and_comes_back() -> None:
    server = ScriptedServer()
    await server.start()
    await server.stop()
    async with connected(server, unit(1), unit(2), random=Latest()) as plc:
        brought = await poll(plc)
        assert {fault_of(r).kind for r in brought.values()} == {FaultKind.UNREACHABLE}
        assert f"cannot connect to 127.0.0.1:{server.port}" in plc.state.last_error
        began = elapsed()
        brought = await poll(plc)
        assert elapsed() - began < TIMEOUT
        assert "next try in" in fault_of(brought["U1"]).detail
        assert plc.awaited(["U1"]) == frozenset()
        await server.start()
        await repeat(lambda: poll(plc), lambda: plc.state.connected)
        assert set((await poll(plc))["U2"].values) == {"x"}
        assert plc.awaited(["U1"]) == {"U1"}
    await server.stop()


@on_virtual_network
async def test_silence_is_kept_after_connecting_and_does_not_count_as_waiting_for_a_reply() -> None:
    accepted: list[float] = []
    asked_at: list[float] = []

    def script(asked: Asked, peer: Peer) -> None:
        asked_at.append(elapsed())
        peer.reply(asked)

    async with ScriptedServer(script) as server:
        server.greet = lambda _: accepted.append(elapsed())
        async with connected(server, unit(1), settle_after_connect=0.3) as plc:
            reading = (await poll(plc))["U1"]
            assert reading.values == {"x": 40}
            assert asked_at[0] - accepted[0] >= 0.28
            await poll(plc)
            assert len(accepted) == 1


@on_virtual_network
async def test_a_pause_follows_every_request() -> None:
    at: list[float] = []

    def script(asked: Asked, peer: Peer) -> None:
        at.append(elapsed())
        peer.reply(asked)

    one = device(point("x", 1), point("y", 500), point("z", 900), limits=DeviceLimits(pause=0.1))
    async with ScriptedServer(script) as server, connected(server, one) as plc:
        await poll(plc)
        assert min(later - earlier for earlier, later in pairwise(at)) >= 0.09


@on_virtual_network
async def test_a_dead_endpoint_does_not_delay_another_one() -> None:
    async def timed(plc: Connection) -> float:
        began = elapsed()
        await poll(plc)
        return elapsed() - began

    async with silent_units(1) as dead, ScriptedServer() as live:
        async with (
            connected(dead, unit(1), timeout=1.0) as one,
            connected(live, unit(1)) as other,
        ):
            slow, quick = await asyncio.gather(timed(one), timed(other))
            assert quick < slow / 2


@on_virtual_network
async def test_a_write_without_a_reply_is_unknown_and_not_repeated() -> None:
    def script(asked: Asked, peer: Peer) -> None:
        if asked.function == 3:
            peer.reply(asked)

    one = device(point("x", 40, writable={}), name="BAT1")
    async with ScriptedServer(script) as server, connected(server, one) as plc:
        await plc.read("BAT1", ["x"])
        with pytest.raises(WriteUnknownError):
            await plc.write(PointWrite("BAT1", "x", 5))
        assert [asked.function for asked in server.asked] == [3, 6]
