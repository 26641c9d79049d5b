"""A gateway with real PLC connections and no Voke, that can be probed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.support.fleet import Fleet
from tests.support.gateways import without_voke
from voke_api.probe import PATH, PlantProbe
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.gateway import Gateway
from voke_gateway.runtime.http import HttpServer
from voke_gateway.runtime.probe import Probes
from voke_gateway.runtime.slices import in_slices


@dataclass
class Probed:
    """The gateway, what it runs, and where it is asked."""

    gateway: Gateway
    fleet: Fleet
    url: str

    async def apply(self) -> None:
        """Do as the fleet says now."""
        self.gateway.apply(await in_slices(BundleReader().read(self.fleet.files())))
        await self.gateway.settled()

    async def ask(self, query: str) -> tuple[int, str]:
        """Status and body of an answer."""

        def blocking() -> tuple[int, str]:
            try:
                with urlopen(f"{self.url}{PATH}?{query}", timeout=30) as answer:
                    return answer.status, answer.read().decode()
            except HTTPError as error:
                return error.code, error.read().decode()

        return await asyncio.to_thread(blocking)

    async def probe(self, query: str) -> PlantProbe:
        """What a probe brings."""
        status, body = await self.ask(query)
        assert status == 200, body
        return PlantProbe.model_validate_json(body)


@asynccontextmanager
async def probed(fleet: Fleet) -> AsyncIterator[Probed]:
    """Run the fleet."""
    gateway = without_voke("voke-gw-test-0-0")
    server = HttpServer({}, {PATH: Probes(gateway.runner, gateway.status).answer}, by_address=True)
    port = await server.start("127.0.0.1", 0)
    gateway.start()
    one = Probed(gateway, fleet, f"http://127.0.0.1:{port}")
    try:
        await one.apply()
        yield one
    finally:
        await server.close()
        await gateway.stop(2.0)
