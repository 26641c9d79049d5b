"""Plants for tests, made from plain documents through the same door as a person's files."""

from __future__ import annotations

import json
from typing import Any

from voke_api.resolve import resolve
from voke_api.resolved import ResolvedPlant
from voke_api.resources import Plant

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"


def battery_document(**spec: Any) -> dict[str, Any]:
    """A Plant with one battery, BAT1, whose set-point may be written; ``spec`` adds and replaces keys."""
    return {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "Plant",
        "metadata": {"name": "site"},
        "spec": {
            "plantId": PLANT_ID,
            "auth": {"method": "MTLS"},
            "connections": [{"name": "plc1", "modbusTcp": {"host": "127.0.0.1"}}],
            "devices": [
                {
                    "externalId": "BAT1",
                    "type": "BATTERY",
                    "connection": "plc1",
                    "points": [
                        {
                            "field": "socPercent",
                            "table": "input",
                            "address": 10,
                            "type": "uint16",
                            "scale": 0.1,
                        },
                        {"field": "faultCode", "table": "input", "address": 20, "type": "uint16"},
                        {
                            "field": "state",
                            "table": "input",
                            "address": 30,
                            "type": "string",
                            "length": 8,
                            "publish": False,
                        },
                        {
                            "field": "setpointW",
                            "table": "holding",
                            "address": 40,
                            "type": "int32",
                            "writable": {"min": -50000, "max": 50000},
                            "publish": False,
                        },
                        {
                            "field": "enable",
                            "table": "coil",
                            "address": 1,
                            "type": "bool",
                            "writable": {},
                            "publish": False,
                        },
                    ],
                }
            ],
            **spec,
        },
    }


def small_battery_document(**spec: Any) -> dict[str, Any]:
    """The same with four points only, whatever else it may get: socPercent, faultCode, setpointW and enable."""
    document = battery_document(**spec)
    device = document["spec"]["devices"][0]
    fields = ("socPercent", "faultCode", "setpointW", "enable")
    device["points"] = [point for point in device["points"] if point["field"] in fields]
    return document


def resolved(document: dict[str, Any]) -> ResolvedPlant:
    """The document as a gateway sees it; fails on any error."""
    plant = Plant.model_validate_json(json.dumps(document), strict=True)
    result, problems = resolve(plant, {}, None)
    assert result is not None, problems
    return result


def battery_plant(**spec: Any) -> ResolvedPlant:
    """:func:`battery_document`, resolved."""
    return resolved(battery_document(**spec))
