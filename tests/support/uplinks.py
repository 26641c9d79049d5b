"""An Uplink with its surroundings in memory, for simulations on the virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import count
from random import Random
from typing import Any

from tests.support.loops import beside
from tests.support.simulated_voke import SimulatedVoke
from tests.support.virtual_time import wall_clock
from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_api.resources.common import AuthMethod
from voke_api.resources.pool import Voke
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Entry, Kind, Quota
from voke_gateway.protocol.canonical import canonical
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink.session import Connector, Inbound
from voke_gateway.uplink.uplink import Uplink

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = b"0123456789abcdef0123456789abcdef"


def make_plant(
    *, plant_id: str = PLANT_ID, auth_method: AuthMethod = "PASSWORD", interval: float = 1.0, **voke: Any
) -> ResolvedPlant:
    """A plant without devices; ``voke`` replaces fields of the pool's Voke."""
    return ResolvedPlant(
        name=f"site-{plant_id[:4]}",
        plant_id=plant_id,
        auth_method=auth_method,
        interval=interval,
        assemble_within=0.5,
        command_max_age=300.0,
        connections=(),
        devices=(),
        voke=Voke(host="voke.test").model_copy(update=voke),
    )


def make_credentials(plant: ResolvedPlant, **fields: Any) -> PlantCredentials:
    """Enough to log in with a password."""
    given: dict[str, Any] = {"hmac_key": KEY, "password": "right", **fields}
    return PlantCredentials(client_id=plant.plant_id, username=plant.plant_id, **given)


def now() -> float:
    """The loop's clock."""
    return asyncio.get_running_loop().time()


def numbers(voke: SimulatedVoke) -> list[int]:
    """Which of a rig's snapshots were accepted, in order."""
    return [content["no"] for content in voke.accepted()]


class Rig:
    """One Uplink, its store and its numbers."""

    def __init__(
        self,
        voke: Connector,
        *,
        plant: ResolvedPlant | None = None,
        credentials: PlantCredentials | None = None,
        seed: int = 1,
        quota: Quota | None = None,
        on_inbound: Callable[[Inbound], None] | None = None,
    ) -> None:
        self.plant = plant or make_plant()
        self.stats = PlantStats()
        self.gateway_stats = GatewayStats()
        self.store = MemoryStore(quota or Quota(), wall_clock)
        self.inbound: list[Inbound] = []
        numbers = count(1)
        self.uplink = Uplink(
            self.plant,
            credentials or make_credentials(self.plant),
            connector=voke,
            store=self.store,
            stats=self.stats,
            gateway_stats=self.gateway_stats,
            receive=on_inbound or self.inbound.append,
            wall_clock=wall_clock,
            random=Random(seed),
            nonce=lambda: f"{seed:04x}{next(numbers):012x}",
        )
        self._numbers = count(1)

    def snapshot(self, **content: Any) -> Entry:
        """Put a snapshot that tells its number."""
        return self._put(Kind.TELEMETRY, {"no": next(self._numbers), **content})

    def ack(self, state: str = "RECEIVED") -> Entry:
        """Put an acknowledgement with a number of its own."""
        return self._put(Kind.ACK, {"cmdId": f"c{next(self._numbers)}", "st": state})

    def alarm(self, event: str = "RAISE") -> Entry:
        """Put an alarm event with a number of its own."""
        no = next(self._numbers)
        return self._put(Kind.ALARM, {"alarmId": f"a{no}", "code": 106, "ev": event, "sev": 3})

    def info(self) -> Entry:
        """Put a description of the gateway."""
        return self._put(Kind.INFO, {"info": next(self._numbers)})

    def _put(self, kind: Kind, content: dict[str, Any]) -> Entry:
        entry = self.store.put(self.plant.name, kind, canonical(content))
        self.uplink.notify()
        return entry

    @property
    def waiting(self) -> int:
        """Messages not delivered yet."""
        return self.store.state(self.plant.name).messages

    def running(self) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        """The Uplink runs inside; cancelled at the end unless it was stopped."""
        return beside(self.uplink.run())

    async def until(self, condition: Callable[[], object], within: float = 3600.0) -> None:
        """Look every 5 ms of virtual time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + within
        met = loop.create_future()

        def look() -> None:
            if condition():
                met.set_result(None)
            elif loop.time() > give_up:
                met.set_exception(TimeoutError(f"not so within {within} s"))
            else:
                loop.call_later(0.005, look)

        look()
        await met

    async def empty(self, within: float = 3600.0) -> None:
        """Wait until everything was delivered."""
        await self.until(lambda: not self.waiting, within)

    async def connected(self, within: float = 3600.0) -> None:
        """Wait for a session."""
        await self.until(lambda: self.stats.connected, within)


def simulated_voke(**settings: Any) -> SimulatedVoke:
    """A Voke that knows the plant of :func:`make_plant`."""
    return SimulatedVoke({PLANT_ID: KEY}, **settings)
