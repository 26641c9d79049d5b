"""Reloads with real PLC connections: sockets come and go, and none is left behind or doubled."""

from __future__ import annotations

from pathlib import Path

from tests.support.fleet import Fleet, entry, point
from tests.support.gateways import without_voke
from tests.support.loops import until
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.slices import in_slices
from voke_sim.plc.bank import Bank, Registers
from voke_sim.plc.server import ModbusServer, Unit

RELOADS = 100


def server() -> ModbusServer:
    return ModbusServer({1: Unit(Bank(input=Registers(32), holding=Registers(64)))})


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_file_descriptors_stay_as_many_as_there_are_plcs() -> None:
    async with server() as steady, server() as changing:
        fleet = Fleet()
        for name, plc in (("steady", steady), ("changing", changing)):
            fleet.plants[name] = entry(name, plc.host, interval="100ms")
            fleet.plants[name].spec["connections"][0]["modbusTcp"]["port"] = plc.port
        gateway = without_voke()
        reader = BundleReader()
        gateway.start()

        async def reload() -> None:
            gateway.apply(await in_slices(reader.read(fleet.files())))
            await gateway.settled()
            asked = changing.stats.requests
            await until(lambda: changing.stats.requests > asked)

        await reload()
        before = open_files()
        spec = fleet.plants["changing"].spec
        for number in range(RELOADS):
            if number % 2:
                spec["connections"][0]["modbusTcp"]["timeout"] = f"{3 + number % 7}s"
            else:
                spec["devices"][0]["points"].append(point(f"v{number}", number % 32))
            await reload()
        assert open_files() == before
        assert steady.stats.connections == 1
        assert changing.stats.connections == 1 + RELOADS // 2
        assert (changing.stats.connections_open, changing.stats.connections_peak) == (1, 1)
        spec["suspend"] = True
        gateway.apply(await in_slices(reader.read(fleet.files())))
        await gateway.settled()
        await until(lambda: not changing.stats.connections_open)
        await gateway.stop(2.0)
        await until(lambda: not steady.stats.connections_open)


async def test_what_a_device_refused_is_remembered_for_the_points_that_stay() -> None:
    plc = ModbusServer({1: Unit(Bank(input=Registers(4), holding=Registers(64)))})
    async with plc:
        fleet = Fleet({"a": entry("a", plc.host, interval="100ms")})
        spec = fleet.plants["a"].spec
        spec["connections"][0]["modbusTcp"]["port"] = plc.port
        spec["devices"][0]["points"] += [point("beyond", 20), point("also", 30)]
        gateway = without_voke()
        gateway.start()
        reader = BundleReader()
        gateway.apply(await in_slices(reader.read(fleet.files())))
        await gateway.settled()

        def bad_points() -> set[str]:
            return set(gateway.status().plants[0].devices[0].bad_points)

        await until(lambda: bad_points() == {"beyond", "also"})
        spec["devices"][0]["points"][3]["scale"] = 0.1
        spec["devices"][0]["points"][4]["address"] = 2
        gateway.apply(await in_slices(reader.read(fleet.files())))
        await gateway.settled()
        refused = plc.stats.exceptions.total()
        asked = plc.stats.requests
        await until(lambda: plc.stats.requests > asked + 5)
        assert bad_points() == {"beyond"}, "the one whose address was mended is read"
        assert plc.stats.exceptions.total() == refused, "the other one was not asked for again"
        await gateway.stop(2.0)
