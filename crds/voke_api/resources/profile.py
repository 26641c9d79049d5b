"""DeviceProfile: a register map written once per device model, used by thousands of plants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from voke_api.resources.common import API_VERSION, KeyedBy, Metadata, Model, Ruled, Violation
from voke_api.resources.points import Limits, Point


class DeviceProfileSpec(Ruled):
    """A register map."""

    type: Literal["METER", "INVERTER", "BATTERY"]
    """Type of the devices that may use this profile."""
    limits: Limits = Limits()
    """What this model's Modbus server can take."""
    points: Annotated[tuple[Point, ...], KeyedBy(("field",))] = Field(min_length=1, max_length=256)
    """What is read, by field."""

    def violations(self) -> Iterator[Violation]:
        """ScaleFrom leads to an int16 of the same profile."""
        types = {point.field: point.type for point in self.points}
        for index, point in enumerate(self.points):
            if point.scale_from is not None and types.get(point.scale_from) != "int16":
                yield Violation(
                    ("points", index, "scaleFrom"),
                    f"scaleFrom must name an int16 point of this profile; {point.scale_from} is "
                    + types.get(point.scale_from, "not there"),
                    point.scale_from,
                )


class DeviceProfile(Model):
    """A register map written once per device model."""

    api_version: Literal["voke.lovinka.com/v1alpha1"] = API_VERSION
    kind: Literal["DeviceProfile"] = "DeviceProfile"
    metadata: Metadata
    spec: DeviceProfileSpec
