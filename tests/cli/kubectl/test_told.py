"""A probe through a gateway says what a probe of one's own would say, as far as no further reads are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.probe.meters import Json, declared, device, document, meter, never_written, shifted
from tests.cli.probe.meters import probed as probed_directly
from tests.support.fleet import Entry, Fleet
from tests.support.loops import until
from tests.support.probing import probed
from voke_api.probe import PlantProbe
from voke_api.resolve import resolve
from voke_api.status import DeviceStatus
from voke_cli.kubectl.probe import documents_of
from voke_cli.probe.report import Places, as_document
from voke_cli.probe.told import reports
from voke_sim.plc.faults import Silent
from voke_sim.plc.server import ModbusServer

PASSWORD = {"auth": {"method": "PASSWORD"}, "credentials": {"password": {"secretRef": {"name": "keys"}}}}


def told(plant: Json, answer: PlantProbe) -> Json:
    """What ``kubectl voke probe --json`` prints."""
    document = {**plant, "metadata": {"name": "site", "namespace": "here", "resourceVersion": "1"}}
    documents = documents_of([document])
    assert not documents.problems
    resolved, problems = resolve(documents.plants[0], documents.profiles, None)
    assert resolved is not None, problems
    return as_document(reports(resolved, frozenset(), answer), Places(documents))


async def through_a_gateway(plant: Json) -> Json:
    fleet = Fleet({"site": Entry({**plant["spec"], **PASSWORD}, hmac_key=b"k" * 32)})
    async with probed(fleet) as one:
        await until(lambda: all(map(was_asked, one.gateway.status().plants[0].devices)))
        return told(plant, await one.probe("plant=site"))


def was_asked(device: DeviceStatus) -> bool:
    """Over an open connection, which the first pass does not wait for on a busy machine."""
    return bool(device.last_read_at or (device.fault and device.fault.kind != "unreachable"))


def without_places(found: Json) -> Json:
    """What was read and guessed, by field, without file and line."""
    (connection,) = found["connections"]
    return {
        point["field"]: {
            **{key: point[key] for key in ("address", "words", "raw", "value", "unit", "fault")},
            "guesses": [
                (each["kind"], [change["set"] for change in each["changes"]]) for each in point["guesses"]
            ],
        }
        for one in connection["devices"]
        for point in one["points"]
    }


@pytest.mark.parametrize(
    "points",
    [
        declared(),
        declared(frequencyHz={"scale": None}, activePowerW={"type": "uint32"}),
        declared(voltageV={"wordOrder": "little"}),
        declared("currentA", "energyKwh", currentA={"invalid": [123]}),
    ],
    ids=["right", "scale and type", "word order", "no value"],
)
async def test_it_reads_and_guesses_as_a_probe_of_ones_own(tmp_path: Path, points: list[Json]) -> None:
    async with ModbusServer({1: meter()}) as server:
        plant = document(server.port, device(points))
        found = await through_a_gateway(plant)
        assert never_written(server)
        directly = await probed_directly(tmp_path, plant)
    assert without_places(found) == without_places(directly.json)
    assert found["ok"] == directly.json["ok"]
    assert found["connections"][0]["extraReads"] == 0


async def test_a_change_is_named_by_its_place_in_the_plant() -> None:
    async with ModbusServer({1: meter()}) as server:
        found = await through_a_gateway(document(server.port, device(declared(frequencyHz={"scale": None}))))
    points: list[Any] = found["connections"][0]["devices"][0]["points"]
    (guess,) = next(each["guesses"] for each in points if each["field"] == "frequencyHz")
    assert guess["changes"] == [
        {
            "file": None,
            "line": None,
            "kind": "Plant",
            "name": "site",
            "path": "spec.devices[0].points[2]",
            "set": {"scale": 0.01},
            "remove": [],
        }
    ]


async def test_what_the_device_refuses_has_the_devices_words_for_it() -> None:
    async with ModbusServer({1: meter()}) as server:
        found = await through_a_gateway(document(server.port, device(shifted(30, "serialNumber"))))
    (point,) = found["connections"][0]["devices"][0]["points"]
    assert not found["ok"]
    assert point["fault"] == {
        "kind": "refused",
        "detail": "exception 2 (illegal data address) on input 80–84, unit 1",
    }


async def test_a_data_sheets_number_is_known_by_itself_though_nothing_is_read_there() -> None:
    points = [*declared(), {"field": "model", "table": "input", "address": 30101, "type": "uint16"}]
    async with ModbusServer({1: meter()}) as server:
        found = await through_a_gateway(document(server.port, device(points)))
    (point,) = (each for each in found["connections"][0]["devices"][0]["points"] if each["field"] == "model")
    (guess,) = point["guesses"]
    assert guess["evidence"] == "30101 looks like a data sheet's number for input 100, which was not read"
    assert [change["set"] for change in guess["changes"]] == [{"address": 100}]


async def test_a_silent_device_is_said_to_be_silent() -> None:
    async with ModbusServer({1: meter()}) as server:
        server.faults.add(Silent())
        found = await through_a_gateway(document(server.port, device(declared())))
    (one,) = found["connections"][0]["devices"]
    assert one["fault"]["kind"] == "timeout"
    assert {point["fault"]["kind"] for point in one["points"]} == {"timeout"}


async def test_a_point_that_the_gateway_does_not_know_yet_is_said_to_be_unread() -> None:
    async with ModbusServer({1: meter()}) as server:
        old = document(server.port, device(declared("currentA")))
        fleet = Fleet({"site": Entry({**old["spec"], **PASSWORD}, hmac_key=b"k" * 32)})
        async with probed(fleet) as one:
            answer = await one.probe("plant=site")
        new = document(
            server.port, device(declared("currentA", "energyKwh")), device(declared(), externalId="M2")
        )
        found = told(new, answer)
    first, second = found["connections"][0]["devices"]
    assert [(each["field"], each["value"]) for each in first["points"]] == [
        ("currentA", 12.3),
        ("energyKwh", None),
    ]
    assert "another version of the Plant" in first["points"][1]["fault"]["detail"]
    assert "another version of the Plant" in second["fault"]["detail"]
