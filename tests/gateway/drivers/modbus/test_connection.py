"""One endpoint on real sockets, with a server that does whatever a test wants.

What is about time is in ``test_silence.py``; here a request has more of it than a busy machine needs.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.support.loops import on_both_loops, until
from tests.support.modbus_connections import Latest, connection, fault_of, poll
from tests.support.modbus_devices import device, point, unit
from tests.support.scripted_modbus import Asked, Peer, ScriptedServer, honest, silent_units
from voke_api.resolved import DeviceLimits
from voke_gateway.drivers.base import (
    FaultKind,
    PointWrite,
    Value,
    WriteRefusedError,
    WriteUnknownError,
    WriteUnreachableError,
)


@on_both_loops
async def test_a_device_is_read_in_one_request_and_says_when() -> None:
    async with ScriptedServer() as server, connection(server.port, unit(1)) as plc:
        before = time.time()
        reading = (await poll(plc))["U1"]
        assert reading.values == {"x": 40}
        assert reading.fault is None
        assert before <= reading.started_at <= time.time()
        assert len(server.asked) == 1
        assert plc.state.connected
        assert plc.state.connects == plc.state.requests == 1
        assert plc.state.request_errors == 0
        assert plc.state.devices["U1"].last_success_at is not None
        assert plc.awaited(["U1"]) == {"U1"}


@on_both_loops
async def test_silence_is_a_time_out() -> None:
    async with silent_units(1) as server, connection(server.port, unit(1), timeout=1.0) as plc:
        fault = fault_of((await poll(plc))["U1"])
        assert fault.kind is FaultKind.TIMEOUT
        assert fault.detail.endswith("on holding 40, unit 1")


@on_both_loops
async def test_replies_that_do_not_fit_are_malformed_and_keep_the_connection() -> None:
    wrong = {
        1: lambda asked: asked.frame(asked.right(), unit=9),
        2: lambda asked: asked.frame(b"\x04\x02\x00\x28"),
        3: lambda asked: asked.frame(b"\x03\x04\x00\x28\x00\x29"),
        4: lambda asked: asked.frame(b"\x03\x01\x00"),
        5: lambda asked: asked.frame(b"\x03\x04\x00\x28"),
    }

    def script(asked: Asked, peer: Peer) -> None:
        peer.send(wrong[asked.unit](asked) if asked.unit in wrong else asked.frame(asked.right()))

    units = [unit(n) for n in range(1, 7)]
    async with ScriptedServer(script) as server, connection(server.port, *units) as plc:
        for _ in range(3):
            brought = await poll(plc)
            for number in wrong:
                fault = brought[f"U{number}"].fault
                assert fault is not None
                assert fault.kind is FaultKind.MALFORMED
            assert brought["U6"].values == {"x": 40}
        assert server.connections == 1
        assert "unit 9" in fault_of(plc.state.devices["U1"]).detail


@on_both_loops
async def test_bytes_that_are_not_modbus_end_the_connection_and_the_next_device_gets_a_new_one() -> None:
    def script(asked: Asked, peer: Peer) -> None:
        if asked.unit == 1:
            peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        else:
            peer.reply(asked)

    async with ScriptedServer(script) as server, connection(server.port, unit(1), unit(2)) as plc:
        brought = await poll(plc)
        assert brought["U1"].fault is not None
        assert brought["U1"].fault.kind is FaultKind.MALFORMED
        assert "not Modbus: 48 54 54 50" in brought["U1"].fault.detail
        assert brought["U2"].values == {"x": 40}
        assert server.most_open == 1


@pytest.mark.parametrize(
    "garbage",
    ["00 01 00 07 00 05 01 03 02 00 28", "00 01 00 00 00 02 01 83", "00 01 00 00 00 ff 01 03 02 00 28"],
)
async def test_a_header_that_cannot_be_modbus_ends_the_connection_at_once(garbage: str) -> None:
    async with (
        ScriptedServer(lambda _, peer: peer.send(bytes.fromhex(garbage))) as server,
        connection(server.port, unit(1)) as plc,
    ):
        began = time.monotonic()
        assert fault_of((await poll(plc))["U1"]).kind is FaultKind.MALFORMED
        assert time.monotonic() - began < 2.0


@on_both_loops
async def test_a_reply_in_single_bytes_is_a_reply() -> None:
    async def script(asked: Asked, peer: Peer) -> None:
        for byte in asked.frame(asked.right()):
            peer.send(bytes((byte,)))
            await asyncio.sleep(0.001)

    async with ScriptedServer(script) as server, connection(server.port, unit(1)) as plc:
        assert (await poll(plc))["U1"].values == {"x": 40}


@pytest.mark.parametrize("how", ["half a frame", "hang up", "reset"])
async def test_a_connection_that_ends_before_the_reply_is_a_fault_of_that_device(how: str) -> None:
    def script(asked: Asked, peer: Peer) -> None:
        if asked.unit != 1:
            peer.reply(asked)
        elif how == "reset":
            peer.reset()
        else:
            peer.send(asked.frame(asked.right())[:9] if how == "half a frame" else b"")
            peer.hang_up()

    async with (
        ScriptedServer(script) as server,
        connection(server.port, unit(1), unit(2)) as plc,
    ):
        for _ in range(3):
            brought = await poll(plc)
            assert brought["U2"].values == {"x": 40}
            fault = plc.state.devices["U1"].fault
            assert fault is not None
            assert fault.kind is FaultKind.UNREACHABLE
            assert "on holding 40, unit 1" in fault.detail
        assert server.most_open == 1


@on_both_loops
async def test_a_connection_that_the_plc_closed_meanwhile_is_replaced_within_the_pass() -> None:
    def script(asked: Asked, peer: Peer) -> None:
        if asked.connection == 1 and len(server.asked) == 2:
            peer.hang_up()  # as if its idle time-out met our request on the way
        else:
            peer.reply(asked)

    async with ScriptedServer(script) as server, connection(server.port, unit(1)) as plc:
        assert (await poll(plc))["U1"].values == {"x": 40}
        assert (await poll(plc))["U1"].values == {"x": 40}
        assert server.connections == 2
        assert server.most_open == 1


@on_both_loops
async def test_an_idle_connection_closed_by_the_plc_shows_and_is_replaced() -> None:
    peers: list[Peer] = []
    async with ScriptedServer() as server, connection(server.port, unit(1)) as plc:
        server.greet = peers.append
        await poll(plc)
        peers[0].hang_up()
        await until(lambda: not plc.state.connected)
        assert (await poll(plc))["U1"].values == {"x": 40}
        assert plc.state.connects == 2


@on_both_loops
async def test_a_unit_that_the_gateway_cannot_reach_is_put_aside_at_once() -> None:
    def script(asked: Asked, peer: Peer) -> None:
        peer.reply(asked, asked.exception(0x0B) if asked.unit != 3 else None)

    async with (
        ScriptedServer(script) as server,
        connection(server.port, *(unit(n) for n in (1, 2, 3))) as plc,
    ):
        brought = await poll(plc)
        assert brought["U3"].values == {"x": 40}
        assert fault_of(brought["U1"]).kind is FaultKind.NO_UNIT
        assert plc.awaited(["U1", "U2", "U3"]) == {"U3"}
        assert server.connections == 1


@on_both_loops
async def test_names_are_resolved_and_an_unknown_one_is_a_fault() -> None:
    async with ScriptedServer() as server:
        async with connection(server.port, unit(1), host="localhost") as plc:
            assert (await poll(plc))["U1"].values == {"x": 40}
        async with connection(server.port, unit(1), host="plc.invalid") as plc:
            fault = fault_of((await poll(plc))["U1"])
            assert fault.kind is FaultKind.UNREACHABLE
            assert "cannot resolve plc.invalid" in fault.detail


@on_both_loops
async def test_the_connection_can_be_closed_after_every_pass() -> None:
    async with (
        ScriptedServer() as server,
        connection(server.port, unit(1), unit(2), close_after_poll=True) as plc,
    ):
        for passes in range(1, 4):
            await poll(plc)
            await until(lambda: server.open == 0)
            assert server.connections == passes
            assert not plc.state.connected
        assert server.most_open == 1


WRITABLE = device(
    point("x", 40, writable={}),
    point("setpoint", 41, "int32", word_order="little", writable={}),
    point("enable", 3, "bool", table="coil", writable={}),
    name="BAT1",
    unit=3,
)


def to(field: str, value: Value) -> PointWrite:
    return PointWrite("BAT1", field, value)


@on_both_loops
async def test_writes_are_sent_with_the_function_that_fits() -> None:
    async with ScriptedServer() as server, connection(server.port, WRITABLE) as plc:
        await plc.write(to("x", 5))
        await plc.write(to("setpoint", -50000))
        await plc.write(to("enable", True))
        assert [asked.pdu.hex(" ") for asked in server.asked] == [
            "06 00 28 00 05",
            "10 00 29 00 02 04 3c b0 ff ff",
            "05 00 03 ff 00",
        ]
        assert {asked.unit for asked in server.asked} == {3}


@pytest.mark.parametrize(
    ("write_function", "functions"),
    [("auto", [6, 16, 5]), ("single", [6, 16, 5]), ("multiple", [16, 16, 15])],
)
async def test_the_write_function_can_be_chosen_but_long_values_stay_whole(
    write_function: str, functions: list[int]
) -> None:
    limits = DeviceLimits(write_function=write_function)  # type: ignore[arg-type]
    one = device(*WRITABLE.points, name="BAT1", limits=limits)
    async with ScriptedServer() as server, connection(server.port, one) as plc:
        for field, value in (("x", 1), ("setpoint", 1), ("enable", True)):
            await plc.write(to(field, value))
        assert [asked.function for asked in server.asked] == functions


@on_both_loops
async def test_a_value_that_does_not_fit_is_refused_before_anything_is_sent() -> None:
    async with ScriptedServer() as server, connection(server.port, WRITABLE) as plc:
        with pytest.raises(WriteRefusedError, match="uint16 does not hold"):
            plc.check_write(to("x", 70000))
        with pytest.raises(WriteRefusedError, match="uint16 does not hold"):
            await plc.write(to("x", 70000))
        plc.check_write(to("x", 7))
        assert server.connections == 0


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        *((code, WriteRefusedError) for code in (1, 2, 3, 6, 7, 10)),
        *((code, WriteUnknownError) for code in (4, 5, 11, 99)),
    ],
)
async def test_an_exception_says_whether_the_write_may_have_happened(
    code: int, outcome: type[Exception]
) -> None:
    async with (
        ScriptedServer(lambda asked, peer: peer.reply(asked, asked.exception(code))) as server,
        connection(server.port, WRITABLE) as plc,
    ):
        with pytest.raises(outcome, match=f"exception {code} "):
            await plc.write(to("x", 5))
        assert len(server.asked) == 1, "a write is never repeated"


@pytest.mark.parametrize("how", ["hang up", "reset", "garbage", "another echo"])
async def test_a_write_without_a_clear_answer_is_unknown_and_not_repeated(how: str) -> None:
    def script(asked: Asked, peer: Peer) -> None:
        if asked.function == 3:
            peer.reply(asked)
        elif how == "hang up":
            peer.hang_up()
        elif how == "reset":
            peer.reset()
        elif how == "garbage":
            peer.send(b"\xff" * 12)
        elif how == "another echo":
            peer.reply(asked, asked.pdu[:4] + b"\x99")

    async with ScriptedServer(script) as server, connection(server.port, WRITABLE) as plc:
        await plc.read("BAT1", ["x"])
        with pytest.raises(WriteUnknownError):
            await plc.write(to("x", 5))
        assert [asked.function for asked in server.asked] == [3, 6]


@on_both_loops
async def test_without_a_connection_a_write_was_certainly_not_sent() -> None:
    server = ScriptedServer()
    await server.start()
    await server.stop()
    async with connection(server.port, WRITABLE, random=Latest()) as plc:
        for _ in range(3):
            with pytest.raises(WriteUnreachableError, match="cannot connect"):
                await plc.write(to("x", 5))


@on_both_loops
async def test_a_write_and_its_read_back_go_before_the_rest_of_a_pass() -> None:
    gate = asyncio.Event()

    async def script(asked: Asked, peer: Peer) -> None:
        await gate.wait()
        peer.reply(asked)

    points = (*WRITABLE.points, *(point(f"far{n}", 1000 + 100 * n) for n in range(4)))
    one = device(*points, name="BAT1")
    async with ScriptedServer(script) as server, connection(server.port, one) as plc:

        async def command() -> int:
            await plc.write(to("x", 5))
            reading = await plc.read("BAT1", ["x"])
            return int(reading.values["x"])

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(poll(plc))
            await until(lambda: len(server.asked) == 1)
            answer = tasks.create_task(command())
            await asyncio.sleep(0)
            gate.set()
        assert answer.result() == 40
        assert [asked.function for asked in server.asked][1:3] == [6, 3]
        assert server.most_open == 1


@on_both_loops
async def test_a_scaled_write_needs_the_power_of_ten_to_have_been_read() -> None:
    one = device(point("w", 9, "int16", scale_from="sf", writable={}), point("sf", 2, "int16"), name="BAT1")
    async with ScriptedServer() as server, connection(server.port, one) as plc:
        with pytest.raises(WriteRefusedError, match="sf has not been read"):
            await plc.write(to("w", 700))
        await poll(plc)
        await plc.write(to("w", 700))
        assert server.asked[-1].pdu.hex(" ") == "06 00 09 00 07"


@on_both_loops
async def test_closing_lets_the_request_in_flight_end_and_then_nothing_is_sent() -> None:
    gate = asyncio.Event()

    async def script(asked: Asked, peer: Peer) -> None:
        await gate.wait()
        peer.reply(asked)

    one = device(point("x", 1), point("y", 900), name="BAT1")
    async with ScriptedServer(script) as server, connection(server.port, one) as plc:
        polling = asyncio.create_task(poll(plc))
        await until(lambda: server.asked)
        closing = asyncio.create_task(plc.close())
        await asyncio.sleep(0.02)
        assert not closing.done()
        gate.set()
        await closing
        reading = (await polling)["BAT1"]
        assert reading.values == {"x": 1}
        assert "closed" in reading.faults["y"].detail
        await until(lambda: server.open == 0)
        with pytest.raises(WriteUnreachableError, match="closed"):
            await plc.write(PointWrite("BAT1", "x", 1))
        assert len(server.asked) == 1


@on_both_loops
async def test_a_pass_that_is_cancelled_leaves_the_connection_usable() -> None:
    async with silent_units(1) as server, connection(server.port, unit(1)) as plc:
        polling = asyncio.create_task(poll(plc))
        await until(lambda: server.asked)
        polling.cancel()
        await asyncio.wait([polling])
        server.script = honest
        assert (await poll(plc))["U1"].values == {"x": 40}
        assert server.most_open == 1


def open_sockets() -> int:
    links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 – a live directory
    return sum(1 for link in links if link.is_symlink() and "socket:" in _target(link))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # the descriptor of the listing itself
        return ""


@on_both_loops
async def test_no_socket_and_no_task_is_left_behind_whatever_happened() -> None:
    def script(asked: Asked, peer: Peer) -> None:
        match len(server.asked) % 5:
            case 0:
                peer.reset()
            case 1:
                peer.send(b"\xff" * 20)
            case 2:
                pass
            case 3:
                peer.hang_up()
            case _:
                peer.reply(asked)

    async with ScriptedServer(script) as server:
        sockets, tasks = open_sockets(), len(asyncio.all_tasks())
        async with connection(server.port, unit(1), unit(2), timeout=0.02) as plc:
            for _ in range(40):
                await poll(plc)
                assert server.most_open <= 2  # the server may notice an end a moment after we do
            assert open_sockets() <= sockets + 2
        await until(lambda: open_sockets() == sockets)
        await until(lambda: len(asyncio.all_tasks()) == tasks)
        assert plc.state.connects > 5


@on_both_loops
async def test_an_exception_is_told_in_words() -> None:
    one = device(point("x", 40, "uint64"), name="BAT1", unit=3)
    async with (
        ScriptedServer(lambda asked, peer: peer.reply(asked, asked.exception(2))) as server,
        connection(server.port, one) as plc,
    ):
        await poll(plc)
        assert plc.state.last_error == "exception 2 (illegal data address) on holding 40–43, unit 3"
        assert set(plc.state.devices["BAT1"].bad_points) == {"x"}
        assert plc.state.request_errors == 1
        assert plc.awaited(["BAT1"]) == {"BAT1"}
