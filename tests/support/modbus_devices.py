"""Devices and points for driver tests, with defaults for what a test is not about."""

from __future__ import annotations

from typing import Any

from voke_api.resolved import DeviceLimits, MaskBit, ResolvedDevice
from voke_api.resources.points import Point


def point(field: str, address: int = 0, type_: str = "uint16", **more: Any) -> Point:
    """A point in holding registers unless ``table`` says otherwise."""
    return Point(**{"field": field, "table": "holding", "address": address, "type": type_, **more})


def device(
    *points: Point,
    name: str = "INV1",
    unit: int = 1,
    mask: tuple[MaskBit, ...] = (),
    limits: DeviceLimits | None = None,
    raw_fields: tuple[str, ...] = (),
) -> ResolvedDevice:
    """A device on connection ``plc1``."""
    return ResolvedDevice(
        external_id=name,
        type="CABINET" if mask else "INVERTER",
        connection="plc1",
        unit_id=unit,
        limits=limits or DeviceLimits(),
        points=points,
        mask=mask,
        raw_fields=frozenset(raw_fields),
    )


def unit(number: int) -> ResolvedDevice:
    """Device ``U<n>`` on unit n with one point, x, in holding 40."""
    return device(point("x", 40), name=f"U{number}", unit=number)
