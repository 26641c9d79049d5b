"""What sessions cost, and that they give it all back. Figures are printed; only ratios are asserted."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.session_cost import SESSIONS
from tests.support.sessions import mtls_login, password_login, published
from voke_gateway.uplink.mqtt import AiomqttConnector, AiomqttSession

pytestmark = pytest.mark.usefixtures("clean_loop")

ROOT = Path(__file__).parents[3]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def show(capsys: pytest.CaptureFixture[str], figures: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{figures}\n")


async def publish_in_window(session: AiomqttSession, topic: str, payload: bytes, count: int) -> list[int]:
    window = asyncio.Semaphore(20)

    async def publish() -> int:
        async with window:
            return await published(session, topic, payload)

    return await asyncio.gather(*(publish() for _ in range(count)))


async def test_a_thousand_publishes_with_a_window_of_twenty(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    session = await AiomqttConnector().connect(password_login(broker))
    await publish_in_window(session, "a/b", bytes(600), 100)
    wall, cpu = time.perf_counter(), time.process_time()
    codes = await publish_in_window(session, "a/b", bytes(600), 1000)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await session.close()
    assert codes == [0x10] * 1000
    show(capsys, f"1,000 publishes of 600 B, window 20: {wall:.3f} s, {cpu * 1000:.0f} µs of CPU each")


async def test_two_hundred_sessions_leave_no_descriptor_thread_or_task_behind(broker: Broker) -> None:
    connector = AiomqttConnector()
    leaf = broker.authority.issue("plant-a")

    async def live(number: int) -> None:
        if number % 2:
            login = mtls_login(broker, leaf, client_id=f"c{number}", subscribe=("cpi/plant-a/command",))
        else:
            login = password_login(broker, client_id=f"c{number}", subscribe=("cpi/plant-a/command",))
        session = await connector.connect(login)
        await published(session, "cpi/plant-a/telemetry", b"{}")
        if number % 3:
            await session.close()
        else:
            session.abort()

    await live(0)
    await asyncio.sleep(0)  # what watched the publish ends
    gc.collect()
    before = descriptors(), threading.active_count(), len(asyncio.all_tasks())
    for start in range(0, 200, 20):
        await asyncio.gather(*(live(start + number) for number in range(20)))
    gc.collect()
    assert (descriptors(), threading.active_count(), len(asyncio.all_tasks())) == before


async def test_failed_connects_leave_nothing_behind_either(broker: Broker) -> None:
    connector = AiomqttConnector()
    login = password_login(broker, password="wrong")

    async def fail() -> None:
        assert isinstance(
            (await asyncio.gather(connector.connect(login), return_exceptions=True))[0], Exception
        )

    await fail()
    gc.collect()
    before = descriptors(), threading.active_count()
    await asyncio.gather(*(fail() for _ in range(50)))
    gc.collect()
    assert (descriptors(), threading.active_count()) == before


async def test_a_fleet_that_connects_leaves_the_event_loop_to_others_in_between(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured in this thread's CPU time, which other processes do not disturb."""
    connector = AiomqttConnector()
    logins = [
        mtls_login(broker, broker.authority.issue(f"c{number}"), client_id=f"c{number}")
        for number in range(60)
    ]
    slices: list[float] = []

    async def poll() -> None:
        while True:
            since = time.thread_time()
            await asyncio.sleep(0)
            slices.append(time.thread_time() - since)

    polling = asyncio.create_task(poll())
    sessions = await asyncio.gather(*map(connector.connect, logins))
    polling.cancel()
    show(
        capsys, f"60 mTLS connects: {sum(slices):.2f} s of CPU, at most {max(slices) * 1e3:.0f} ms at a time"
    )
    assert max(slices) < sum(slices) / 4
    for session in sessions:
        await session.close()


@pytest.mark.parametrize(("method", "loop"), [("password", "asyncio"), ("mtls", "uvloop")])
def test_an_idle_session_is_small(
    broker: Broker, method: str, loop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a process of its own, which has nothing else on its heap."""
    for number in range(SESSIONS if method == "mtls" else 0):
        leaf = broker.authority.issue(f"c{number}")
        (broker.directory / f"c{number}.crt").write_bytes(leaf.certificate)
        (broker.directory / f"c{number}.key").write_bytes(leaf.key)
    port = broker.mtls_port if method == "mtls" else broker.password_port
    measured = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "tests.support.session_cost"),
            *(str(broker.directory), str(port), method, loop),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert measured.stderr == ""
    cost = json.loads(measured.stdout)
    show(
        capsys,
        f"session ({method}, {loop}): {cost['kilobytes']:.0f} KB idle, {cost['connect_ms']:.1f} ms of CPU to "
        f"connect, {cost['idle_us']:.0f} µs of CPU per idle second",
    )
    assert cost["kilobytes"] < 150  # the TLS connection of a stock asyncio stream alone has 290
