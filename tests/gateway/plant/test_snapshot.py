"""What is published of what was read."""

from __future__ import annotations

import json
from typing import Any

from tests.support.plants import battery_document, resolved
from tests.support.virtual_time import EPOCH
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind, Value
from voke_gateway.plant.snapshot import Reported, SnapshotFormat
from voke_gateway.protocol.envelope import fits


def two_batteries_and_a_cabinet() -> SnapshotFormat:
    document = battery_document()
    battery = document["spec"]["devices"][0]
    cabinet = {
        "externalId": "R1",
        "type": "CABINET",
        "connection": "plc1",
        "raw": {"table": "discrete", "address": 0, "count": 24},
    }
    document["spec"]["devices"] = [battery, {**battery, "externalId": "A-BATTERY"}, cabinet]
    return SnapshotFormat(resolved(document))


def reading(device: str = "BAT1", at: float = EPOCH, **values: Value) -> DeviceReading:
    return DeviceReading(device, at, dict(values))


def messages(fmt: SnapshotFormat, *readings: DeviceReading) -> list[dict[str, Any]]:
    reported: dict[int, Reported] = {}
    for one in readings:
        report = fmt.report(one)
        if report is not None:
            reported[fmt.position(one.device)] = report
    bodies = fmt.bodies(reported)
    assert all(fits(body) for body in bodies)
    return [json.loads(body) for body in bodies]


def test_a_message_names_each_device_in_the_order_of_the_plant() -> None:
    fmt = two_batteries_and_a_cabinet()
    mask = DeviceReading("R1", EPOCH, mask=2**32 - 1)
    assert messages(fmt, mask, reading("A-BATTERY", socPercent=1), reading("BAT1", socPercent=2.5)) == [
        {
            "timestamp": "2026-01-01T00:00:00.000Z",
            "devices": [
                {"externalId": "BAT1", "type": "BATTERY", "values": {"socPercent": 2.5}},
                {"externalId": "A-BATTERY", "type": "BATTERY", "values": {"socPercent": 1}},
                {"externalId": "R1", "type": "CABINET", "raw": 2**32 - 1},
            ],
        }
    ]


def test_the_timestamp_is_the_start_of_the_earliest_read_in_the_message() -> None:
    fmt = two_batteries_and_a_cabinet()
    late, early = reading("BAT1", EPOCH + 1.75, faultCode=0), reading("A-BATTERY", EPOCH + 1.25, faultCode=0)
    assert messages(fmt, late, early)[0]["timestamp"] == "2026-01-01T00:00:01.250Z"
    assert messages(fmt, late)[0]["timestamp"] == "2026-01-01T00:00:01.750Z"


def test_a_value_that_was_not_read_is_left_out() -> None:
    fmt = two_batteries_and_a_cabinet()
    partial = DeviceReading(
        "BAT1", EPOCH, {"faultCode": 0}, faults={"socPercent": Fault(FaultKind.REFUSED, "exception 2")}
    )
    assert messages(fmt, partial)[0]["devices"][0]["values"] == {"faultCode": 0}


def test_a_point_that_is_not_published_stays_here() -> None:
    fmt = two_batteries_and_a_cabinet()
    sent = messages(fmt, reading(socPercent=50, setpointW=-820, enable=True))
    assert sent[0]["devices"][0]["values"] == {"socPercent": 50}


def test_a_device_of_which_nothing_is_to_be_published_is_left_out() -> None:
    fmt = two_batteries_and_a_cabinet()
    assert fmt.report(reading(setpointW=-820)) is None
    assert fmt.report(reading()) is None
    assert fmt.report(DeviceReading("BAT1", EPOCH, fault=Fault(FaultKind.TIMEOUT))) is None
    assert fmt.report(DeviceReading("R1", EPOCH, fault=Fault(FaultKind.TIMEOUT))) is None


def test_a_cabinet_with_no_bit_set_is_reported() -> None:
    fmt = two_batteries_and_a_cabinet()
    assert messages(fmt, DeviceReading("R1", EPOCH, mask=0))[0]["devices"] == [
        {"externalId": "R1", "type": "CABINET", "raw": 0}
    ]


def test_values_keep_the_order_of_the_plant_whatever_the_order_of_the_reads() -> None:
    fmt = two_batteries_and_a_cabinet()
    one = fmt.report(reading(faultCode=1, socPercent=2))
    other = fmt.report(reading(socPercent=2, faultCode=1))
    assert one is not None
    assert other is not None
    assert isinstance(one.content, dict)
    assert isinstance(other.content, dict)
    assert list(one.content) == list(other.content) == ["socPercent", "faultCode"]


def test_a_large_plant_is_split_and_each_device_is_in_one_message() -> None:
    document = battery_document()
    battery = document["spec"]["devices"][0]
    names = [f"BATTERY-WITH-A-LONG-NAME-{n:03}" for n in range(200)]
    document["spec"]["devices"] = [{**battery, "externalId": name} for name in names]
    fmt = SnapshotFormat(resolved(document))
    sent = messages(
        fmt, *(reading(name, EPOCH + n, socPercent=n, faultCode=0) for n, name in enumerate(names))
    )
    assert len(sent) > 1
    assert [device["externalId"] for message in sent for device in message["devices"]] == names
    assert {message["timestamp"] for message in sent} == {"2026-01-01T00:00:00.000Z"}
