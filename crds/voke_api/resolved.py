"""What one gateway is to do for one plant: profiles merged, defaults filled in, masks spelled out.

A :class:`ResolvedPlant` is what every part of the gateway is configured from. It is made by
:func:`voke_api.resolve.resolve` and holds no secret material; that is in :class:`PlantCredentials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from voke_api.resources.common import AuthMethod, DeviceType, Table
from voke_api.resources.plant import Alarm, Command, Connection, FailSafe, Heartbeat
from voke_api.resources.points import Point
from voke_api.resources.pool import Voke


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimits:
    """What a device's Modbus server can take, defaults filled in."""

    max_registers: int = 100
    max_gap: int = 8
    pause: float = 0.0
    """Seconds of silence after every request."""
    write_function: Literal["auto", "single", "multiple"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskBit:
    """One bit of a cabinet's mask."""

    bit: int
    """0–31, 0 = least significant."""
    table: Table
    address: int
    register_bit: int | None = None
    """For holding and input: bit of the register as sent, high byte first, 0 = least significant."""
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedDevice:
    """A device with its profile merged in. Either ``points`` or ``mask`` is non-empty."""

    external_id: str
    type: DeviceType
    connection: str
    unit_id: int
    limits: DeviceLimits = DeviceLimits()
    every: int = 1
    expect_offline: bool = False
    points: tuple[Point, ...] = ()
    mask: tuple[MaskBit, ...] = ()
    raw_fields: frozenset[str] = frozenset()
    """Fields whose raw unsigned value is wanted beside the scaled one (alarms on a bit)."""

    def point(self, name: str) -> Point:
        """The point of that field; KeyError if there is none."""
        for point in self.points:
            if point.field == name:
                return point
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPlant:
    """Everything a gateway needs to know about one plant, except its keys."""

    name: str
    plant_id: str
    namespace: str = "default"
    pool: str = "default"
    auth_method: AuthMethod
    suspend: bool = False
    interval: float
    """Seconds between ticks."""
    assemble_within: float
    """Seconds a snapshot waits for slow devices."""
    command_max_age: float
    """Seconds; also the MQTT session expiry."""
    read_only: str | None = None
    """Why no register may be written; None: writing is allowed."""
    connections: tuple[Connection, ...]
    devices: tuple[ResolvedDevice, ...]
    commands: Mapping[str, Command] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()
    fail_safe: FailSafe | None = None
    heartbeats: tuple[Heartbeat, ...] = ()
    voke: Voke = field(default_factory=Voke)

    def device(self, external_id: str) -> ResolvedDevice:
        """The device of that id; KeyError if there is none."""
        for device in self.devices:
            if device.external_id == external_id:
                return device
        raise KeyError(external_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantCredentials:
    """A plant's identity and keys. Never shown: its repr names what is there, not what it is."""

    client_id: str
    username: str
    hmac_key: bytes
    """The secret string's UTF-8 bytes (protocol §4), without trailing newline."""
    password: str | None = None
    tls_certificate: bytes | None = None
    """PEM, leaf first."""
    tls_key: bytes | None = None
    """PEM."""
    jwt_private_key: bytes | None = None
    """PEM."""
    broker_ca: bytes | None = None
    """PEM of the root that the broker's certificate must lead to; None: the system's trust store."""

    def __repr__(self) -> str:
        """Names of the credentials present, without material."""
        present = [
            name
            for name in ("hmac_key", "password", "tls_certificate", "tls_key", "jwt_private_key", "broker_ca")
            if getattr(self, name)
        ]
        return f"PlantCredentials(client_id={self.client_id!r}, has={'+'.join(present)})"
