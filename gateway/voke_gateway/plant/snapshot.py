"""From readings to the bodies of telemetry messages (protocol §6.1): what was read, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from voke_api.resolved import ResolvedPlant
from voke_gateway.drivers.base import DeviceReading, Value
from voke_gateway.protocol.envelope import iso_timestamp
from voke_gateway.protocol.split import DeviceTemplate, telemetry_bodies

Content = Mapping[str, Value] | int
"""What is published of one reading: values by field, or a cabinet's mask."""


class Reported(NamedTuple):
    """The part of a reading that goes into a message."""

    started_at: float
    """Wall clock just before the first request of the reading."""
    content: Content


class SnapshotFormat:
    """What a plant publishes, worked out once per configuration."""

    def __init__(self, plant: ResolvedPlant) -> None:
        self._templates = tuple(DeviceTemplate(device.external_id, device.type) for device in plant.devices)
        self._published = {
            device.external_id: (
                position,
                None
                if all(point.publish for point in device.points)
                else tuple(point.field for point in device.points if point.publish),
            )
            for position, device in enumerate(plant.devices)
        }
        """Place and fields of each device; None: all of them."""

    def position(self, device: str) -> int:
        """The device's place in the plant, which is also its place in a message."""
        return self._published[device][0]

    def report(self, reading: DeviceReading) -> Reported | None:
        """What is published of ``reading``; None: nothing was read."""
        if reading.mask is not None:
            return Reported(reading.started_at, reading.mask)
        content, published = reading.values, self._published[reading.device][1]
        if published is not None:
            content = {field: content[field] for field in published if field in content}
        return Reported(reading.started_at, content) if content else None

    def bodies(self, reported: Mapping[int, Reported]) -> list[bytes]:
        """Message bodies for reports by position; ``timestamp`` is the start of the earliest read among them.

        Several bodies if one would be too large; each device is in exactly one, or its values are.
        """
        earliest = min(report.started_at for report in reported.values())
        templates = self._templates
        return telemetry_bodies(
            iso_timestamp(earliest),
            [(templates[position], reported[position].content) for position in sorted(reported)],
        )
