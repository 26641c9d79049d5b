"""The plants of a benchmark: who they are, and the files that describe them to a gateway."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.support.documents import resource, secret

VALUES = 10
"""float32 values that each PLC shows, in holding registers from 0 on."""
PER_FARM = 8000
"""PLCs in one farm process: each takes two of the files that a process may have open."""
PROFILE = "bench-meter"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plant:
    """One plant, its PLCs numbered through the whole fleet."""

    name: str
    plant_id: str
    hmac_key: str
    interval: float
    plcs: tuple[int, ...]
    """Places in the farm; the k-th is device ``Pk`` on connection ``plck``."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the plants have in common: where Voke is, and how to log in there."""

    host: str
    port: int
    ca_pem: str
    client_key_pem: str


def make_fleet(plcs: int, *, per_plant: int, interval: float = 1.0) -> tuple[Plant, ...]:
    """Plants of ``per_plant`` PLCs each, the same in every run."""
    random = Random(per_plant)
    plants = []
    for number, first in enumerate(range(0, plcs, per_plant)):
        plants.append(
            Plant(
                name=f"bench-{number:05}",
                plant_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
                hmac_key=f"{random.getrandbits(256):064x}",
                interval=interval,
                plcs=tuple(range(first, min(first + per_plant, plcs))),
            )
        )
    return tuple(plants)


def field(index: int) -> str:
    """Name of a PLC's ``index``-th value."""
    return f"value{index}Kw"


def write_documents(
    directory: Path,
    plants: Sequence[Plant],
    site: Site,
    certificates: Sequence[str],
    endpoints: Sequence[tuple[str, int]],
    *,
    timeout: str = "2s",
) -> None:
    """Write what ``voke run`` reads: a file per plant with its Secret, and one with what they share."""
    directory.mkdir(parents=True)
    _write(
        directory / "shared.yaml",
        resource(
            "GatewayPool",
            "default",
            {
                "voke": {
                    "host": site.host,
                    "ports": {"mtls": site.port},
                    "ca": {"secretRef": {"name": "voke-ca", "key": "ca.crt"}},
                }
            },
        ),
        resource(
            "DeviceProfile",
            PROFILE,
            {
                "type": "METER",
                "points": [
                    {"field": field(k), "table": "holding", "address": 2 * k, "type": "float32"}
                    for k in range(VALUES)
                ],
            },
        ),
        secret("voke-ca", {"ca.crt": site.ca_pem}),
    )
    for plant, certificate in zip(plants, certificates, strict=True):
        keys = {"hmac.key": plant.hmac_key, "tls.crt": certificate, "tls.key": site.client_key_pem}
        _write(
            directory / f"{plant.name}.yaml",
            plant_document(plant, endpoints, timeout=timeout),
            secret(f"{plant.name}-keys", keys),
        )


def plant_document(plant: Plant, endpoints: Sequence[tuple[str, int]], *, timeout: str = "2s") -> Json:
    """The Plant resource."""
    keys = {"secretRef": {"name": f"{plant.name}-keys"}}
    connections, devices = [], []
    for k, place in enumerate(plant.plcs):
        host, port = endpoints[place]
        connections.append({"name": f"plc{k}", "modbusTcp": {"host": host, "port": port, "timeout": timeout}})
        devices.append({"externalId": f"P{k}", "type": "METER", "connection": f"plc{k}", "profile": PROFILE})
    return resource(
        "Plant",
        plant.name,
        {
            "plantId": plant.plant_id,
            "auth": {"method": "MTLS"},
            "credentials": {"hmac": keys, "mtls": keys},
            "telemetry": {"interval": f"{round(plant.interval * 1000)}ms"},
            "connections": connections,
            "devices": devices,
        },
    )


def _write(path: Path, *documents: Json) -> None:
    """JSON is YAML; the separator lets several stand in one file."""
    path.write_text("\n---\n".join(json.dumps(document) for document in documents))
    path.chmod(0o600)
