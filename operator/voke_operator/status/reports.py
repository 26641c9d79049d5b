"""The part of a gateway's answer that conditions are made from, small enough to keep for 10,000 plants.

Two reports are equal if nothing changed that would be said: ages, counters and healthy devices are not in it,
and texts are without what changes while nothing changes ("next try in 7 s").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from voke_api.status import DeviceStatus, GatewayStatus, PlantStatus

_VOLATILE: Final = re.compile(
    r"[;,.] next (?:try|attempt) in [\d.]+ (?:ms|s|min|h)"
    r"| in [\d.e+-]+ s\b"
    r"| \(one with transaction id .*?\)"
    r"|, unit \d+$"
)
_ADDRESS: Final = re.compile(r" on (?:holding|input|coil|discrete) \d+(?:–\d+)?\b")
"""What was asked for when the connection was lost: any block, by chance."""
_MOST_POINTS: Final = 3
"""Refused points that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class DeviceTrouble:
    """A device that is not read, or points of it."""

    device: str
    """externalId."""
    kind: str
    """FaultStatus.kind, such as timeout; empty: not asked yet."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantReport:
    """One plant on a gateway."""

    plant_id: str
    state: Literal["Running", "Suspended", "Stopping", "Invalid"] = "Running"
    message: str = ""
    """Why it is not simply running."""
    connected: bool = False
    uplink_reason: str = ""
    """Stable word of the gateway's; may be there although the session is up."""
    uplink_message: str = ""
    devices: int = 0
    """Declared."""
    read: int = 0
    """Whose last pass brought a value."""
    silent: tuple[DeviceTrouble, ...] = ()
    """Not read, in order of declaration."""
    sleeping: tuple[str, ...] = ()
    """externalIds of those not read whose silence is expected."""
    refused: tuple[DeviceTrouble, ...] = ()
    """The first points that devices refuse, as ``INV1.voltageV``."""
    refused_points: int = 0
    """How many there are in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayReport:
    """One gateway."""

    gateway: str
    version: str
    bundle_formats: tuple[int, ...]
    bundle_generation: int | None
    bundle_problems: tuple[str, ...]
    started_at: float
    """Epoch seconds."""


def plant_report(status: PlantStatus) -> PlantReport:
    """What matters of ``status``."""
    devices = status.devices
    missing = [device for device in devices if not _is_read(device)]
    refused = [
        DeviceTrouble(f"{device.external_id}.{field}", fault.kind, stable(fault.detail))
        for device in devices
        if _is_read(device)
        for field, fault in sorted(device.bad_points.items())
    ]
    session = status.session
    return PlantReport(
        plant_id=status.plant_id,
        state=status.state,
        message=status.message,
        connected=session.connected,
        uplink_reason=session.reason,
        uplink_message=stable(session.message),
        devices=len(devices),
        read=len(devices) - len(missing),
        silent=tuple(_trouble(device) for device in missing if not device.expect_offline),
        sleeping=tuple(device.external_id for device in missing if device.expect_offline),
        refused=tuple(refused[:_MOST_POINTS]),
        refused_points=len(refused),
    )


def gateway_report(status: GatewayStatus) -> GatewayReport:
    """What matters of ``status``, its plants aside."""
    return GatewayReport(
        gateway=status.gateway,
        version=status.version,
        bundle_formats=status.bundle_formats,
        bundle_generation=status.bundle_generation,
        bundle_problems=status.bundle_problems,
        started_at=status.started_at,
    )


def stable(text: str) -> str:
    """``text`` without what changes while nothing changes."""
    return _VOLATILE.sub("", text)


def _is_read(device: DeviceStatus) -> bool:
    return device.fault is None and device.last_read_at is not None


def _trouble(device: DeviceStatus) -> DeviceTrouble:
    fault = device.fault
    name = device.external_id
    if fault is None:
        return DeviceTrouble(name, "")
    detail = stable(fault.detail)
    return DeviceTrouble(name, fault.kind, detail if fault.kind == "refused" else _ADDRESS.sub("", detail))
