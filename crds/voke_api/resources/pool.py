"""GatewayPool: where gateways run and which Voke they talk to."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema

from voke_api.problems import ProblemClass
from voke_api.resources.common import (
    API_VERSION,
    Duration,
    Host,
    Json,
    Metadata,
    Model,
    Ruled,
    SecretKeyRef,
    Violation,
    WritesMode,
    name_too_long,
)

MAX_NAME: Final = 40
"""Longest name of a pool: its pods are called after it, with a shard's number."""

_CLAIM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"x-kubernetes-int-or-string": True, "description": "Such as 1Gi."},
        "storageClassName": {"type": "string", "description": "Left out: the cluster's default."},
    },
}

Port = Annotated[int, Field(ge=1, le=65535)]


class Ports(Model):
    """Ports of Voke's three listeners (protocol §3)."""

    mtls: Port = 8886
    """Listener for client certificates."""
    jwt: Port = 8887
    """Listener for JSON web tokens."""
    password: Port = 8885
    """Listener for user name and password."""


class BrokerCa(Model):
    """The root that the broker's certificate must lead to."""

    secret_ref: SecretKeyRef
    """Secret and key that hold the PEM."""


class Topics(Ruled):
    """The topic suffixes on which Voke's own pages disagree (protocol §2)."""

    command: Annotated[str, Field(pattern=r"^[^+#\x00]{1,64}$")] = "command"
    """Suffix of the topic that commands arrive on."""
    ack: Annotated[str, Field(pattern=r"^[^+#\x00]{1,64}$")] = "ack"
    """Suffix of the topic that acknowledgements go to."""

    def violations(self) -> Iterator[Violation]:
        """What is sent must not come back as a command."""
        if self.command == self.ack:
            yield Violation(
                ("ack",),
                "ack must differ from command, or acknowledgements would arrive as commands",
                self.ack,
            )


class Voke(Model):
    """Which Voke, and what is assumed about it."""

    host: Host = "mqtt.voke.lovinka.com"
    """Host name of the broker; its certificate must carry it."""
    ports: Ports = Ports()
    """Ports of Voke's three listeners (protocol §3)."""
    ca: BrokerCa | None = None
    """Root of the broker's certificate; left out: the system's trust store."""
    hold_on_no_subscriber: bool = True
    """true: a PUBACK 0x10 (nobody subscribed) is not delivery; the message is kept."""
    replay_window: Duration = Field(default=30.0, ge=1.0, le=3600.0)
    """How old a signature may be at Voke; a PUBACK is waited for min(10s, half of it)."""
    topics: Topics = Topics()
    """The topic suffixes on which Voke's own pages disagree (protocol §2)."""


class Storage(Ruled):
    """Where a shard keeps its outbox."""

    empty_dir: Json | None = None
    """An emptyDir volume source."""
    persistent_volume_claim: Annotated[Json, WithJsonSchema(_CLAIM)] | None = None
    """size and storageClassName of a claim per shard."""

    def violations(self) -> Iterator[Violation]:
        """One kind of volume, and of a claim its size."""
        if (self.empty_dir is None) == (self.persistent_volume_claim is None):
            yield Violation((), "storage is exactly one of emptyDir or persistentVolumeClaim")
        if self.persistent_volume_claim is not None:
            yield from self._claim(self.persistent_volume_claim)

    def _claim(self, claim: Json) -> Iterator[Violation]:
        known = {"size": "a quantity, such as 1Gi", "storageClassName": "the name of a StorageClass"}
        wrong = {
            key: f"a claim has {' and '.join(known)}, nothing else" for key in claim.keys() - known.keys()
        }
        if "size" not in claim:
            wrong["size"] = "a claim needs size, such as 1Gi"
        for key in known.keys() & claim.keys():
            types = (str, int) if key == "size" else str
            if isinstance(claim[key], bool) or not isinstance(claim[key], types):
                wrong[key] = f"{key} is {known[key]}"
        for key, message in wrong.items():
            yield Violation(("persistentVolumeClaim", key), message, problem_class=ProblemClass.SCHEMA)


class Shard(Model):
    """How much one gateway pod carries."""

    max_plants: Annotated[int, Field(ge=1, le=5000)] = 500
    """Most Plants on one pod."""
    max_requests_per_second: Annotated[int, Field(ge=1, le=100_000)] = 3000
    """Most Modbus requests per second on one pod."""
    storage: Storage = Storage(empty_dir={"sizeLimit": "1Gi"})
    """Where the outbox is kept; immutable."""


class PoolMetrics(Model):
    """Which labelled series gateways export."""

    per_plant: bool = True
    """At most 15 series per Plant."""
    per_connection: bool = False
    """Two series per PLC connection."""


class Pod(Ruled):
    """What the pool's pods look like; every key is optional."""

    image: str | None = None
    """Gateway image; left out: the operator's default."""
    resources: Json | None = None
    """Requests and limits of the gateway's container, as in a Pod."""
    node_selector: dict[str, str] | None = None
    """Labels of the nodes to run on, as in a Pod."""
    tolerations: tuple[Json, ...] | None = None
    """As in a Pod."""
    affinity: Json | None = None
    """As in a Pod."""
    priority_class_name: str | None = None
    """As in a Pod."""
    image_pull_secrets: tuple[dict[str, Any], ...] | None = None
    """As in a Pod."""
    annotations: dict[str, str] | None = None
    """Extra annotations of the pods."""
    egress_cidrs: Annotated[
        tuple[Annotated[str, Field(max_length=43)], ...], Field(alias="egressCIDRs", max_length=256)
    ] = ()
    """Broker and PLC networks; empty: no egress policy. DNS is added."""

    def violations(self) -> Iterator[Violation]:
        """Networks are networks."""
        for index, cidr in enumerate(self.egress_cidrs):
            if not _is_network(cidr):
                yield Violation(
                    ("egressCIDRs", index),
                    "a network is written 10.20.0.0/16 or 2001:db8::/32, host bits 0",
                    cidr,
                )


def _is_network(cidr: str) -> bool:
    try:
        return cidr.partition("/")[2].isdecimal() and bool(ip_network(cidr))
    except ValueError:
        return False


class Rollout(Model):
    """How upgrades proceed."""

    max_unavailable: Annotated[int, Field(ge=1, le=100)] = 1
    """Shards that may be restarting at once during an upgrade."""


class GatewayPoolSpec(Model):
    """Where gateways run and which Voke they talk to."""

    voke: Voke = Voke()
    """Which Voke, and what is assumed about it."""
    writes: WritesMode = "Enabled"
    """Disabled: no Plant of this pool ever writes a register."""
    shard: Shard = Shard()
    """How much one gateway pod carries."""
    metrics: PoolMetrics = PoolMetrics()
    """Which labelled series gateways export."""
    pod: Pod = Pod()
    """What the pool's pods look like; every key is optional."""
    rollout: Rollout = Rollout()
    """How upgrades proceed."""


class GatewayPool(Ruled):
    """Where gateways run and which Voke they talk to."""

    api_version: Literal["voke.lovinka.com/v1alpha1"] = API_VERSION
    kind: Literal["GatewayPool"] = "GatewayPool"
    metadata: Metadata
    spec: GatewayPoolSpec = GatewayPoolSpec()

    def violations(self) -> Iterator[Violation]:
        """A name short enough for what is named after it."""
        yield from name_too_long(self.kind, self.metadata.name, MAX_NAME)
