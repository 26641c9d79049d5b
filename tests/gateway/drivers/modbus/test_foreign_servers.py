"""Servers that nobody here wrote: libmodbus' (in C) and pymodbus' simulator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from tests.support.children import ending
from tests.support.modbus_connections import connection, poll
from tests.support.modbus_devices import device, point
from voke_api.resolved import DeviceLimits, MaskBit
from voke_gateway.drivers.base import FaultKind, PointWrite, WriteRefusedError

SOURCE = Path(__file__).parent.parent / "libmodbus_server.c"


@pytest.fixture(scope="module")
def libmodbus_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled server."""
    compiler = shutil.which("cc")
    assert compiler, "there is no C compiler: apt-get install gcc libc6-dev"
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    command: list[str | Path] = [compiler, "-O1", "-Wall", "-o", program, SOURCE, "-lmodbus"]
    built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert built.returncode == 0, f"libmodbus is needed: apt-get install libmodbus-dev\n{built.stderr}"
    return program


@pytest.fixture
def libmodbus(libmodbus_program: Path) -> Iterator[int]:
    """The port of a running libmodbus server."""
    with subprocess.Popen(
        [libmodbus_program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        with ending(server):
            port = int(server.stdout.readline())
        try:
            yield port
        finally:
            with ending(server):
                server.stdin.close()
                server.wait()


async def test_libmodbus_is_read_in_all_four_tables_and_orders(libmodbus: int) -> None:
    meter = device(
        point("abcd", 0, "float32", table="input"),
        point("dcba", 2, "float32", table="input", byte_order="little", word_order="little"),
        point("badc", 4, "float32", table="input", byte_order="little"),
        point("cdab", 6, "float32", table="input", word_order="little"),
        point("minusEight", 8, "int16", table="input"),
        point("own", 150),
        point("pair", 198, "uint32"),
        point("on", 0, "bool", table="coil"),
        point("off", 31, "bool", table="coil"),
        point("third", 10, "bool", table="discrete"),
        name="METER1",
    )
    mask = tuple(MaskBit(bit=n, table="discrete", address=8 + n) for n in range(32))
    async with connection(libmodbus, meter, device(mask=mask, name="R1")) as plc:
        brought = await poll(plc)
    assert brought["METER1"].values == {
        "abcd": 123.456,
        "dcba": 123.456,
        "badc": 123.456,
        "cdab": 123.456,
        "minusEight": -8,
        "own": 150,
        "pair": 198 << 16 | 199,
        "on": True,
        "off": False,
        "third": True,
    }
    assert brought["METER1"].faults == {}
    assert brought["R1"].mask == 0x55555555


async def test_libmodbus_takes_what_is_written(libmodbus: int) -> None:
    battery = device(
        point("short", 110, "int16", scale=0.1, writable={}),
        point("long", 112, "int32", word_order="little", writable={}),
        point("enable", 5, "bool", table="coil", writable={}),
        point("missing", 50, writable={}),
        name="BAT1",
    )
    async with connection(libmodbus, battery) as plc:
        for field, value in (("short", -1.5), ("long", -50000), ("enable", True)):
            await plc.write(PointWrite("BAT1", field, value))
            assert (await plc.read("BAT1", [field])).values == {field: value}
        with pytest.raises(WriteRefusedError, match=r"exception 2 \(illegal data address\) on holding 50"):
            await plc.write(PointWrite("BAT1", "missing", 1))


async def test_addresses_that_libmodbus_does_not_have_cost_no_other_point(libmodbus: int) -> None:
    points = [point(f"p{address}", address) for address in range(90, 130)]
    async with connection(libmodbus, device(*points)) as plc:
        first = (await poll(plc))["INV1"]
        requests = plc.state.requests
        second = (await poll(plc))["INV1"]
        assert plc.state.requests == requests + 1
    assert first.values == second.values == {f"p{address}": address for address in range(100, 130)}
    assert set(second.faults) == {f"p{address}" for address in range(90, 100)}
    assert {fault.kind for fault in second.faults.values()} == {FaultKind.REFUSED}


@pytest.fixture
async def simulator() -> AsyncIterator[int]:
    """The port of pymodbus' simulator with units 1 and 2."""
    bits = [SimData(0, values=[True, False] * 16, datatype=DataType.BITS)]
    registers = [
        SimData(0, values=[1, 2, 3, 4], datatype=DataType.REGISTERS),
        SimData(4, values=[231.5, -0.25], datatype=DataType.FLOAT32),
        SimData(8, values=-123456, datatype=DataType.INT32),
        SimData(10, values=-1234567890123, datatype=DataType.INT64),
        SimData(14, values=1e-7, datatype=DataType.FLOAT64),
        SimData(18, values="SN-00042", datatype=DataType.STRING),
        SimData(22, datatype=DataType.INVALID),
        SimData(23, values=7, datatype=DataType.REGISTERS),
    ]
    units = [SimDevice(id=unit, simdata=(bits, bits, registers, registers)) for unit in (1, 2)]
    server = ModbusTcpServer(units, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    await server.shutdown()  # type: ignore[no-untyped-call]


async def test_pymodbus_simulator_is_read_and_written(simulator: int) -> None:
    points = (
        point("word", 1, writable={}),
        point("volts", 4, "float32"),
        point("quarter", 6, "float32"),
        point("watts", 8, "int32", scale=0.001, writable={}),
        point("total", 10, "int64"),
        point("tiny", 14, "float64"),
        point("serial", 18, "string", length=8),
        point("missing", 22),
        point("last", 23),
        point("on", 2, "bool", table="coil", writable={}),
        point("input", 1, table="input"),
    )
    values = {
        "word": 2,
        "volts": 231.5,
        "quarter": -0.25,
        "watts": -123.456,
        "total": -1234567890123,
        "tiny": 1e-7,
        "serial": "SN-00042",
        "last": 7,
        "on": True,
        "input": 2,
    }
    one, other = device(*points, name="INV1", unit=1), device(*points, name="INV2", unit=2)
    async with connection(simulator, one, other) as plc:
        for _ in range(2):
            brought = await poll(plc)
            assert brought["INV1"].values == brought["INV2"].values == values
            assert set(brought["INV1"].faults) == {"missing"}
        for field, value in (("word", 9), ("watts", 5.5), ("on", False)):
            await plc.write(PointWrite("INV2", field, value))
        brought = await poll(plc)
        assert brought["INV1"].values == values
        assert brought["INV2"].values == {**values, "word": 9, "watts": 5.5, "on": False}


async def test_pymodbus_simulator_refuses_more_than_a_request_holds_and_we_never_ask_for_it(
    simulator: int,
) -> None:
    one = device(*(point(f"p{n}", n) for n in range(4)), limits=DeviceLimits(max_registers=2))
    async with connection(simulator, one) as plc:
        assert (await poll(plc))["INV1"].values == {"p0": 1, "p1": 2, "p2": 3, "p3": 4}
        assert plc.state.requests == 2
