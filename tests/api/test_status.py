"""The gateway's /status contract."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from voke_api.status import (
    DeviceStatus,
    FaultStatus,
    GatewayStatus,
    PlantStatus,
    SessionStatus,
    StatusError,
    read,
    read_in_parts,
)


def status() -> GatewayStatus:
    return GatewayStatus(
        gateway="default-0",
        version="0.1.0",
        started_at=1_700_000_000.25,
        bundle_generation=7,
        plants=(
            PlantStatus(
                name="brno",
                read_only="writes: Disabled",
                session=SessionStatus(connected=True, since=1_700_000_001.0),
                devices=(
                    DeviceStatus(
                        external_id="INV1",
                        type="INVERTER",
                        bad_points={"p": FaultStatus(kind="refused", detail="exception 2")},
                    ),
                ),
                alarms_active=("door",),
            ),
        ),
    )


def test_the_json_is_camel_case_with_readable_times() -> None:
    document = json.loads(status().model_dump_json())
    assert document["startedAt"] == "2023-11-14T22:13:20.250Z"
    plant = document["plants"][0]
    assert plant["readOnly"] == "writes: Disabled"
    assert plant["devices"][0]["badPoints"]["p"] == {"kind": "refused", "detail": "exception 2"}
    assert plant["lastSnapshotAt"] is None


def test_what_is_written_is_read_back_the_same() -> None:
    assert GatewayStatus.model_validate_json(status().model_dump_json()) == status()


def test_it_is_the_same_read_whole_or_in_parts() -> None:
    body = status().model_dump_json().encode()
    gateway, parts = read_in_parts(body)
    plants = tuple(PlantStatus.model_validate(part) for _, part in parts)
    assert gateway.model_copy(update={"plants": plants}) == read(body) == status()
    assert [name for name, _ in parts] == ["brno"]


def test_what_is_longer_than_any_gateway_has_to_tell_is_cut_off() -> None:
    long = "x" * 1_000
    device = {"externalId": long, "type": "METER", "badPoints": {f"p{n}": {"kind": long} for n in range(300)}}
    plant = {"name": long, "message": long, "devices": [device] * 300, "alarmsActive": [long] * 200}
    document = json.loads(status().model_dump_json()) | {"plants": [plant], "bundleProblems": [long] * 200}
    found = read(json.dumps(document).encode())
    assert [len(each) for each in found.bundle_problems] == [600] * 100
    (cut,) = found.plants
    assert (len(cut.name), len(cut.message), len(cut.devices)) == (253, 600, 256)
    assert [len(each) for each in cut.alarms_active] == [253] * 128
    assert {len(each.external_id) for each in cut.devices} == {253}
    assert {len(each.bad_points) for each in cut.devices} == {256}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "it is no JSON: EOF"),
        (b'{"startedAt": NaN}', "it is no JSON: "),
        (b"[" * 50_000, "it is no JSON: recursion limit"),
        (b"[" + b"[]," * 1_000_000 + b"[]]", "more values than any gateway has"),
        (b"[]", "valid dictionary"),
        (b"{}", "Field required"),
    ],
)
def test_what_is_no_answer_of_a_gateway_is_said_in_a_sentence(body: bytes, why: str) -> None:
    with pytest.raises(StatusError, match=why):
        read(body)
    with pytest.raises(StatusError):
        read_in_parts(body)


@pytest.mark.parametrize("plants", [3, [3], {"a": 1}, [{}], None])
def test_parts_have_names(plants: object) -> None:
    document = json.loads(status().model_dump_json()) | {"plants": plants}
    with pytest.raises(StatusError, match="each with a name"):
        read_in_parts(json.dumps(document).encode())


def test_a_reader_ignores_what_a_newer_gateway_adds() -> None:
    document = json.loads(status().model_dump_json()) | {"mood": "fine"}
    assert GatewayStatus.model_validate(document) == status()


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="with a zone"):
        GatewayStatus(gateway="g", version="1", started_at="2026-01-31T12:00:00")


@given(st.integers(0, 4_000_000_000_000))
def test_times_survive_to_the_millisecond(milliseconds: int) -> None:
    before = GatewayStatus(gateway="g", version="1", started_at=milliseconds / 1000)
    after = GatewayStatus.model_validate_json(before.model_dump_json())
    assert round(after.started_at * 1000) == milliseconds
