"""The gateway's /status contract."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from voke_api.status import DeviceStatus, FaultStatus, GatewayStatus, PlantStatus, SessionStatus


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
