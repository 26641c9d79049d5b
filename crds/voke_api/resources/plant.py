"""Plant: one site, one Voke plant id, one MQTT identity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from voke_api.problems import ProblemClass
from voke_api.resources.common import (
    API_VERSION,
    COMMAND_TYPE,
    AuthMethod,
    DeviceType,
    Duration,
    ExternalId,
    FieldName,
    Host,
    KeyedBy,
    LocalName,
    Metadata,
    Model,
    ResourceName,
    Ruled,
    Scalar,
    SecretRef,
    Severity,
    TextOrScalar,
    Uuid,
    Violation,
    WritesMode,
    at_most,
    format_duration,
    listed,
    name_too_long,
)
from voke_api.resources.points import Limits, Point, Raw

ParameterName = Annotated[str, Field(min_length=1, max_length=64)]
CommandType = Annotated[str, Field(pattern=COMMAND_TYPE, max_length=64)]
THRESHOLDS: Final = ("gt", "gte", "lt", "lte")
"""Keys of ``when`` that compare with a threshold, in the order of their names."""
MAX_NAME: Final = 52
"""Longest name of a Plant: its Secret is called voke-plant-<name>, and names of 63 are common limits."""


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


MODBUS_PORT: Final = 502


class ModbusTcp(Model):
    """A Modbus TCP server."""

    host: Host
    """Host name or address."""
    port: Annotated[int, Field(ge=1, le=65535)] = MODBUS_PORT
    """TCP port."""
    timeout: Duration = Field(default=2.0, ge=0.01, le=60.0)
    """How long one request may take, connecting included."""
    settle_after_connect: Duration = Field(default=0.0, le=60.0)
    """Silence kept after connecting, for servers that need it."""
    close_after_poll: bool = False
    """true: the connection is closed after each poll, for servers with few slots."""


class Connection(Ruled):
    """One PLC endpoint. Exactly one protocol."""

    name: LocalName
    """Name by which devices refer to it."""
    modbus_tcp: ModbusTcp | None = None
    """A Modbus TCP server."""

    def violations(self) -> Iterator[Violation]:
        """One protocol."""
        if self.modbus_tcp is None:
            yield Violation((), "a connection needs its protocol: modbusTcp")


class Device(Ruled):
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
    points: Annotated[tuple[Point, ...], KeyedBy(("field",))] = Field(default=(), max_length=256)
    """What is read; with a profile, these replace its points of the same field."""
    raw: Raw | None = None
    """For a CABINET: where its mask comes from."""
    limits: Limits = Limits()
    """What this device's Modbus server can take."""
    every: Annotated[int, Field(ge=1, le=86_400)] = 1
    """Polled on every n-th tick."""
    expect_offline: bool = False
    """true: silence is normal (an inverter at night) and touches no condition."""

    def violations(self) -> Iterator[Violation]:
        """A cabinet has a mask, the others have points."""
        has_points = self.profile is not None or bool(self.points)
        if self.type == "CABINET":
            if self.raw is None:
                yield Violation(("raw",), "a CABINET needs raw, the place of its mask")
            if has_points:
                what = "profile" if self.profile is not None else "points"
                yield Violation((what,), f"a CABINET has raw and nothing else; take {what} out")
        elif self.raw is not None:
            yield Violation(("raw",), f"raw is for a CABINET; a {self.type} has a profile, points or both")
        elif not has_points:
            yield Violation(("points",), f"a {self.type} needs a profile, points or both")


class ReadBack(Model):
    """The point is read after the write, and compared."""

    field: FieldName | None = None
    """Field to read instead of the one written."""
    within: Duration = Field(default=0.0, le=300.0)
    """How long the value may take to appear; 0s: it is read once."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest difference that still confirms, in engineering units."""


def _read_back_form(value: object) -> str:
    return "none" if isinstance(value, str) else "object"


def _read_back(value: object) -> object:
    if isinstance(value, str) and value != "none":
        raise PydanticCustomError(
            "voke_schema", "readBack is none, or an object with field, within, tolerance"
        )
    return value


class ConstantWrite(Model):
    """A fixed value for a writable point."""

    device: ExternalId
    """Device of the point."""
    field: FieldName
    """A writable point."""
    value: Scalar
    """Value in engineering units; a boolean for coils."""


class CommandWrite(Ruled):
    """One write of a command: a parameter of the command, or a constant."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["parameter"]}, {"required": ["value"]}]}
    )

    device: ExternalId
    """Device of the point."""
    field: FieldName
    """A writable point."""
    parameter: ParameterName | None = None
    """Top-level key of the command's p."""
    value: Scalar | None = None
    """A constant instead of a parameter."""
    factor: float = 1.0
    """The parameter is multiplied by this."""
    min: float | None = None
    """Smallest value after factor; below it the command is refused."""
    max: float | None = None
    """Largest value after factor; above it the command is refused."""
    read_back: Annotated[
        Annotated[ReadBack, Tag("object")] | Annotated[Literal["none"], Tag("none")],
        Discriminator(_read_back_form),
        BeforeValidator(_read_back),
    ] = ReadBack()
    """How the write is confirmed: an object, or the word none for write-only registers."""

    def violations(self) -> Iterator[Violation]:
        """A parameter or a constant, and what goes with each."""
        if (self.parameter is None) == (self.value is None):
            yield Violation(
                (),
                "a write has either parameter (a key of the command's p) or value (a constant)",
                problem_class=ProblemClass.SCHEMA,
            )
        if self.parameter is None and self.value is not None:
            for name, given in (("min", self.min), ("max", self.max)):
                if given is not None:
                    yield Violation((name,), f"{name} bounds a parameter; a constant needs none", given)
            if self.factor != 1:
                yield Violation(
                    ("factor",), "factor is for a parameter; write the constant itself", self.factor
                )
        if self.factor == 0:
            yield Violation(("factor",), "factor must not be 0: the parameter would have no effect", 0)
        if not at_most(self.min, self.max):
            yield Violation(("min",), f"min must be at most max, {self.max:g}", self.min)


class RevertAfter(Ruled):
    """Writes that undo the command after a time."""

    parameter: ParameterName | None = None
    """Top-level key of the command's p: seconds."""
    default: Duration = Field(ge=1.0)
    """Used when the parameter is absent."""
    max: Duration = Field(ge=1.0)
    """A longer time is refused."""
    writes: tuple[ConstantWrite, ...] = Field(min_length=1, max_length=32)
    """What is written then."""

    def violations(self) -> Iterator[Violation]:
        """The default is a time that would be accepted."""
        if self.default > self.max:
            yield Violation(
                ("default",),
                f"default must be at most max, {format_duration(self.max)}",
                format_duration(self.default),
            )


class Command(Model):
    """What a command type does."""

    writes: tuple[CommandWrite, ...] = Field(min_length=1, max_length=32)
    """In order; all are validated before the first is made."""
    revert_after: RevertAfter | None = None
    """Writes that undo the command after a time."""


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


class When(Ruled):
    """When the alarm's condition holds. Exactly one key."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    gt: float | None = None
    """Value greater than."""
    gte: float | None = None
    """Value greater than or equal to."""
    lt: float | None = None
    """Value less than."""
    lte: float | None = None
    """Value less than or equal to."""
    eq: TextOrScalar | None = None
    """Value equal to."""
    ne: TextOrScalar | None = None
    """Value not equal to."""
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    """Bit of the raw word or mask is set."""
    not_read_for: Annotated[Duration, Field(ge=0.1)] | None = None
    """Not read for this long."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that are given, as written in the file."""
        names = {name: field.alias or name for name, field in type(self).model_fields.items()}
        return tuple(alias for name, alias in names.items() if getattr(self, name) is not None)

    def violations(self) -> Iterator[Violation]:
        """One condition."""
        if len(self.keys) != 1:
            given = f", not {' and '.join(self.keys)}" if self.keys else ""
            message = f"when has exactly one of gt, gte, lt, lte, eq, ne, bit, notReadFor{given}"
            yield Violation((), message, problem_class=ProblemClass.SCHEMA)


class Alarm(Ruled):
    """A condition that is reported to Voke."""

    name: LocalName
    """Unique within the plant."""
    device: ExternalId
    """Device that is watched."""
    field: FieldName | None = None
    """Point that is watched; left out for a cabinet's bits and for notReadFor of the whole device."""
    when: When
    """When the alarm's condition holds. Exactly one key."""
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

    def violations(self) -> Iterator[Violation]:
        """What goes with which condition."""
        (key,) = self.when.keys
        if self.hysteresis is not None and key not in THRESHOLDS:
            yield Violation(
                ("hysteresis",),
                f"hysteresis is for gt, gte, lt and lte; {key} has no threshold to come back from",
                self.hysteresis,
            )
        if self.field is None and key not in {"bit", "notReadFor"}:
            yield Violation(
                ("field",), "only bit and notReadFor go without a field; name the one whose value is compared"
            )


class PlantSpec(Ruled):
    """One site: where its PLCs are, what is read and written, and how it logs in at Voke."""

    plant_id: Uuid
    """Voke's id of the plant, a UUID in lower case; immutable, and one Plant per id."""
    pool: LocalName = "default"
    """GatewayPool in the same namespace; the one called default need not exist."""
    suspend: bool = False
    """true: drain, close PLCs and session, keep Secrets."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """Retain: the Secret outlives the Plant."""
    auth: Auth
    """How the plant logs in at Voke."""
    credentials: CredentialSources = CredentialSources()
    """Where the plant's credentials come from; each one left out is generated."""
    telemetry: Telemetry = Telemetry()
    """When the plant is read and reported."""
    writes: WritesMode = "Enabled"
    """Disabled: no register is ever written."""
    command_max_age: Duration = Field(default=300.0, ge=1.0, le=30 * 86_400.0)
    """Age beyond which a command is refused, and the MQTT session's expiry."""
    connections: Annotated[tuple[Connection, ...], KeyedBy(("name",))] = Field(min_length=1, max_length=64)
    """The plant's PLCs, by name."""
    devices: Annotated[tuple[Device, ...], KeyedBy(("externalId",))] = Field(min_length=1, max_length=256)
    """Voke's sub-devices, by externalId."""
    commands: dict[CommandType, Command] = Field(default={}, max_length=32)
    """By command type (A–Z, 0–9, _), such as CHARGE; GET_INFO is built in."""
    fail_safe: FailSafe | None = None
    """Writes made once when Voke has been out of reach for a time."""
    heartbeats: Annotated[tuple[Heartbeat, ...], KeyedBy(("device", "field"))] = Field(
        default=(), max_length=32
    )
    """Points written regularly."""
    alarms: Annotated[tuple[Alarm, ...], KeyedBy(("name",))] = Field(default=(), max_length=128)
    """What is reported to Voke as an alarm, by name."""

    def violations(self) -> Iterator[Violation]:
        """Connections exist; credentials and times fit each other."""
        yield from self._connections_exist()
        if self.auth.method == "PASSWORD" and self.credentials.password is None:
            yield Violation(
                ("credentials", "password"),
                "the method PASSWORD needs credentials.password.secretRef: Voke makes user name and password",
            )
        telemetry = self.telemetry
        if telemetry.assemble_within is not None and telemetry.assemble_within > telemetry.interval:
            yield Violation(
                ("telemetry", "assembleWithin"),
                f"assembleWithin must be at most the interval, {format_duration(telemetry.interval)}",
                format_duration(telemetry.assemble_within),
            )
        if "GET_INFO" in self.commands:
            yield Violation(("commands", "GET_INFO"), "GET_INFO is built in; take it out")

    def _connections_exist(self) -> Iterator[Violation]:
        names = [connection.name for connection in self.connections]
        for index, device in enumerate(self.devices):
            if device.connection not in names:
                yield Violation(
                    ("devices", index, "connection"),
                    f"there is no connection {device.connection}; there is {listed(names)}",
                    device.connection,
                )


class Plant(Ruled):
    """One site, one Voke plant id, one MQTT identity."""

    api_version: Literal["voke.lovinka.com/v1alpha1"] = API_VERSION
    kind: Literal["Plant"] = "Plant"
    metadata: Metadata
    spec: PlantSpec

    def violations(self) -> Iterator[Violation]:
        """A name short enough for what is named after it."""
        yield from name_too_long(self.kind, self.metadata.name, MAX_NAME)
