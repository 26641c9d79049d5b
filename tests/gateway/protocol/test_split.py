"""Snapshots fit: split by device first, then by values; nothing lost, nothing twice, nothing too large."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.plants import battery_document, resolved
from voke_api.resolved import ResolvedDevice
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.envelope import MAX_BYTES, seal_telemetry
from voke_gateway.protocol.sign import Signer
from voke_gateway.protocol.split import (
    DeviceTemplate,
    Scalar,
    TooLargeError,
    telemetry_bodies,
    worst_case_bytes,
)

TIMESTAMP = "2026-11-22T09:30:00.250Z"
SIGNER = Signer("3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f", b"test-secret-32-characters-long!!")


def sealed_size(body: bytes) -> int:
    return len(seal_telemetry(SIGNER, body, 1_700_000_000_000, "0123456789abcdef"))


def collected(bodies: list[bytes]) -> dict[str, Any]:
    """What all bodies say together; fails if a device's value is said twice."""
    together: dict[str, Any] = {}
    for body in bodies:
        message = json.loads(body)
        assert message.keys() == {"devices", "timestamp"}
        assert message["timestamp"] == TIMESTAMP
        assert message["devices"], "no message without a device"
        ids = [device["externalId"] for device in message["devices"]]
        assert len(set(ids)) == len(ids), "a device appears once in a message"
        for device in message["devices"]:
            if "raw" in device:
                assert device["externalId"] not in together
                together[device["externalId"]] = device["raw"]
                continue
            known = together.setdefault(device["externalId"], {})
            assert device["values"], "no device without a value"
            assert not known.keys() & device["values"].keys()
            known.update(device["values"])
    return together


def test_a_device_entry_is_canonical() -> None:
    entry = DeviceTemplate("BAT1", "BATTERY").values(
        {"socPercent": 63.0, "état": "běží", "a": None, "leak": 1e-7}
    )
    text = (
        '{"externalId":"BAT1","type":"BATTERY","values":{"a":null,"leak":1e-7,"socPercent":63,"état":"běží"}}'
    )
    assert entry == text.encode()


def test_a_cabinet_entry_is_canonical() -> None:
    text = b'{"externalId":"R1","raw":4294967295,"type":"CABINET"}'
    assert DeviceTemplate("R1", "CABINET").raw(2**32 - 1) == text


def test_what_fits_is_one_message() -> None:
    inverter, cabinet = DeviceTemplate("INV1", "INVERTER"), DeviceTemplate("R1", "CABINET")
    (body,) = telemetry_bodies(TIMESTAMP, [(inverter, {"b": 2, "a": 231.0}), (cabinet, 5)])
    assert body == (
        b'{"devices":[{"externalId":"INV1","type":"INVERTER","values":{"a":231,"b":2}},'
        b'{"externalId":"R1","raw":5,"type":"CABINET"}],"timestamp":"2026-11-22T09:30:00.250Z"}'
    )


def test_nothing_read_is_no_message() -> None:
    assert telemetry_bodies(TIMESTAMP, []) == []
    assert telemetry_bodies(TIMESTAMP, [(DeviceTemplate("INV1", "INVERTER"), {})]) == []


def test_many_devices_are_split_between_devices_and_fill_their_messages() -> None:
    devices = [(DeviceTemplate(f"INV{i}", "INVERTER"), {"activePowerKw": i + 0.5}) for i in range(256)]
    bodies = telemetry_bodies(TIMESTAMP, devices)
    assert collected(bodies) == {f"INV{i}": {"activePowerKw": i + 0.5} for i in range(256)}
    assert len(bodies) == 3
    assert all(MAX_BYTES - 100 < sealed_size(body) <= MAX_BYTES for body in bodies[:-1])
    assert [json.loads(body)["devices"][0]["externalId"] for body in bodies] == sorted(
        (json.loads(body)["devices"][0]["externalId"] for body in bodies), key=lambda name: int(name[3:])
    )


def test_one_large_device_is_split_by_values() -> None:
    values: dict[str, Scalar] = {f"cellVoltage{i:03}": 3.3 + i / 1000 for i in range(256)} | {
        f"name{i}": "x" * 200 for i in range(20)
    }
    inverter, battery = DeviceTemplate("INV1", "INVERTER"), DeviceTemplate("BAT1", "BATTERY")
    bodies = telemetry_bodies(TIMESTAMP, [(inverter, {"a": 1}), (battery, values)])
    assert collected(bodies) == {"INV1": {"a": 1}, "BAT1": values}
    assert all(sealed_size(body) <= MAX_BYTES for body in bodies)
    assert len(bodies) == 2


def test_the_limit_is_met_to_the_byte() -> None:
    template = DeviceTemplate("BAT1", "BATTERY")
    free = MAX_BYTES - sealed_size(telemetry_bodies(TIMESTAMP, [(template, {"a": ""})])[0])
    (body,) = telemetry_bodies(TIMESTAMP, [(template, {"a": "x" * free})])
    assert sealed_size(body) == MAX_BYTES
    with pytest.raises(TooLargeError, match=r"BAT1\.a takes"):
        telemetry_bodies(TIMESTAMP, [(template, {"a": "x" * (free + 1)})])


def test_a_value_too_large_for_a_message_is_named() -> None:
    values: dict[str, Scalar] = {"ok": 1, "essay": "\x01" * 2000}
    with pytest.raises(TooLargeError, match=r"BAT1\.essay takes 12010 bytes; .* room for \d+"):
        telemetry_bodies(TIMESTAMP, [(DeviceTemplate("BAT1", "BATTERY"), values)])


values_of_devices = st.dictionaries(
    st.text(min_size=1, max_size=64),
    st.floats()
    | st.integers()
    | st.booleans()
    | st.text(max_size=4)
    | st.sampled_from(["ž" * 900, "\x01" * 250, "x" * 6000]),
    max_size=30,
)


@given(st.lists(values_of_devices | st.integers(0, 2**32 - 1), max_size=12))
@settings(max_examples=60)
def test_every_value_is_in_exactly_one_message_that_fits(contents: list[Mapping[str, Any] | int]) -> None:
    devices = [(DeviceTemplate(f"D{i}", "METER"), content) for i, content in enumerate(contents)]
    bodies = telemetry_bodies(TIMESTAMP, devices)
    assert all(sealed_size(body) <= MAX_BYTES for body in bodies)
    assert all(canonical(json.loads(body)) == body for body in bodies)
    expected = {f"D{i}": content for i, content in enumerate(contents) if content or isinstance(content, int)}
    assert canonical(collected(bodies)) == canonical(expected)


def point(field: str, type_: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "table": "holding", "address": 0, "type": type_, **more}


def battery_with(*points: dict[str, Any]) -> ResolvedDevice:
    """BAT1 with these points, made through the same door as a person's file."""
    document = battery_document()
    document["spec"]["devices"][0] |= {"points": list(points), "limits": {"maxRegisters": 125}}
    return resolved(document).devices[0]


def size_of(device: ResolvedDevice, values: dict[str, Scalar]) -> int:
    (body,) = telemetry_bodies(TIMESTAMP, [(DeviceTemplate(device.external_id, device.type), values)])
    return sealed_size(body)


LONGEST: dict[str, tuple[dict[str, Any], Scalar]] = {
    "bool": (point("f", "bool", registerBit=0), False),
    "int16": (point("f", "int16"), -32768),
    "uint16": (point("f", "uint16"), 65535),
    "int32": (point("f", "int32"), -(2**31)),
    "uint32": (point("f", "uint32"), 2**32 - 1),
    "int64": (point("f", "int64"), -(2**53)),
    "uint64": (point("f", "uint64"), 2**53),
    "scaled": (point("f", "uint16", scale=0.1), -1.2345678901234567e-06),
    "float64": (point("f", "float64"), -1.2345678901234567e-06),
    "string": (point("f", "string", length=16), "\x01" * 16),
    "a field that needs escapes": (point('é😀"\x02', "uint16"), 65535),
}


@pytest.mark.parametrize(("declared", "longest"), LONGEST.values(), ids=LONGEST)
def test_the_worst_case_is_the_longest_value(declared: dict[str, Any], longest: Scalar) -> None:
    device = battery_with(declared)
    assert worst_case_bytes([device]) == size_of(device, {declared["field"]: longest})


def test_the_worst_case_of_a_plant_counts_what_is_published() -> None:
    cabinet = {
        "externalId": "R1",
        "type": "CABINET",
        "connection": "plc1",
        "raw": {"table": "discrete", "address": 0, "count": 8},
    }
    document = battery_document()
    document["spec"]["devices"].append(cabinet)
    plant = resolved(document)
    longest = {"socPercent": -1.2345678901234567e-06, "faultCode": 65535}
    (body,) = telemetry_bodies(
        TIMESTAMP,
        [(DeviceTemplate("BAT1", "BATTERY"), longest), (DeviceTemplate("R1", "CABINET"), 2**32 - 1)],
    )
    assert worst_case_bytes(plant.devices) == sealed_size(body)


def test_a_device_that_publishes_nothing_takes_no_room() -> None:
    silent = battery_with(point("f", "uint16", publish=False))
    spoken = battery_with(point("f", "uint16"))
    assert worst_case_bytes([silent, spoken]) == worst_case_bytes([spoken])


def test_the_worst_case_may_be_more_than_one_message() -> None:
    assert (
        worst_case_bytes([battery_with(*(point(f"f{i}", "string", length=64) for i in range(30)))])
        > MAX_BYTES
    )


def test_the_longest_string_with_the_longest_name_can_always_be_sent() -> None:
    assert worst_case_bytes([battery_with(point("\x01" * 64, "string", length=250))]) <= MAX_BYTES


def test_a_value_that_could_never_be_sent_is_an_error() -> None:
    device = battery_with(point("serial", "string", length=250))
    endless = dataclasses.replace(device, points=(device.points[0].model_copy(update={"length": 2000}),))
    with pytest.raises(TooLargeError, match=r"BAT1\.serial takes"):
        worst_case_bytes([endless])
