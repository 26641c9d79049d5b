"""Plant: one site, one Voke plant id, one MQTT identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voke_api.resources.common import (
    API_VERSION,
    AuthMethod,
    DeviceType,
    Duration,
    ExternalId,
    FieldName,
    LocalName,
    Metadata,
    Model,
    ResourceName,
    SecretRef,
    Severity,
    Uuid,
    WritesMode,
)
from voke_api.resources.points import Limits, Point, Raw

ParameterName = Annotated[str, Field(min_length=1, max_length=64)]
CommandType = Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", max_length=64)]


class Auth(Model):
    """How the plant logs in at Voke."""

    method: AuthMethod
    """MTLS: client certificate. JWT: signed token. PASSWORD: user name and password."""


class CredentialSource(Model):
    """Where one credential comes from; left out: it is generated."""

    secret_ref: SecretRef
    """Secret that holds it."""


class CredentialSources(Model):
    """Where the plant's credentials come from; each one left out is generated."""

    hmac: CredentialSource | None = None
    """Key hmac.key."""
    password: CredentialSource | None = None
    """Keys username, password and, optionally, clientId. Needed for the method PASSWORD."""
    mtls: CredentialSource | None = None
    """Keys tls.crt and tls.key."""
    jwt: CredentialSource | None = None
    """Key jwt-private.pem."""


class Telemetry(Model):
    """When the plant is read and reported."""

    interval: Duration = Field(default=10.0, ge=0.1, le=86_400.0)
    """Time between ticks."""
    assemble_within: Duration | None = Field(default=None, ge=0.01)
    """How long a snapshot waits for slow devices (default: min(interval/2, 1s))."""


class ModbusTcp(Model):
    """A Modbus TCP server."""

    host: Annotated[str, Field(min_length=1, max_length=253)]
    """Host name or address."""
    port: Annotated[int, Field(ge=1, le=65535)] = 502
    """TCP port."""
    timeout: Duration = Field(default=2.0, ge=0.01, le=60.0)
    """How long one request may take, connecting included."""
    settle_after_connect: Duration = Field(default=0.0, le=60.0)
    """Silence kept after connecting, for servers that need it."""
    close_after_poll: bool = False
    """true: the connection is closed after each poll, for servers with few slots."""


class Connection(Model):
    """One PLC endpoint. Exactly one protocol."""

    name: LocalName
    """Name by which devices refer to it."""
    modbus_tcp: ModbusTcp | None = None
    """Modbus TCP."""


class Device(Model):
    """One of Voke's sub-devices: a cabinet, meter, inverter or battery."""

    external_id: ExternalId
    """Voke's id, unique within the plant."""
    type: DeviceType
    """Must equal the type of Voke's device template."""
    connection: LocalName
    """Name of one of the plant's connections."""
    unit_id: Annotated[int, Field(ge=0, le=255)] = 1
    """Modbus unit id."""
    profile: ResourceName | None = None
    """DeviceProfile in the same namespace."""
    points: tuple[Point, ...] = Field(default=(), max_length=256)
    """What is read; with a profile, these replace its points of the same field."""
    raw: Raw | None = None
    """For a CABINET: where its mask comes from."""
    limits: Limits = Limits()
    """What this device's Modbus server can take."""
    every: Annotated[int, Field(ge=1, le=86_400)] = 1
    """Polled on every n-th tick."""
    expect_offline: bool = False
    """true: silence is normal (an inverter at night) and touches no condition."""


class ReadBack(Model):
    """How a write is confirmed."""

    field: FieldName | None = None
    """Field to read instead of the one written."""
    within: Duration = Field(default=0.0, le=300.0)
    """How long the value may take to appear; 0s: it is read once."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest difference that still confirms, in engineering units."""


class ConstantWrite(Model):
    """A fixed value for a writable point."""

    device: ExternalId
    """Device of the point."""
    field: FieldName
    """A writable point."""
    value: float | bool
    """Value in engineering units; a boolean for coils."""


class CommandWrite(Model):
    """One write of a command: a parameter of the command, or a constant."""

    device: ExternalId
    """Device of the point."""
    field: FieldName
    """A writable point."""
    parameter: ParameterName | None = None
    """Top-level key of the command's p."""
    value: float | bool | None = None
    """A constant instead of a parameter."""
    factor: float = 1.0
    """The parameter is multiplied by this."""
    min: float | None = None
    """Smallest value after factor; below it the command is refused."""
    max: float | None = None
    """Largest value after factor; above it the command is refused."""
    read_back: ReadBack | Literal["none"] = ReadBack()
    """How the write is confirmed; none for write-only registers."""


class RevertAfter(Model):
    """Writes that undo the command after a time."""

    parameter: ParameterName | None = None
    """Top-level key of the command's p: seconds."""
    default: Duration
    """Used when the parameter is absent."""
    max: Duration
    """A longer time is refused."""
    writes: tuple[ConstantWrite, ...] = Field(min_length=1, max_length=32)
    """What is written then."""


class Command(Model):
    """What a command type does."""

    writes: tuple[CommandWrite, ...] = Field(min_length=1, max_length=32)
    """In order; all are validated before the first is made."""
    revert_after: RevertAfter | None = None
    """Undo after a time."""


class FailSafe(Model):
    """Writes made once when Voke has been out of reach for a time."""

    after: Duration = Field(ge=1.0)
    """How long Voke must be out of reach."""
    writes: tuple[ConstantWrite, ...] = Field(min_length=1, max_length=32)
    """What is written."""


class Heartbeat(Model):
    """A point written regularly, so that the PLC notices a dead gateway."""

    device: ExternalId
    """Device of the point."""
    field: FieldName
    """A writable point."""
    every: Duration = Field(ge=0.1)
    """Time between writes."""
    mode: Literal["counter", "toggle"]
    """counter wraps at the type's maximum; toggle alternates 0 and 1."""


class When(Model):
    """When an alarm's condition holds. Exactly one key."""

    gt: float | None = None
    """Value greater than."""
    gte: float | None = None
    """Value greater than or equal to."""
    lt: float | None = None
    """Value less than."""
    lte: float | None = None
    """Value less than or equal to."""
    eq: float | bool | str | None = None
    """Value equal to."""
    ne: float | bool | str | None = None
    """Value not equal to."""
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    """Bit of the raw word or mask is set."""
    not_read_for: Duration | None = None
    """Not read for this long."""


class Alarm(Model):
    """A condition that is reported to Voke."""

    name: LocalName
    """Unique within the plant."""
    device: ExternalId
    """Device that is watched."""
    field: FieldName | None = None
    """Point that is watched; left out for a cabinet's bits and for notReadFor of the whole device."""
    when: When
    """The condition."""
    for_: Annotated[Duration, Field(alias="for")] = 0.0
    """How long the condition must hold before RAISE."""
    clear_for: Duration = 0.0
    """How long it must not hold before RESOLVE."""
    hysteresis: Annotated[float, Field(ge=0)] | None = None
    """For gt, gte, lt and lte: distance from the threshold at which the condition ends."""
    code: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Voke's fault code."""
    severity: Severity
    """WARNING 1, ERROR 2, CRITICAL 3 (protocol §6.5)."""


class PlantSpec(Model):
    """One site: where its PLCs are, what is read and written, and how it logs in at Voke."""

    plant_id: Uuid
    """Voke's id of the plant; immutable."""
    pool: LocalName = "default"
    """GatewayPool in the same namespace."""
    suspend: bool = False
    """true: drain, close PLCs and session, keep Secrets."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """Retain: the Secret outlives the Plant."""
    auth: Auth
    """How the plant logs in."""
    credentials: CredentialSources = CredentialSources()
    """Where its credentials come from."""
    telemetry: Telemetry = Telemetry()
    """When it is read and reported."""
    writes: WritesMode = "Enabled"
    """Disabled: no register is ever written."""
    command_max_age: Duration = Field(default=300.0, ge=1.0)
    """Age beyond which a command is refused, and the MQTT session's expiry."""
    connections: tuple[Connection, ...] = Field(min_length=1, max_length=64)
    """PLC endpoints."""
    devices: tuple[Device, ...] = Field(min_length=1, max_length=256)
    """Voke's sub-devices."""
    commands: dict[CommandType, Command] = Field(default={}, max_length=32)
    """What each command type does; GET_INFO is built in."""
    fail_safe: FailSafe | None = None
    """Writes for when Voke is out of reach."""
    heartbeats: tuple[Heartbeat, ...] = Field(default=(), max_length=32)
    """Points written regularly."""
    alarms: tuple[Alarm, ...] = Field(default=(), max_length=128)
    """Conditions that are reported."""


class Plant(Model):
    """One site, one Voke plant id, one MQTT identity."""

    api_version: Literal["voke.lovinka.com/v1alpha1"] = API_VERSION
    kind: Literal["Plant"] = "Plant"
    metadata: Metadata
    spec: PlantSpec
