"""What a gateway says about itself at ``/status``: the contract between gateway, operator and ``kubectl voke status``.

JSON with camelCase keys and RFC 3339 times. Readers ignore keys they do not know, and every key has a
default, so a gateway and an operator one version apart understand each other. Nothing here is secret.

Who answers on a gateway's address may not be one, so the models hold no more than a gateway has to tell: what is
longer is cut off, not refused. :func:`read` and :func:`read_in_parts` keep the reader's memory, too.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import from_json

from voke_api.bundle import MAX_GENERATION, MAX_PLANTS
from voke_api.resources.common import Model

MAX_BYTES: Final = 4 * 1024 * 1024
"""Of an answer, for who asks; 500 plants of ten devices take a quarter of it."""
_LEAST_PER_VALUE: Final = 5
"""Bytes that stand for a value in a true answer, at least; in memory one takes up to twenty times as many."""
_MAY_BE_DENSE: Final = 256 * 1024
"""Bytes in which there may be as many values as there is room for."""


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


def _at_most(most: int) -> BeforeValidator:
    """The first elements of a list, or entries of an object: before they are looked at, for each that is wrong is kept."""

    def cut(value: object) -> object:
        if isinstance(value, list | tuple):
            return value[:most]
        return dict(islice(value.items(), most)) if isinstance(value, dict) else value

    return BeforeValidator(cut)


_LONGEST_NAME: Final = 253
Name = Annotated[str, AfterValidator(itemgetter(slice(_LONGEST_NAME)))]
"""A name or a stable word: as long as an object's name may be."""
Text = Annotated[str, AfterValidator(itemgetter(slice(600)))]
"""A sentence or two for people."""


class StatusError(ValueError):
    """Not the answer of a gateway; the message says why."""


class Answer(Model):
    """What all parts of a gateway's answers have in common: keys that are not known are those of another version."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=True)


class FaultStatus(Answer):
    """Why something was not read."""

    kind: Name
    """A stable word of the driver seam's FaultKind, such as timeout."""
    detail: Text = ""
    """For people, for example "exception 2 on holding 40-43"."""


class SessionStatus(Answer):
    """The MQTT session."""

    connected: bool = False
    since: Instant | None = None
    """Since when it is connected, or not."""
    reason: Name = ""
    """Stable CamelCase, such as IdentityInUse, LoginRefused, BrokerUnreachable; empty when connected."""
    message: Text = ""
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

    name: Name
    connected: bool = False
    last_error: Text = ""
    last_success_at: Instant | None = None


class DeviceStatus(Answer):
    """One device."""

    external_id: Name
    type: Name
    last_read_at: Instant | None = None
    """When it last answered with at least one value."""
    fault: FaultStatus | None = None
    """Of the last pass; absent if that brought a value."""
    bad_points: Annotated[dict[Name, FaultStatus], _at_most(256)] = Field(default_factory=dict)
    """Points that the device refuses, by field."""
    in_back_off: bool = False
    expect_offline: bool = False


class CommandCounters(Answer):
    """Commands since the gateway started."""

    completed: int = 0
    failed: Annotated[dict[Name, int], _at_most(256)] = Field(default_factory=dict)
    """By err."""
    ignored: int = 0
    """Bad or missing signature."""
    in_progress: int = 0


class CredentialStatus(Answer):
    """One credential in use: which, never what."""

    name: Literal["hmac", "password", "mtls", "jwt"]
    key_id: Name = ""
    """Id of the key; nothing from which guessable material could be found."""
    not_after: Instant | None = None
    """End of the certificate's validity."""


class PlantStatus(Answer):
    """One plant on this gateway."""

    name: Name
    plant_id: Name = ""
    state: Literal["Running", "Suspended", "Stopping", "Invalid"] = "Running"
    """Invalid: what the bundle holds for it cannot be used; the last good version runs on if there is one."""
    message: Text = ""
    """For people: why it is not simply running."""
    read_only: Text | None = None
    """Why no register is written; absent: writing is allowed."""
    session: SessionStatus = SessionStatus()
    last_snapshot_at: Instant | None = None
    last_delivered_at: Instant | None = None
    """When Voke last acknowledged a message."""
    outbox: OutboxStatus = OutboxStatus()
    connections: Annotated[tuple[ConnectionStatus, ...], _at_most(64)] = ()
    devices: Annotated[tuple[DeviceStatus, ...], _at_most(256)] = ()
    alarms_active: Annotated[tuple[Name, ...], _at_most(128)] = ()
    """Names of alarms raised and not resolved."""
    commands: CommandCounters = CommandCounters()
    credentials: Annotated[tuple[CredentialStatus, ...], _at_most(8)] = ()


class GatewayStatus(Answer):
    """The whole answer of ``/status``."""

    gateway: Name
    """Name of the gateway: its pod, or the host in single-machine mode."""
    version: Name
    """Version of the gateway software."""
    bundle_formats: Annotated[tuple[Annotated[int, Field(ge=1)], ...], _at_most(100)] = (1,)
    """Bundle formats it reads."""
    bundle_generation: Annotated[int, Field(ge=0, le=MAX_GENERATION)] | None = None
    """Generation of the bundle it has applied; absent before the first."""
    bundle_problems: Annotated[tuple[Text, ...], _at_most(100)] = ()
    """What it could not read of that bundle, one sentence each."""
    started_at: Instant
    plants: Annotated[tuple[PlantStatus, ...], _at_most(MAX_PLANTS)] = ()
    """In order of name."""


def read(body: bytes) -> GatewayStatus:
    """An answer, whole.

    Raises:
        StatusError: nothing of it is taken.
    """
    return _gateway(_parsed(body))


def read_in_parts(body: bytes) -> tuple[GatewayStatus, tuple[tuple[str, Any], ...]]:
    """An answer without its plants; and each plant's name, with what :class:`PlantStatus` is to be validated from.

    For who reads many answers: plant by plant, giving way to others between them, and without the plants that one of
    another version describes in words of its own.

    Raises:
        StatusError: it is not even of this form.
    """
    document = _parsed(body)
    try:
        plants = document.pop("plants", [])[:MAX_PLANTS]
        named = tuple((str(each["name"])[:_LONGEST_NAME], each) for each in plants)
    except (TypeError, KeyError, AttributeError):
        raise StatusError("it is no object with a list of plants, each with a name") from None
    return _gateway(document), named


def _parsed(body: bytes) -> Any:
    """What the JSON says; whoever answers is not to take the reader's memory by many tiny values."""
    if sum(map(body.count, (b",", b"[", b"{"))) * _LEAST_PER_VALUE > len(body) + _MAY_BE_DENSE:
        raise StatusError("it has more values than any gateway has to tell")
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise StatusError(f"it is no JSON: {error}") from None


def _gateway(document: Any) -> GatewayStatus:
    try:
        return GatewayStatus.model_validate(document)
    except ValidationError as error:
        raise StatusError(error.errors(include_url=False)[0]["msg"]) from None
