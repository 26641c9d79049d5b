"""What an operator may know of a site with two PLCs and five devices, for tests of what it then says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.support.plants import PLANT_ID
from voke_api.resources import Plant
from voke_api.resources.observed import CredentialInUse
from voke_api.status import DeviceStatus, FaultStatus, GatewayStatus, PlantStatus, SessionStatus
from voke_operator.status.facts import (
    BundleFacts,
    CredentialFacts,
    Finding,
    PlacementFacts,
    PlantFacts,
    Seen,
)
from voke_operator.status.reasons import Reason
from voke_operator.status.reports import gateway_report, plant_report

DEVICES = ("INV1", "INV2", "BAT1", "MTR1", "INV3")
"""The first three are behind plc1, the others behind plc2."""
REFUSED = FaultStatus(kind="unreachable", detail="cannot connect to 10.20.3.11:502: connection refused")
NO_ANSWER = FaultStatus(kind="unreachable", detail="cannot connect to 10.20.3.11:502: no answer in 2 s")
SILENT = FaultStatus(kind="timeout", detail="no reply in 2 s on holding 40–43, unit 3")


def site(**spec: Any) -> Plant:
    """The Plant ``brno-roof-3``; ``spec`` adds and replaces keys."""
    point = {"field": "activePowerW", "table": "input", "address": 0, "type": "int32"}
    document = {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "Plant",
        "metadata": {"name": "brno-roof-3", "namespace": "energy"},
        "spec": {
            "plantId": PLANT_ID,
            "auth": {"method": "MTLS"},
            "connections": [
                {"name": "plc1", "modbusTcp": {"host": "10.20.3.11"}},
                {"name": "plc2", "modbusTcp": {"host": "10.20.3.12"}},
            ],
            "devices": [
                {
                    "externalId": name,
                    "type": {"I": "INVERTER", "B": "BATTERY", "M": "METER"}[name[0]],
                    "connection": "plc1" if index < 3 else "plc2",
                    "unitId": index + 1,
                    "points": [point],
                }
                for index, name in enumerate(DEVICES)
            ],
            **spec,
        },
    }
    return Plant.model_validate_json(json.dumps(document), strict=True)


def on_gateway(
    faults: dict[str, FaultStatus] | None = None,
    *,
    asleep: tuple[str, ...] = (),
    unasked: tuple[str, ...] = (),
    bad_points: dict[str, dict[str, FaultStatus]] | None = None,
    session: SessionStatus | None = None,
    **given: Any,
) -> PlantStatus:
    """What the gateway says of the plant: all is well but what is given."""
    faults = faults or {}
    return PlantStatus(
        name="brno-roof-3",
        plant_id=PLANT_ID,
        session=session or SessionStatus(connected=True),
        devices=tuple(
            DeviceStatus(
                external_id=name,
                type="INVERTER",
                last_read_at=None if name in unasked else 1.0,
                fault=faults.get(name),
                bad_points=(bad_points or {}).get(name, {}),
                expect_offline=name in asleep,
            )
            for name in DEVICES
        ),
        **given,
    )


def gateway(*, bundle: int | None = 7) -> GatewayStatus:
    """A gateway that has applied that bundle."""
    return GatewayStatus(
        gateway="voke-gw-default-0-0", version="1.0", bundle_generation=bundle, started_at=0.0
    )


def seen(plant: PlantStatus | None, *, bundle: int | None = 7) -> Seen:
    """What was last said by the gateway."""
    return Seen(
        gateway=gateway_report(gateway(bundle=bundle)), plant=None if plant is None else plant_report(plant)
    )


CONFIRMED = Finding(status="True", reason=Reason.CONFIRMED, message="a person has confirmed all keys")
IN_USE = (
    CredentialInUse(name="hmac", source="Generated", key_id="1f3a5c7e9b2d4f60"),
    CredentialInUse(name="mtls", source="Generated", key_id="5c0ffee1", not_after="2028-11-25T12:00:00Z"),
)
WELL = PlantFacts(
    name="brno-roof-3",
    namespace="energy",
    generation=3,
    plant=site(),
    credentials=CredentialFacts(in_use=IN_USE, registered=CONFIRMED),
    placement=PlacementFacts(shard=0, gateway="voke-gw-default-0"),
    bundle=BundleFacts(generation=7, plant_generation=3),
    seen=seen(on_gateway()),
)
"""All is well."""


def saying(plant: PlantStatus | None, *, bundle: int | None = 7, **facts: Any) -> PlantFacts:
    """All is well but what the gateway says."""
    return replace(WELL, seen=seen(plant, bundle=bundle), **facts)
