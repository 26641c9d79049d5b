"""What one delivery costs: put, notify, seal, publish, PUBACK, delivered. Run: python -m bench.deliver

Of our own code alone, with a session that answers on the next turn of the loop; and through a real session, on
mosquitto with TLS, as fast as the window of twenty lets them.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import structlog
import uvloop

from bench.fleet import make_fleet
from bench.voke import BenchVoke
from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_api.resources.pool import Ports, Voke
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Kind, Quota
from voke_gateway.protocol import canonical, envelope
from voke_gateway.protocol.sign import Signer
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink.mqtt import AiomqttConnector
from voke_gateway.uplink.session import Closed, Inbound
from voke_gateway.uplink.uplink import Uplink

PLANTS = 500
ROUNDS = 60
_TURNS = 8
"""Of the loop: more than a task to start, a PUBACK to come and a message to be forgotten take."""
PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = b"0123456789abcdef0123456789abcdef"
CONTENT = canonical.canonical(
    {
        "devices": [
            {
                "externalId": f"INV{d}",
                "type": "INVERTER",
                "values": {f"field{v}": 230.1 + v for v in range(10)},
            }
            for d in range(3)
        ],
        "timestamp": "2026-01-01T00:00:00.000Z",
    }
)


class TrivialSession:
    """Answers at once."""

    receive_maximum = 20
    session_present = False

    def publish(
        self, topic: str, payload: bytes, answered: Callable[[int], None], *, retain: bool = False
    ) -> None:
        del topic, payload, retain
        asyncio.get_running_loop().call_soon(answered, 0)

    async def messages(self) -> AsyncIterator[Inbound]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    async def closed(self) -> Closed:
        await asyncio.Event().wait()
        raise AssertionError

    async def close(self) -> None: ...

    def abort(self) -> None: ...


class Connector:
    async def connect(self, _login: object) -> TrivialSession:
        return TrivialSession()


async def deliver() -> tuple[float, float]:
    """Seconds of CPU per message, one at a time per plant and in bursts of 20."""
    store = MemoryStore(Quota(), time.time)
    plants = [
        ResolvedPlant(
            name=f"plant-{n}",
            plant_id=PLANT_ID,
            auth_method="PASSWORD",
            interval=1.0,
            assemble_within=0.5,
            command_max_age=300.0,
            connections=(),
            devices=(),
        )
        for n in range(PLANTS)
    ]
    credentials = PlantCredentials(client_id="c", username="u", hmac_key=KEY, password="p")
    gateway_stats = GatewayStats()
    uplinks = [
        Uplink(
            plant,
            credentials,
            connector=Connector(),
            store=store,
            stats=PlantStats(),
            gateway_stats=gateway_stats,
            receive=lambda _: None,
            wall_clock=time.time,
            random=Random(n),
            nonce=envelope.new_nonce,
        )
        for n, plant in enumerate(plants)
    ]
    tasks = [asyncio.create_task(uplink.run()) for uplink in uplinks]
    await asyncio.sleep(0.2)

    async def rounds(burst: int, count: int) -> float:
        started = time.process_time()
        for _ in range(count):
            for plant, uplink in zip(plants, uplinks, strict=True):
                for _ in range(burst):
                    store.put(plant.name, Kind.TELEMETRY, CONTENT)
                    uplink.notify()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        assert not any(store.state(plant.name).messages for plant in plants)
        return (time.process_time() - started) / (PLANTS * burst * count)

    await rounds(1, 5)
    single = min([await rounds(1, ROUNDS // 3) for _ in range(3)])
    burst = min([await rounds(20, ROUNDS // 20) for _ in range(3)])
    for task in tasks:
        task.cancel()
    return single, burst


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nobody tells, and to look costs next to nothing
        await asyncio.sleep(0.005)


async def over_tls(messages: int = 1500) -> float:
    """Seconds of CPU per message, on a session with a client certificate."""
    (plant,) = make_fleet(1, per_plant=1)
    with tempfile.TemporaryDirectory() as directory:
        async with BenchVoke.start(Path(directory), [plant]) as voke:
            subscriber = await voke.subscribe(lambda _topic, _payload: None)
            store, stats = MemoryStore(Quota(), time.time), PlantStats()
            uplink = Uplink(
                ResolvedPlant(
                    name=plant.name,
                    plant_id=plant.plant_id,
                    auth_method="MTLS",
                    interval=1.0,
                    assemble_within=0.5,
                    command_max_age=300.0,
                    connections=(),
                    devices=(),
                    voke=Voke(host=voke.site.host, ports=Ports(mtls=voke.site.port)),
                ),
                PlantCredentials(
                    client_id=plant.plant_id,
                    username=plant.plant_id,
                    hmac_key=KEY,
                    tls_certificate=voke.certificates[0].encode(),
                    tls_key=voke.site.client_key_pem.encode(),
                    broker_ca=voke.site.ca_pem.encode(),
                ),
                connector=AiomqttConnector(),
                store=store,
                stats=stats,
                gateway_stats=GatewayStats(),
                receive=lambda _: None,
                wall_clock=time.time,
                random=Random(1),
                nonce=envelope.new_nonce,
            )
            running = asyncio.create_task(uplink.run())
            await until(lambda: stats.connected)
            best = float("inf")
            for _ in range(4):
                started = time.process_time()
                for _ in range(messages):
                    store.put(plant.name, Kind.TELEMETRY, CONTENT)
                uplink.notify()
                await until(lambda: not store.state(plant.name).messages)
                best = min(best, (time.process_time() - started) / messages)
            await uplink.stop(1.0)
            await running
            subscriber.close()
    return best


def seal_alone() -> float:
    signer = Signer(PLANT_ID, KEY)
    started = time.process_time()
    for _ in range(20_000):
        envelope.seal_telemetry(signer, CONTENT, 1_767_225_600_000, envelope.new_nonce())
    return (time.process_time() - started) / 20_000


def run_on(name: str, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        single, burst = runner.run(deliver())
    print(f"{name}: {single * 1e6:.1f} µs per message one at a time, {burst * 1e6:.1f} µs in bursts of 20")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"{PLANTS} plants, {len(CONTENT)} bytes; sealing alone {seal_alone() * 1e6:.1f} µs")
    run_on("asyncio", asyncio.new_event_loop)
    run_on("uvloop", uvloop.new_event_loop)
    print(f"over TLS: {uvloop.run(over_tls()) * 1e6:.1f} µs per message")
