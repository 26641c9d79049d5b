"""What a gateway says about itself at ``/status``: the contract between gateway, operator and ``voke status``.

JSON with camelCase keys and RFC 3339 times. Readers ignore keys they do not know, and every key has a
default, so a gateway and an operator one version apart understand each other. Nothing here is secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from voke_api.bundle import MAX_GENERATION


def parse_instant(text: object) -> object:
    """Epoch seconds of an RFC 3339 time; floats pass through unchanged."""
    if not isinstance(text, str):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError("a time is RFC 3339 with a zone, such as 2026-01-31T12:00:00.000Z")
    return moment.timestamp()


def format_instant(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


Instant = Annotated[
    float,
    BeforeValidator(parse_instant),
    PlainSerializer(format_instant, return_type=str, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Epoch seconds inside, RFC 3339 with milliseconds in JSON."""


class Answer(BaseModel):
    """What all parts of a gateway's answers have in common."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
        defer_build=True,
    )


class FaultStatus(Answer):
    """Why something was not read."""

    kind: str
    """A stable word of the driver seam's FaultKind, such as timeout."""
    detail: str = ""
    """For people, for example "exception 2 on holding 40-43"."""


class SessionStatus(Answer):
    """The MQTT session."""

    connected: bool = False
    since: Instant | None = None
    """Since when it is connected, or not."""
    reason: str = ""
    """Stable CamelCase, such as IdentityInUse, LoginRefused, BrokerUnreachable; empty when connected."""
    message: str = ""
    """For people: what is wrong and what to do."""


class OutboxStatus(Answer):
    """What waits for delivery."""

    messages: int = 0
    bytes: int = 0
    oldest_at: Instant | None = None
    """When the oldest waiting message was made."""
    dropped: int = 0
    """Messages given up for want of room or for their age, since the gateway started."""
    quarantined: int = 0
    """Messages that can never be delivered, since the gateway started."""


class ConnectionStatus(Answer):
    """One PLC endpoint."""

    name: str
    connected: bool = False
    last_error: str = ""
    last_success_at: Instant | None = None


class DeviceStatus(Answer):
    """One device."""

    external_id: str
    type: str
    last_read_at: Instant | None = None
    """When it last answered with at least one value."""
    fault: FaultStatus | None = None
    """Of the last pass; absent if that brought a value."""
    bad_points: dict[str, FaultStatus] = {}
    """Points that the device refuses, by field."""
    in_back_off: bool = False
    expect_offline: bool = False


class CommandCounters(Answer):
    """Commands since the gateway started."""

    completed: int = 0
    failed: dict[str, int] = {}
    """By err."""
    ignored: int = 0
    """Bad or missing signature."""
    in_progress: int = 0


class CredentialStatus(Answer):
    """One credential in use: which, never what."""

    name: Literal["hmac", "password", "mtls", "jwt"]
    key_id: str = ""
    """Id of the key; nothing from which guessable material could be found."""
    not_after: Instant | None = None
    """End of the certificate's validity."""


class PlantStatus(Answer):
    """One plant on this gateway."""

    name: str
    plant_id: str = ""
    state: Literal["Running", "Suspended", "Stopping", "Invalid"] = "Running"
    """Invalid: what the bundle holds for it cannot be used; the last good version runs on if there is one."""
    message: str = ""
    """For people: why it is not simply running."""
    read_only: str | None = None
    """Why no register is written; absent: writing is allowed."""
    session: SessionStatus = SessionStatus()
    last_snapshot_at: Instant | None = None
    last_delivered_at: Instant | None = None
    """When Voke last acknowledged a message."""
    outbox: OutboxStatus = OutboxStatus()
    connections: tuple[ConnectionStatus, ...] = ()
    devices: tuple[DeviceStatus, ...] = ()
    alarms_active: tuple[str, ...] = ()
    """Names of alarms raised and not resolved."""
    commands: CommandCounters = CommandCounters()
    credentials: tuple[CredentialStatus, ...] = ()


class GatewayStatus(Answer):
    """The whole answer of ``/status``."""

    gateway: str
    """Name of the gateway: its pod, or the host in single-machine mode."""
    version: str
    """Version of the gateway software."""
    bundle_formats: tuple[Annotated[int, Field(ge=1)], ...] = (1,)
    """Bundle formats it reads."""
    bundle_generation: Annotated[int, Field(ge=0, le=MAX_GENERATION)] | None = None
    """Generation of the bundle it has applied; absent before the first."""
    bundle_problems: tuple[str, ...] = ()
    """What it could not read of that bundle, one sentence each."""
    started_at: Instant
    plants: tuple[PlantStatus, ...] = ()
    """In order of name."""
