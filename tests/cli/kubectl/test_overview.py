"""Which Plant comes first, and what is said of each."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from voke_api.status import (
    ConnectionStatus,
    DeviceStatus,
    FaultStatus,
    GatewayStatus,
    PlantStatus,
    SessionStatus,
)
from voke_cli.kubectl.overview import as_document, rows
from voke_cli.kubectl.plants import PlantView
from voke_cli.kubectl.status import age, shown

NOW = 1_800_000_000.0
GATEWAY = "voke-gw-default-0"


def plant(name: str, ready: str = "", reason: str = "", message: str = "", **status: Any) -> PlantView:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message}
    return PlantView(
        {
            "metadata": {"name": name, "namespace": "here"},
            "spec": {"plantId": f"id-{name}"},
            "status": {"gateway": GATEWAY, "conditions": [condition], **status} if ready else {},
        }
    )


def live(name: str, *faults: FaultStatus | None, up: bool = True, **more: Any) -> PlantStatus:
    devices = tuple(
        DeviceStatus(external_id=f"D{n}", type="METER", last_read_at=NOW - 3 - n, fault=fault, **more)
        for n, fault in enumerate(faults, 1)
    )
    session = SessionStatus(connected=up, reason="" if up else "BrokerUnreachable")
    return PlantStatus(name=name, plant_id=f"id-{name}", devices=devices, session=session)


def gateway(*plants: PlantStatus) -> dict[tuple[str, str], GatewayStatus | str]:
    status = GatewayStatus(gateway=f"{GATEWAY}-0", version="1", started_at=0.0, plants=plants)
    return {("here", GATEWAY): status}


def text(found: Any, *, whole: bool = False) -> str:
    console = Console(width=1000, highlight=False)
    with console.capture() as capture:
        console.print(shown(found, whole=whole, now=NOW))
    return capture.get()


SILENT = FaultStatus(kind="timeout", detail="no reply within 2 s")


def test_what_has_to_be_mended_first_comes_first() -> None:
    found = rows(
        [
            plant("well", "True", "AllWell"),
            plant("worsening", "True", "AllWell"),
            plant("unconfirmed", "True", "NotConfirmed", "say so"),
            plant("unseen"),
            plant("unknown", "Unknown", "NotAsked"),
            plant("no-device", "False", "NoDeviceRead"),
            plant("invalid", "False", "Invalid"),
        ],
        gateway(live("well", None), live("worsening", SILENT), live("unconfirmed", None)),
    )
    assert [row.plant.name for row in found] == [
        "invalid", "no-device", "unknown", "unseen", "worsening", "unconfirmed", "well"
    ]  # fmt: skip


def test_devices_and_session_are_those_of_this_moment() -> None:
    (row,) = rows([plant("a", "True", "AllWell", devices="2/2")], gateway(live("a", None, SILENT, up=False)))
    assert (row.devices, row.session, row.last_read_at, row.well) == (
        "1/2",
        "BrokerUnreachable",
        NOW - 4,
        False,
    )


def test_what_a_gateway_finds_just_now_is_said_before_the_conditions_say_it() -> None:
    plants = [
        plant("off", "True", "PointsRefused", "points are refused"),
        plant("cut", "True", "AllWell", "3 of 3 devices are read"),
        plant("known", "True", "SomeDevicesNotRead", "D1 does not answer; check its power"),
    ]
    said = text(
        rows(plants, gateway(live("off", SILENT), live("cut", None, up=False), live("known", SILENT)))
    )
    assert "off: just now D1 is not read: no reply within 2 s" in said
    assert "cut: just now it has no session with Voke: BrokerUnreachable" in said
    assert "known: D1 does not answer; check its power" in said


def test_of_a_plant_with_which_all_is_well_there_is_nothing_to_do() -> None:
    found = rows([plant("a", "True", "AllWell", "2 of 2 devices are read")], gateway(live("a", None)))
    assert "What to do first" not in text(found)
    assert as_document(found)["plants"][0]["message"] == "2 of 2 devices are read"


def test_a_device_that_may_sleep_makes_no_plant_unwell() -> None:
    (row,) = rows([plant("a", "True", "AllWell")], gateway(live("a", SILENT, expect_offline=True)))
    assert row.well


def test_of_a_gateway_that_cannot_be_asked_it_is_said_why_and_the_api_stands_for_it() -> None:
    cloud = {"type": "CloudConnected", "status": "False", "reason": "LoginRefused", "message": ""}
    one = plant("a", "False", "LoginRefused", "give it a certificate", devices="3/4")
    one.document["status"]["conditions"].append(cloud)
    found = rows([one], {("here", GATEWAY): "this needs the right to get pods/proxy: no"})
    said = text(found)
    assert (found[0].devices, found[0].session) == ("3/4", "LoginRefused")
    assert "a: give it a certificate" in said
    assert f"{GATEWAY}: this needs the right to get pods/proxy: no" in said
    assert as_document(found)["plants"][0]["notAsked"] == "this needs the right to get pods/proxy: no"


def test_a_gateway_that_runs_another_plant_of_that_name_says_nothing_of_this_one() -> None:
    other = live("a").model_copy(update={"plant_id": "another"})
    (row,) = rows([plant("a", "True", "AllWell")], gateway(other))
    assert (row.live, row.not_asked) == (None, f"{GATEWAY} answers and does not run it")


def test_one_plant_is_shown_with_its_connections_devices_and_failing_points() -> None:
    refused = FaultStatus(kind="refused", detail="exception 2 on input 80")
    status = live("a", None, SILENT).model_copy(
        update={"connections": (ConnectionStatus(name="plc1", connected=False, last_error="no route"),)}
    )
    first = status.devices[0].model_copy(update={"bad_points": {"energyKwh": refused}})
    status = status.model_copy(update={"devices": (first, status.devices[1])})
    said = text(rows([plant("a", "False", "NoDeviceRead", "look")], gateway(status)), whole=True)
    lines = [line.split() for line in said.splitlines()]
    assert ["plc1", "no", "–", "no", "route"] in lines
    assert ["D1", "METER", "4s", "read"] in lines
    assert ["D2", "METER", "5s", "timeout:", "no", "reply", "within", "2", "s"] in lines
    assert ["D1", "energyKwh", "refused:", "exception", "2", "on", "input", "80"] in lines


def test_what_a_device_says_cannot_steer_the_terminal() -> None:
    status = live("a", FaultStatus(kind="malformed", detail="\x1b[2J"))
    assert "\x1b[2J" not in text(rows([plant("a", "True", "AllWell")], gateway(status)), whole=True)


def test_a_status_of_a_newer_operator_is_read() -> None:
    newer = {"name": "hmac", "source": "Generated", "keyId": "1", "somethingNew": True}
    assert plant("a", "True", "AllWell", credentials=[newer]).in_use[0].key_id == "1"


def test_ages_are_those_of_kubectl() -> None:
    ages = [age(NOW - each, NOW) for each in (-5, 0, 119, 120, 7199, 7200, 172_800)]
    assert ages == ["0s", "0s", "119s", "2m", "119m", "2h", "2d"]
    assert age(None, NOW) == "–"
