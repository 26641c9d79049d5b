"""What is not read is said in the log once, and so is its return."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

from tests.support.plants import resolved
from tests.support.site import Site, plant_of, running
from tests.support.virtual_time import run
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind
from voke_gateway.plant.silences import SAY_AFTER, Silences

AWAY = Fault(FaultKind.UNREACHABLE, "connection refused")
REFUSED = Fault(FaultKind.REFUSED, "exception 2 on input 40–41")
NOTHING = Fault(FaultKind.INVALID, "the device says that it has no value")


def read(device: str, **faults: Fault) -> DeviceReading:
    values: dict[str, Any] = {field: 1 for field in ("p", "q") if field not in faults}
    return DeviceReading(device, 0.0, values=values, faults=faults)


def away(device: str) -> DeviceReading:
    return DeviceReading(device, 0.0, fault=AWAY)


def told(silences: Silences, *passes: tuple[float, DeviceReading]) -> list[dict[str, Any]]:
    """What is logged of readings at so many seconds."""
    with capture_logs() as logs:
        for now, reading in passes:
            silences.observe(reading, now)
    return [dict(each) for each in logs]


def test_a_silent_plc_is_one_line_with_all_its_devices_and_its_return_one_each() -> None:
    silences = Silences(plant_of([["A", "B"], ["C"]]))
    passes = [(float(second), away(device)) for second in range(60) for device in "AB"]
    [line] = told(silences, *passes)
    assert (line["event"], line["log_level"]) == ("devices are not read", "warning")
    assert (line["devices"], line["why"]) == ("A B", "connection refused")
    back = told(silences, (60.0, read("A")), (60.0, read("B")), (61.0, read("A")))
    assert [(each["event"], each["device"], each["silent_for"]) for each in back] == [
        ("device is read again", "A", "60s"),
        ("device is read again", "B", "60s"),
    ]


def test_a_pass_in_vain_now_and_then_is_not_worth_a_line() -> None:
    silences = Silences(plant_of([["A"]]))
    passes = [(second * 5.0, away("A") if second % 3 else read("A")) for second in range(100)]
    assert told(silences, *passes) == []


def test_a_refused_point_is_said_until_it_answers_and_one_without_a_value_is_not() -> None:
    silences = Silences(plant_of([["A"]]))
    [line] = told(silences, *((float(each), read("A", p=REFUSED, q=NOTHING)) for each in range(9)))
    assert (line["event"], line["field"], line["why"]) == ("point is refused", "p", REFUSED.detail)
    assert told(silences, (10.0, away("A")), (11.0, read("A", p=REFUSED))) == []
    [line] = told(silences, (12.0, read("A")), (13.0, read("A")))
    assert (line["event"], line["field"]) == ("point is answered again", "p")


def test_a_device_that_may_sleep_is_no_warning_and_one_that_is_gone_is_forgotten() -> None:
    document = plant_document_with_a_sleeper()
    silences = Silences(resolved(document))
    [line] = told(silences, (0.0, away("INV1")), (SAY_AFTER, away("INV1")))
    assert line["log_level"] == "info"
    del document["spec"]["devices"][1:]
    silences.configure(resolved(document))
    assert told(silences, (99.0, away("INV1")), (200.0, read("INV1"))) == []


def plant_document_with_a_sleeper() -> dict[str, Any]:
    points = [{"field": "p", "table": "input", "address": 1, "type": "uint16"}]
    device = {"type": "INVERTER", "connection": "plc1", "points": points}
    return {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "Plant",
        "metadata": {"name": "site"},
        "spec": {
            "plantId": "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f",
            "auth": {"method": "MTLS"},
            "connections": [{"name": "plc1", "modbusTcp": {"host": "127.0.0.1"}}],
            "devices": [
                {"externalId": "INV0", **device},
                {"externalId": "INV1", "unitId": 2, "expectOffline": True, **device},
            ],
        },
    }


def test_a_running_plant_says_that_its_plc_went_silent_and_came_back() -> None:
    async def main() -> list[str]:
        site = Site(plant_of([["A"]], telemetry={"interval": "1s"}))
        with capture_logs() as logs:
            async with running(site):
                await asyncio.sleep(5)
                site.plcs["plc1"].silent = True
                await asyncio.sleep(60)
                site.plcs["plc1"].silent = False
                await asyncio.sleep(60)
        return [each["event"] for each in logs if each["event"].startswith("device")]

    assert run(main()) == ["devices are not read", "device is read again"]
