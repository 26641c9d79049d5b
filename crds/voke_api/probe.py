"""What a gateway answers when a plant is probed: the contract between gateway and ``kubectl voke probe``.

The requests as they were made and the registers as they came. What they mean is for the reader to work out. Same
form and rules as :mod:`voke_api.status`.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from voke_api.resources.common import Table
from voke_api.status import Answer, FaultStatus

PORT: Final = 9101
"""On the loopback address of a gateway's pod, for whoever may forward a port to it."""
PATH: Final = "/probe"
"""Takes ``plant=NAME`` and, as often as wanted, ``device=ID``."""


class Exchange(Answer):
    """One read request and what became of it."""

    unit: int
    table: Table
    address: int
    count: int
    """Registers, or coils and discrete inputs."""
    words: tuple[int, ...] | None = None
    """Registers as unsigned numbers, high byte first as on the wire; coils as 0 and 1. Absent: see ``fault``."""
    fault: FaultStatus | None = None
    """Why nothing came."""


class DeviceProbe(Answer):
    """One device, read once."""

    external_id: str
    seconds: float = 0.0
    """How long that took, waiting for the connection included."""
    exchanges: tuple[Exchange, ...] = ()
    """In order; none if it was not asked at all."""
    fault: FaultStatus | None = None
    """Why nothing at all was answered, or why it was not asked."""
    faults: dict[str, FaultStatus] = Field(default_factory=dict)
    """Why single points were not read, by field (``bit:N`` for a mask's), as far as something else was."""


class PlantProbe(Answer):
    """The whole answer."""

    gateway: str
    """Name of the gateway: its pod."""
    plant: str
    plant_id: str = ""
    bundle_generation: int | None = None
    """Generation of the bundle that says what the gateway reads."""
    devices: tuple[DeviceProbe, ...] = ()
    """In the order of the Plant."""
