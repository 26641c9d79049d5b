"""The whole thread for end-to-end tests: simulated PLCs, a local Voke, and ``voke run`` between them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.documents import resource, secret
from tests.support.plants import PLANT_ID
from voke_cli.demo.gateway import GatewayProcess
from voke_sim.plc.bank import Bank, Registers
from voke_sim.plc.server import ModbusServer, Unit
from voke_sim.voke import LocalVoke

Json = dict[str, Any]
HMAC_KEY = "0123456789abcdef0123456789abcdef"


@dataclass(slots=True)
class Thread:
    """Everything that runs."""

    voke: LocalVoke
    gateway: GatewayProcess
    log: list[Json]
    """Lines of the gateway's log."""

    def samples(self, device: str) -> list[tuple[str, Json]]:
        """Timestamp and values of a device in every message that was verified."""
        return [
            (message.document["timestamp"], entry["values"])
            for message in self.voke.accepted
            if message.kind == "telemetry"
            for entry in message.document["devices"]
            if entry["externalId"] == device
        ]


def meter(*values: int) -> Unit:
    """A unit whose input registers from 0 on hold ``values``."""
    registers = Registers(max(len(values), 1))
    for address, value in enumerate(values):
        registers.put(address, "uint16", value)
    return Unit(Bank(input=registers, holding=Registers(16)))


def device(external_id: str, connection: str, *, unit: int = 1, fields: int = 1, **more: Any) -> Json:
    """A METER that reads ``fields`` input registers, v0, v1, …"""
    points = [{"field": f"v{k}", "table": "input", "address": k, "type": "uint16"} for k in range(fields)]
    return {
        "externalId": external_id,
        "type": "METER",
        "connection": connection,
        "unitId": unit,
        "points": points,
        **more,
    }


@asynccontextmanager
async def thread(
    directory: Path,
    servers: dict[str, ModbusServer],
    devices: list[Json],
    *,
    plc_timeout: str = "3s",
    **spec: Any,
) -> AsyncIterator[Thread]:
    """Start ``voke run`` for one mTLS plant at ``servers`` (started here), ticking every second.

    ``spec`` adds and replaces keys of the Plant's spec.
    """
    async with AsyncExitStack() as stack:
        voke = await stack.enter_async_context(LocalVoke.start(directory / "voke"))
        for server in servers.values():
            await stack.enter_async_context(server)
        certificate, key = await voke.issue_mtls(PLANT_ID, hmac_key=HMAC_KEY)
        plant = {
            "plantId": PLANT_ID,
            "auth": {"method": "MTLS"},
            "credentials": {
                "hmac": {"secretRef": {"name": "keys"}},
                "mtls": {"secretRef": {"name": "keys"}},
            },
            "telemetry": {"interval": "1s"},
            "connections": [
                {
                    "name": name,
                    "modbusTcp": {"host": server.host, "port": server.port, "timeout": plc_timeout},
                }
                for name, server in servers.items()
            ],
            "devices": devices,
            **spec,
        }
        keys = {"hmac.key": HMAC_KEY, "tls.crt": certificate.decode(), "tls.key": key.decode()}
        documents = [
            resource("Plant", "site", plant),
            resource("GatewayPool", "default", {"voke": _voke(voke)}),
            secret("keys", keys),
            secret("voke-ca", {"ca.crt": voke.ca_pem.decode()}),
        ]
        files = directory / "plants"
        files.mkdir()
        for index, document in enumerate(documents):
            (files / f"{index}.json").write_text(json.dumps(document))
        lines: list[Json] = []
        gateway = await stack.enter_async_context(
            GatewayProcess.start(
                files, state=directory / "state", log=directory / "gateway.log", hear=lines.append
            )
        )
        yield Thread(voke, gateway, lines)


def _voke(voke: LocalVoke) -> Json:
    ports = {"mtls": voke.ports.mtls, "jwt": voke.ports.jwt, "password": voke.ports.password}
    return {
        "host": voke.host,
        "ports": ports,
        "ca": {"secretRef": {"name": "voke-ca", "key": "ca.crt"}},
    }
