"""Endpoints: who holds them, what is wrong with them, and cabinets behind them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.probe.meters import Json, declared, device, document, meter, never_written, probed
from tests.support.plants import PLANT_ID
from voke_gateway.drivers.claims import EndpointClaims
from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.faults import CloseInstead, Plan, Silent
from voke_sim.plc.faults import Fault as SimFault
from voke_sim.plc.requests import Request
from voke_sim.plc.server import ModbusServer, Unit, _Session


class Unsettled(ModbusServer):
    """Treats requests badly that come within 0.8 s of the connection."""

    connected_at = 0.0

    def admit(self, session: _Session) -> bool:
        self.connected_at = self.now()
        return super().admit(session)

    def fail_at_first(self, fault: SimFault) -> None:
        server = self

        class AtFirst(SimFault):
            def concerns(self, request: Request) -> bool:
                return server.now() < server.connected_at + 0.8

            def shape(self, plan: Plan) -> None:
                fault.shape(plan)

        self.fail(AtFirst())


@pytest.mark.parametrize("fault", [Silent(), CloseInstead()], ids=["silent", "closes"])
async def test_a_plc_that_needs_rest_after_connecting_is_known(fault: SimFault, tmp_path: Path) -> None:
    async with Unsettled({1: meter()}) as server:
        server.fail_at_first(fault)
        found = await probed(tmp_path, document(server.port, device(declared()), timeout="400ms"))
    assert found.said() == [("plc1", "settle", {"settleAfterConnect": "1s"})]
    assert server.stats.connections_peak == 1


async def test_a_plc_that_listens_on_the_usual_port_instead_is_found(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server, ModbusServer({}) as other:
        other.refuse_connections()
        one = document(other.port, device(declared()))
        found = await probed(tmp_path, one, standard_port=server.port)
        assert found.said() == [("plc1", "port", {"port": server.port})]
        assert server.stats.requests == 0
        held = EndpointClaims("voke run", tmp_path / "locks")
        await held.claim("127.0.0.1", server.port, "connection plc1", within=1.0)
        found = await probed(tmp_path, one, standard_port=server.port)
        assert found.said() == [], "a port that a gateway holds is not even looked at"
        assert server.stats.connections == 1


async def test_a_plc_that_is_switched_off_is_a_fault_and_no_guess(tmp_path: Path) -> None:
    async with ModbusServer({}) as server:
        server.refuse_connections()
        found = await probed(
            tmp_path, document(server.port, device(declared()), device(declared(), externalId="M2", unitId=2))
        )
    assert found.guesses == []
    details = [one["fault"]["detail"] for one in found.json["connections"][0]["devices"]]
    assert details == [f"cannot connect to 127.0.0.1:{server.port}: connection refused"] * 2


async def test_a_plc_that_a_gateway_holds_is_not_touched_and_its_holder_is_named(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        held = EndpointClaims("voke run", tmp_path / "locks")
        await held.claim("127.0.0.1", server.port, "connection plc1 of M1", within=1.0)
        found = await probed(tmp_path, document(server.port, device(declared())))
        assert server.stats.connections == 0
    (one,) = found.json["connections"][0]["devices"]
    assert f"127.0.0.1:{server.port} is in use by voke run (process " in one["fault"]["detail"]
    assert "connection plc1 of M1" in one["fault"]["detail"]
    assert not found.json["ok"]
    assert found.guesses == []


async def test_the_second_use_of_an_endpoint_is_refused_with_a_reason(tmp_path: Path) -> None:
    async with ModbusServer({1: meter()}) as server:
        first, second = (document(server.port, device(declared())) for _ in range(2))
        second["metadata"]["name"] = "other"
        second["spec"]["plantId"] = PLANT_ID.replace("3f", "4f")
        second["spec"]["connections"][0]["modbusTcp"]["host"] = "localhost"
        found = await probed(tmp_path, first, second)
        assert server.stats.connections == 1
    faults = [one["fault"] for connection in found.json["connections"] for one in connection["devices"]]
    refused = [fault for fault in faults if fault is not None]
    assert len(refused) == 1
    assert "in use by this process already, as connection plc1 of M1" in refused[0]["detail"]


async def test_of_a_unit_that_is_not_there_it_is_said_which_others_were_tried(tmp_path: Path) -> None:
    async with ModbusServer({5: meter()}) as server:
        found = await probed(tmp_path, document(server.port, device(declared(), unitId=7)))
    ((about, guess),) = found.guesses
    assert (about, guess.kind, guess.changes) == ("M1", "unit-id", ())
    assert guess.evidence.startswith("the PLC answers, but not for unit 7, nor for 1, 0, 255: ")


async def test_two_silent_units_do_not_keep_a_third_from_being_read(tmp_path: Path) -> None:
    async with ModbusServer({5: meter()}, unknown_unit=None) as server:
        devices = [device(declared(), externalId=f"M{unit}", unitId=unit) for unit in (3, 4, 5)]
        found = await probed(tmp_path, document(server.port, *devices, timeout="500ms"))
    assert found.values["voltageV"] == 231.7
    assert {about for about, kind, _ in found.said() if kind == "unit-id"} == {"M3", "M4"}


CABINETS: list[tuple[str, Json, Bank, Json]] = [
    (
        "coils for discrete inputs",
        {"table": "coil", "address": 0, "count": 8},
        Bank(discrete=Bits(8)),
        {"table": "discrete"},
    ),
    (
        "a data sheet's address",
        {"table": "discrete", "address": 10001, "count": 8},
        Bank(discrete=Bits(8)),
        {"address": 0},
    ),
    (
        "holding for input",
        {"table": "holding", "address": 7, "type": "uint32"},
        Bank(input=Registers(2, first=7)),
        {"table": "input"},
    ),
]


@pytest.mark.parametrize(
    ("raw", "bank", "keys"), [case[1:] for case in CABINETS], ids=[c[0] for c in CABINETS]
)
async def test_a_cabinet_in_the_wrong_place_is_found(
    raw: Json, bank: Bank, keys: Json, tmp_path: Path
) -> None:
    cabinet = {"externalId": "R1", "type": "CABINET", "connection": "plc1", "raw": raw}
    async with ModbusServer({1: Unit(bank)}) as server:
        found = await probed(tmp_path, document(server.port, cabinet))
    about, _, best = found.said()[0]
    assert (about, best) == ("mask", keys)
    (place, *_) = found.json["connections"][0]["devices"][0]["points"][0]["guesses"][0]["changes"]
    assert place["path"] == "spec.devices[0].raw"
    assert never_written(server)


async def test_a_cabinet_shows_its_mask(tmp_path: Path) -> None:
    inputs = Bits(8)
    inputs.put(3, True)
    raw = {"table": "discrete", "address": 0, "count": 8}
    cabinet = {"externalId": "R1", "type": "CABINET", "connection": "plc1", "raw": raw}
    async with ModbusServer({1: Unit(Bank(discrete=inputs))}) as server:
        found = await probed(tmp_path, document(server.port, cabinet))
    (shown,) = found.json["connections"][0]["devices"][0]["points"]
    assert (shown["address"], shown["raw"], shown["value"]) == ("discrete 0–7", "00010000", 8)
    assert found.json["ok"]
