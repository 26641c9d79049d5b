"""The whole uplink on a real broker: what the simulated one claims is so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.support.broker import PASSWORD, Broker
from tests.support.pki import Authority, Leaf
from tests.support.sessions import password_login
from tests.support.uplinks import KEY, make_plant
from voke_api.resolved import PlantCredentials
from voke_api.resources.pool import Ports
from voke_gateway.clock import system_clock
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Kind, Quota
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.envelope import new_nonce
from voke_gateway.stats import GatewayStats, PlantStats
from voke_gateway.uplink import sender
from voke_gateway.uplink.mqtt import AiomqttConnector
from voke_gateway.uplink.session import CloseReason
from voke_gateway.uplink.uplink import Uplink

PLANT = "plant-a"


class Gateway:
    """One uplink for the plant, on the real connector."""

    def __init__(self, broker: Broker, seed: int = 1, *, leaf: Leaf | None = None) -> None:
        """With ``leaf`` it logs in with that client certificate, otherwise with a password."""
        self.plant = make_plant(
            plant_id=PLANT,
            auth_method="PASSWORD" if leaf is None else "MTLS",
            interval=0.1,
            host="localhost",
            ports=Ports(password=broker.password_port, mtls=broker.mtls_port),
        )
        self.stats = PlantStats()
        self.store = MemoryStore(Quota(), system_clock)
        self.uplink = Uplink(
            self.plant,
            PlantCredentials(
                client_id=PLANT,
                username=PLANT,
                hmac_key=KEY,
                password=PASSWORD,
                tls_certificate=None if leaf is None else leaf.certificate,
                tls_key=None if leaf is None else leaf.key,
                broker_ca=broker.authority.pem,
            ),
            connector=AiomqttConnector(),
            store=self.store,
            stats=self.stats,
            gateway_stats=GatewayStats(),
            receive=lambda _: None,
            wall_clock=system_clock,
            random=Random(seed),
            nonce=new_nonce,
        )
        self.put = 0

    def snapshot(self, **content: object) -> None:
        self.put += 1
        self.store.put(self.plant.name, Kind.TELEMETRY, canonical({"no": self.put, **content}))
        self.uplink.notify()

    @property
    def waiting(self) -> int:
        return self.store.state(self.plant.name).messages

    def left(self) -> set[int]:
        """Numbers of the snapshots that wait."""
        entries = self.store.pending(self.plant.name, Kind.TELEMETRY, limit=1000)
        return {json.loads(entry.content)["no"] for entry in entries}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.uplink.run())
        try:
            yield
        finally:
            await self.uplink.stop(within=0)
            await task


@asynccontextmanager
async def reader(broker: Broker) -> AsyncIterator[list[dict[str, object]]]:
    """A subscriber to telemetry; what it got, parsed."""
    session = await AiomqttConnector().connect(password_login(broker, subscribe=("cpi/+/telemetry",)))
    got: list[dict[str, object]] = []

    async def read() -> None:
        async for message in session.messages():
            got.append(json.loads(message.payload))
            message.acknowledge()

    task = asyncio.create_task(read())
    try:
        yield got
    finally:
        await session.close()
        await task


async def until(condition: Callable[[], object], within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # the condition is in another part of the process, or in another process
            await asyncio.sleep(0.01)


async def test_the_ca_of_a_plant_is_registered_while_its_gateway_runs(tmp_path: Path) -> None:
    fleet = Authority("Fleet CA")
    with Broker.running(tmp_path) as broker:
        gateway = Gateway(broker, leaf=fleet.issue(PLANT))
        async with gateway.running():
            await until(lambda: gateway.stats.uplink_reason)
            assert gateway.stats.uplink_reason == "CertificateRefused"
            assert gateway.stats.uplink_problem == (
                f"localhost:{broker.mtls_port}: the broker does not know the CA that issued our client certificate: "
                "register that CA at Voke, with a revocation list of it, or have the certificate issued by one that Voke trusts"
            )
            broker.stop()
            (tmp_path / "ca.crt").write_bytes(broker.authority.pem + fleet.pem)
            (tmp_path / "crl.pem").write_bytes(broker.authority.revocation_list() + fleet.revocation_list())
            broker.start()
            await until(lambda: gateway.stats.connected)
            assert not gateway.stats.uplink_reason


async def test_a_burst_is_delivered_and_each_message_has_its_own_signature(broker: Broker) -> None:
    gateway = Gateway(broker)
    async with reader(broker) as got, gateway.running():
        await until(lambda: gateway.stats.connected)
        for _ in range(300):
            gateway.snapshot()
        await until(lambda: not gateway.waiting)
        await until(lambda: len(got) == 300)
    assert [message["no"] for message in got] == list(range(1, 301))
    assert len({message["sig"] for message in got}) == len({message["n"] for message in got}) == 300
    assert gateway.stats.reconnects == {}


async def test_a_killed_broker_costs_nothing_that_it_had_not_acknowledged(broker: Broker) -> None:
    gateway = Gateway(broker)
    async with gateway.running():
        async with reader(broker) as before:
            await until(lambda: gateway.stats.connected)
            for _ in range(10):
                gateway.snapshot()
            await until(lambda: len(before) == 10 and not gateway.waiting)
            os.kill(broker.pid, signal.SIGSTOP)
            for _ in range(30):
                gateway.snapshot()
            await until(lambda: gateway.stats.in_flight == 20)
            broker.kill()
            await until(lambda: not gateway.stats.connected)
        assert gateway.left() == set(range(11, 41))
        for _ in range(10):
            gateway.snapshot()
        broker.start()
        async with reader(broker) as after:
            await until(lambda: not gateway.waiting)
            await until(lambda: {m["no"] for m in after} == set(range(11, 51)))
    nonces = [message["n"] for message in before + after]
    assert len(set(nonces)) == len(nonces)


async def test_without_a_subscriber_nothing_is_forgotten(broker: Broker) -> None:
    gateway = Gateway(broker)
    async with gateway.running():
        gateway.snapshot()
        await until(lambda: gateway.stats.uplink_reason == "NoSubscriber")
        assert gateway.waiting == 1
        async with reader(broker):
            await until(lambda: not gateway.waiting)
            assert gateway.stats.uplink_reason == ""


async def test_a_message_too_large_for_the_broker_is_found_among_twenty(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_BYTES", 1 << 20)  # our own check would never let it out
    gateway = Gateway(broker)
    async with reader(broker) as got, gateway.running():
        await until(lambda: gateway.stats.connected)
        for no in range(1, 16):
            gateway.snapshot(text="x" * 9000 if no == 7 else "")
        await until(lambda: not gateway.waiting)
        await until(lambda: {m["no"] for m in got} == set(range(1, 16)) - {7})
    assert gateway.store.state(gateway.plant.name).quarantined == 1
    assert 1 <= gateway.stats.reconnects[CloseReason.PROTOCOL] <= 2


async def test_of_two_gateways_with_one_identity_one_yields(broker: Broker) -> None:
    first, second = Gateway(broker, seed=1), Gateway(broker, seed=2)
    async with first.running():
        await until(lambda: first.stats.connected)
        async with second.running():
            await until(lambda: first.uplink.identity_in_use or second.uplink.identity_in_use)
            yielding = first if first.uplink.identity_in_use else second
            assert yielding.stats.uplink_reason == "IdentityInUse"
            other = second if yielding is first else first
            await until(lambda: other.stats.connected)
