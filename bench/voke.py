"""Voke's side of a benchmark: mosquitto with Voke's listeners, a certificate per plant, and no judge in Node."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from bench.fleet import Plant, Site
from bench.subscriber import Receive, Subscriber
from voke_sim.voke import pki, plugin
from voke_sim.voke.access import INGEST_USERNAME, Access
from voke_sim.voke.broker import HOST, Broker
from voke_sim.voke.files import Files


@dataclass(frozen=True, slots=True)
class BenchVoke:
    """A running broker."""

    site: Site
    certificates: tuple[str, ...]
    """PEM, one per plant. All for one key: making thousands would measure OpenSSL."""
    broker: Broker
    _ingest_password: str = field(repr=False)

    @classmethod
    @asynccontextmanager
    async def start(cls, directory: Path, plants: Sequence[Plant]) -> AsyncIterator[BenchVoke]:
        files = Files(directory)
        files.create()
        access = Access(files)
        password = secrets.token_urlsafe(24)
        access.write_all(ingest_password=password, command_topic="command")
        key = ec.generate_private_key(ec.SECP256R1())
        certificates = tuple(
            pki.pem(access.authority.issue_plant(plant.plant_id, key.public_key())).decode()
            for plant in plants
        )
        broker = Broker(files, plugin=await plugin.build())
        await broker.start()
        try:
            site = Site(
                host=HOST,
                port=broker.ports.mtls,
                ca_pem=files.broker_ca.read_text(),
                client_key_pem=pki.private_pem(key).decode(),
            )
            yield cls(site, certificates, broker, password)
        finally:
            await broker.stop()

    async def subscribe(self, receive: Receive, topics: str = "cpi/+/telemetry") -> Subscriber:
        """Hear all telemetry, or what else is published on ``topics``."""
        return await Subscriber.connect(
            self.site.host,
            self.broker.ports.ingest,
            ssl.create_default_context(cadata=self.site.ca_pem),
            username=INGEST_USERNAME,
            password=self._ingest_password,
            topic=topics,
            receive=receive,
        )
