"""A plant is probed over the connections that poll it: nothing is written, nobody is kept from polling."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fleet import Fleet, entry, point
from tests.support.loops import until
from tests.support.probing import Probed, probed
from voke_api.probe import DeviceProbe
from voke_gateway.runtime import probe as probe_module
from voke_gateway.runtime.http import MAX_CLIENTS
from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.faults import RefusedBlock, Silent, Slow
from voke_sim.plc.server import ModbusServer, Unit


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "REST", 0.0)


def unit() -> Unit:
    registers = Registers(64)
    registers.put(0, "uint16", 4711)
    registers.put(1, "uint16", 0xFFFF)
    coils = Bits(16)
    coils.put(3, True)
    return Unit(Bank(input=registers, holding=Registers(64), discrete=coils))


def fleet_at(plc: ModbusServer, *, devices: int = 1, interval: str = "100ms", **tcp: object) -> Fleet:
    fleet = Fleet({"site": entry("site", plc.host, interval=interval, devices=devices)})
    fleet.plants["site"].spec["connections"][0]["modbusTcp"] |= {"port": plc.port, **tcp}
    return fleet


def words(probe: DeviceProbe) -> dict[tuple[str, int], int]:
    return {
        (each.table, each.address + n): word
        for each in probe.exchanges
        for n, word in enumerate(each.words or ())
    }


def read_ever(one: Probed) -> bool:
    return all(each.last_read_at for each in one.gateway.status().plants[0].devices)


async def test_it_shows_every_register_and_opens_no_second_connection() -> None:
    async with ModbusServer({1: unit()}) as plc, probed(fleet_at(plc)) as one:
        await until(lambda: read_ever(one))
        found = await one.probe("plant=site")
        (device,) = found.devices
        assert (found.gateway, found.plant, found.bundle_generation) == ("voke-gw-test-0-0", "site", 1)
        assert (device.external_id, device.fault, device.faults) == ("D11", None, {})
        assert words(device) == {("input", 0): 4711, ("input", 1): 0xFFFF, ("holding", 40): 0}
        assert (plc.stats.connections, plc.stats.connections_peak) == (1, 1)
        assert not plc.writes
        assert set(plc.stats.by_function) <= {3, 4}


async def test_a_cabinet_shows_its_bits() -> None:
    async with ModbusServer({1: unit()}) as plc:
        fleet = fleet_at(plc)
        fleet.plants["site"].spec |= {
            "commands": {},
            "devices": [
                {
                    "externalId": "R1",
                    "type": "CABINET",
                    "connection": "plc1",
                    "raw": {"table": "discrete", "address": 0, "count": 8},
                }
            ],
        }
        async with probed(fleet) as one:
            (device,) = (await one.probe("plant=site")).devices
    assert [each.words for each in device.exchanges] == [(0, 0, 0, 1, 0, 0, 0, 0)]


async def test_a_point_that_is_refused_is_named_and_the_others_are_read() -> None:
    async with ModbusServer({1: unit()}) as plc:
        plc.faults.add(RefusedBlock(20, 20))
        fleet = fleet_at(plc)
        fleet.plants["site"].spec["devices"][0]["points"].append(point("beyond", 20))
        async with probed(fleet) as one:
            await until(lambda: "beyond" in one.gateway.status().plants[0].devices[0].bad_points)
            asked = plc.stats.exceptions.total()
            (device,) = (await one.probe("plant=site")).devices
            assert plc.stats.exceptions.total() == asked, "what is known to be refused is not asked again"
    assert device.faults["beyond"].kind == "refused"
    assert "exception 2" in device.faults["beyond"].detail
    assert ("input", 0) in words(device)


async def test_only_the_devices_that_were_asked_for_are_read() -> None:
    async with ModbusServer({1: unit(), 2: unit(), 3: unit()}) as plc:
        async with probed(fleet_at(plc, devices=3, interval="1h")) as one:
            await until(lambda: read_ever(one))
            before = plc.stats.by_unit.copy()
            found = await one.probe("plant=site&device=D13&device=D12")
            assert [each.external_id for each in found.devices] == ["D12", "D13"]
            assert (plc.stats.by_unit - before).keys() == {2, 3}


async def test_a_unit_in_back_off_is_left_alone_and_its_fault_is_shown() -> None:
    async with ModbusServer({1: unit(), 2: unit()}) as plc:
        plc.faults.add(Silent(), unit=2)
        async with probed(fleet_at(plc, devices=2, interval="1h", timeout="200ms")) as one:
            await until(lambda: one.gateway.status().plants[0].devices[1].in_back_off)
            before = plc.stats.by_unit[2]
            healthy, silent = (await one.probe("plant=site")).devices
            assert plc.stats.by_unit[2] == before
    assert healthy.fault is None
    assert silent.fault is not None
    assert (silent.fault.kind, silent.exchanges) == ("timeout", ())


async def test_a_unit_that_falls_silent_is_asked_once_and_no_poll_learns_of_it() -> None:
    async with ModbusServer({1: unit(), 2: unit()}) as plc:
        async with probed(fleet_at(plc, devices=2, interval="1h", timeout="200ms")) as one:
            await until(lambda: read_ever(one))
            plc.faults.add(Silent(), unit=2)
            before = plc.stats.by_unit[2]
            _, silent = (await one.probe("plant=site")).devices
            assert plc.stats.by_unit[2] == before + 1
            assert silent.fault is not None
            assert (silent.fault.kind, len(silent.exchanges)) == ("timeout", 1)
            state = one.gateway.status().plants[0].devices[1]
            assert (state.fault, state.in_back_off) == (None, False)


async def test_a_plc_that_is_away_is_not_dialled_again_for_a_probe() -> None:
    async with ModbusServer({1: unit()}) as plc, probed(fleet_at(plc)) as one:
        await until(lambda: read_ever(one))
        plc.refuse_connections()
        await until(lambda: one.gateway.status().plants[0].devices[0].fault)
        found = await one.probe("plant=site")
        assert found.devices[0].fault is not None
        assert found.devices[0].fault.kind == "unreachable"


async def test_polls_go_on_while_a_slow_plc_is_probed() -> None:
    async with ModbusServer({1: unit()}) as plc:
        plc.faults.add(Slow(0.1))
        async with probed(fleet_at(plc, interval="200ms")) as one:
            await until(lambda: read_ever(one))
            runner = one.gateway.runner("site")
            assert runner is not None
            before = runner.stats.last_snapshot_at or 0.0
            for _ in range(5):
                await one.probe("plant=site")
            assert (runner.stats.last_snapshot_at or 0.0) > before
            assert plc.stats.connections_peak == 1


async def test_a_plant_has_one_probe_at_a_time() -> None:
    async with ModbusServer({1: unit()}) as plc:
        plc.faults.add(Slow(0.3))
        async with probed(fleet_at(plc, interval="1h", timeout="5s")) as one:
            await until(lambda: read_ever(one))
            both = await asyncio.gather(one.ask("plant=site"), one.ask("plant=site"))
    assert sorted(status for status, _ in both) == [200, 409]
    assert [body for status, body in both if status == 409] == [
        "plant site is being probed; try again in a moment\n"
    ]


async def test_a_plant_rests_between_two_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "REST", 3600.0)
    async with ModbusServer({1: unit()}) as plc, probed(fleet_at(plc)) as one:
        assert (await one.ask("plant=site"))[0] == 200
        assert (await one.ask("plant=site"))[0] == 409


async def test_after_a_minute_nothing_further_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "WITHIN", 0.0)
    async with ModbusServer({1: unit()}) as plc, probed(fleet_at(plc)) as one:
        (device,) = (await one.probe("plant=site")).devices
    assert device.fault is not None
    assert device.fault.detail == "not asked, for the probe had taken long enough"


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("", 400, "name one plant: /probe?plant=NAME\n"),
        ("plant=site&plant=other", 400, "name one plant: /probe?plant=NAME\n"),
        ("plant=other", 404, "plant other does not run on this gateway\n"),
        ("plant=site&device=X", 404, "plant site has no device X; it has D11\n"),
    ],
)
async def test_what_cannot_be_probed_is_said(query: str, status: int, says: str) -> None:
    async with ModbusServer({1: unit()}) as plc, probed(fleet_at(plc)) as one:
        assert await one.ask(query) == (status, says)


async def test_a_suspended_plant_is_not_connected_for_a_probe() -> None:
    async with ModbusServer({1: unit()}) as plc, probed(fleet_at(plc)) as one:
        one.fleet.plants["site"].spec["suspend"] = True
        await one.apply()
        assert (await one.ask("plant=site"))[0] == 409
        await until(lambda: not plc.stats.connections_open)


async def until_read_again(one: Probed) -> None:
    def read_at() -> float:
        return one.gateway.status().plants[0].devices[0].last_read_at or 0.0

    before = read_at()
    await until(lambda: read_at() > before)


async def test_a_probe_that_is_cut_off_costs_no_poll() -> None:
    async with ModbusServer({1: unit()}) as plc:
        plc.faults.add(Slow(0.2))
        async with probed(fleet_at(plc, interval="3s")) as one:
            await until_read_again(one)  # so that the next request is not a poll's
            before = plc.stats.requests
            asking = asyncio.create_task(one.ask("plant=site"))
            await until(lambda: plc.stats.requests > before)
            port = int(one.url.rpartition(":")[2])
            others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CLIENTS)]
            with pytest.raises(OSError, match=r"."):
                await asking
            await until_read_again(one)
            device = one.gateway.status().plants[0].devices[0]
            assert (device.fault, device.in_back_off) == (None, False)
            assert plc.stats.connections == 1
            for _, writer in others:
                writer.close()
