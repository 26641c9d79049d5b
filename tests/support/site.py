"""A plant on the virtual clock: the real runner and store, PLCs and Voke in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from tests.support.plants import battery_document, resolved
from tests.support.simulated_plc import SimulatedPlcs
from tests.support.virtual_time import VirtualTimeLoop
from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_gateway.clock import WallClock
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Entry, Kind, Quota
from voke_gateway.plant.runner import PlantRunner
from voke_gateway.plant.turns import Turns
from voke_gateway.stats import GatewayStats
from voke_gateway.uplink.session import ConnectFailedError, Connector, Login, Session

HMAC_KEY = b"test-secret-32-characters-long!!"


def plant_of(connections: Sequence[Sequence[str]], **spec: Any) -> ResolvedPlant:
    """A plant with a connection plc1, plc2, … for each group of devices.

    A device is named by its id, with ``/n`` for ``every: n``; a cabinet's begins with R.
    """
    login = {"auth": {"method": "PASSWORD"}, "credentials": {"password": {"secretRef": {"name": "keys"}}}}
    document = battery_document(**login, **spec)
    points = document["spec"]["devices"][0]["points"]
    devices = []
    for number, names in enumerate(connections, start=1):
        for text in names:
            name, _, every = text.partition("/")
            device = {"externalId": name, "connection": f"plc{number}", "every": int(every or 1)}
            if name.startswith("R"):
                device |= {"type": "CABINET", "raw": {"table": "discrete", "address": 0, "count": 24}}
            else:
                device |= {"type": "BATTERY", "points": points}
            devices.append(device)
    document["spec"]["devices"] = devices
    document["spec"]["connections"] = [
        {"name": f"plc{number}", "modbusTcp": {"host": "127.0.0.1"}}
        for number in range(1, len(connections) + 1)
    ]
    return resolved(document)


@dataclass(frozen=True, slots=True)
class Message:
    """What was put into the store, and when."""

    at: float
    """Seconds since the start."""
    kind: Kind
    body: dict[str, Any]

    @property
    def devices(self) -> dict[str, Any]:
        """Values or mask by device; fails if one is there twice."""
        entries = self.body["devices"]
        found = {entry["externalId"]: entry.get("values", entry.get("raw")) for entry in entries}
        assert len(found) == len(entries), "a device is in the message twice"
        return found


class RecordingStore(MemoryStore):
    """The store in memory, which also remembers what went in."""

    def __init__(self, wall_clock: WallClock, elapsed: Callable[[], float]) -> None:
        super().__init__(Quota(), wall_clock)
        self._elapsed = elapsed
        self.messages: list[Message] = []
        self.broken = False

    def put(self, plant: str, kind: Kind, content: bytes) -> Entry:
        if self.broken:
            raise OSError("no space left on device")
        self.messages.append(Message(self._elapsed(), kind, json.loads(content)))
        return super().put(plant, kind, content)


class NoVoke:
    """A connector that reaches nobody."""

    def __init__(self) -> None:
        self.attempts = 0

    async def connect(self, login: Login) -> Session:
        self.attempts += 1
        raise ConnectFailedError(f"no route to {login.host}")


class Site:
    """One running plant."""

    def __init__(self, plant: ResolvedPlant, connector: Connector | None = None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.loop = loop
        self.plcs = SimulatedPlcs()
        self.store = RecordingStore(loop.wall_clock, loop.elapsed)
        self.gateway_stats = GatewayStats()
        self.credentials = PlantCredentials(
            client_id=plant.plant_id, username=plant.plant_id, hmac_key=HMAC_KEY, password="planted"
        )
        nonces = count(1)
        self.runner = PlantRunner(
            plant,
            self.credentials,
            drivers=self.plcs.drivers,
            connector=connector or NoVoke(),
            store=self.store,
            gateway_stats=self.gateway_stats,
            turns=Turns(),
            wall_clock=loop.wall_clock,
            random=Random(1),
            nonce=lambda: f"{next(nonces):016x}",
        )

    @property
    def snapshots(self) -> list[Message]:
        """Telemetry messages in the order in which they were put."""
        return [message for message in self.store.messages if message.kind is Kind.TELEMETRY]

    def of(self, device: str) -> list[Message]:
        """Telemetry messages with that device."""
        return [message for message in self.snapshots if device in message.devices]


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    """Run the plant; at the end it is cancelled, as a process that dies would leave it."""
    task = asyncio.create_task(site.runner.run())
    try:
        yield site
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
