"""DeviceProfile: a register map written once per device model, used by thousands of plants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from voke_api.resources.common import API_VERSION, Metadata, Model
from voke_api.resources.points import Limits, Point


class DeviceProfileSpec(Model):
    """A register map."""

    type: Literal["METER", "INVERTER", "BATTERY"]
    """Type of the devices that may use this profile."""
    limits: Limits = Limits()
    """What this model's Modbus server can take."""
    points: tuple[Point, ...] = Field(min_length=1, max_length=256)
    """What is read."""


class DeviceProfile(Model):
    """A register map written once per device model."""

    api_version: Literal["voke.lovinka.com/v1alpha1"] = API_VERSION
    kind: Literal["DeviceProfile"] = "DeviceProfile"
    metadata: Metadata
    spec: DeviceProfileSpec
