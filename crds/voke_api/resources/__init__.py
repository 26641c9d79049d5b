"""The three resource kinds of ``voke.lovinka.com/v1alpha1``: Plant, DeviceProfile, GatewayPool."""

from voke_api.resources.common import API_VERSION, GROUP, Metadata
from voke_api.resources.plant import Plant, PlantSpec
from voke_api.resources.pool import GatewayPool, GatewayPoolSpec
from voke_api.resources.profile import DeviceProfile, DeviceProfileSpec

__all__ = [
    "API_VERSION",
    "GROUP",
    "DeviceProfile",
    "DeviceProfileSpec",
    "GatewayPool",
    "GatewayPoolSpec",
    "Metadata",
    "Plant",
    "PlantSpec",
]
