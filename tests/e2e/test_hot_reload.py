"""Changes while everything runs for real: sockets, TLS, a broker, a judge, files that somebody edits."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import resource, secret
from tests.support.fleet import Fleet, entry
from tests.support.mounted import mount
from tests.support.thread import HMAC_KEY, Json, Thread, device, meter, thread
from voke_api.status import GatewayStatus, PlantStatus
from voke_sim.plc.server import ModbusServer
from voke_sim.ports import free_ports

SECOND_ID = "11111111-2222-4333-8444-555555555555"
WITHIN = 30.0


async def status_of(run: Thread, plant: str) -> PlantStatus | None:
    status = await run.gateway.status()
    return next((each for each in status.plants if each.name == plant), None) if status else None


async def until_status(run: Thread, plant: str, holds: Any) -> None:
    async with asyncio.timeout(WITHIN):
        while not holds(await status_of(run, plant)):
            await asyncio.sleep(0.1)


def second_plant(server: ModbusServer, **spec: Any) -> Json:
    """Another mTLS plant."""
    keys = {name: {"secretRef": {"name": "second-keys"}} for name in ("hmac", "mtls")}
    tcp = {"host": server.host, "port": server.port}
    made: Json = {
        "plantId": SECOND_ID,
        "auth": {"method": "MTLS"},
        "credentials": keys,
        "telemetry": {"interval": "1s"},
        "connections": [{"name": "plc", "modbusTcp": tcp}],
        "devices": [device("M2", "plc")],
    }
    return resource("Plant", "second", {**made, **spec})


async def keys(run: Thread) -> Json:
    certificate, key = await run.voke.issue_mtls(SECOND_ID, hmac_key=HMAC_KEY)
    return secret(
        "second-keys", {"hmac.key": HMAC_KEY, "tls.crt": certificate.decode(), "tls.key": key.decode()}
    )


async def test_files_that_change_change_their_plants_and_nobody_else_notices(tmp_path: Path) -> None:
    first, other = ModbusServer({1: meter(11)}), ModbusServer({1: meter(22, 23)})
    async with other, thread(tmp_path, {"plc": first}, [device("M1", "plc")]) as run:
        await run.voke.wait_for(lambda: run.samples("M1"), within=WITHIN)
        plant_file, secret_file = tmp_path / "plants/second.yaml", tmp_path / "plants/second-keys.json"

        secret_file.write_text(json.dumps(await keys(run)))
        plant_file.write_text(json.dumps(second_plant(other)))
        await run.voke.wait_for(lambda: run.samples("M2"), within=WITHIN)

        plant_file.write_text(json.dumps(second_plant(other, devices=[device("M2", "plc", fields=2)])))
        await run.voke.wait_for(lambda: run.samples("M2")[-1][1] == {"v0": 22, "v1": 23}, within=WITHIN)
        assert other.stats.connections == 1, "its PLC was not let go of for that"

        plant_file.write_text("kind: Plant\nmetadata: {name: second\n")
        await until_status(run, "second", lambda status: status and status.state == "Invalid")
        said: list[str] = []
        async with asyncio.timeout(WITHIN):
            while not said:
                await asyncio.sleep(0.05)
                said = [line["problem"] for line in run.log if line["event"] == "problem in files"]
        assert all("second.yaml:" in problem for problem in said), "with file and line"
        assert len(said) == len(set(said))
        assert not [line for line in run.log if line["event"] == "plant is not as its bundle says"], (
            "nothing is said twice"
        )
        count = len(run.samples("M2"))
        await run.voke.wait_for(lambda: len(run.samples("M2")) > count + 1, within=WITHIN)

        sessions = sum(line["event"] == "session opened" for line in run.log)
        plant_file.write_text(json.dumps(second_plant(other, devices=[device("M2", "plc", fields=2)])))
        secret_file.write_text(json.dumps(await keys(run)))
        await run.voke.wait_for(
            lambda: sum(line["event"] == "session opened" for line in run.log) > sessions, within=WITHIN
        )
        count = len(run.samples("M2"))
        await run.voke.wait_for(lambda: len(run.samples("M2")) > count + 1, within=WITHIN)
        assert other.stats.connections == 1, "other credentials are no matter of the PLC's"
        await until_status(run, "second", lambda status: status and status.state == "Running")

        plant_file.unlink()
        await until_status(run, "second", lambda status: status is None)
        assert other.stats.connections_open == 0

        instants = [datetime.fromisoformat(at).timestamp() for at, _ in run.samples("M1")][1:]
        gaps = [later - earlier for earlier, later in pairwise(instants)]
        assert len(gaps) > 5
        assert all(0.5 < gap < 1.5 for gap in gaps), gaps
        assert (first.stats.connections, first.stats.connections_peak) == (1, 1)
        assert not run.voke.refused
        bundle = tmp_path / "state" / ".bundle"
        assert {file.stat().st_mode & 0o077 for file in (bundle, *bundle.iterdir())} == {0}
        assert await run.gateway.stop() == 0
        assert not bundle.exists(), "keys from Secrets do not outlive the run"


class Pod:
    """``python -m voke_gateway`` on a bundle directory."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def status(self) -> GatewayStatus | None:
        body = await self.get("/status")
        return GatewayStatus.model_validate_json(body) if body else None

    async def get(self, path: str) -> bytes:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return b""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        async with asyncio.timeout(WITHIN):
            answer = await reader.read()
        writer.close()
        return answer.partition(b"\r\n\r\n")[2]

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(WITHIN):
            while (status := await self.status()) is None or not holds(status):
                await asyncio.sleep(0.05)


async def start_pod(bundle: Path, *before: str) -> Pod:
    (port,) = free_ports(1)
    arguments = (
        *("-m", "voke_gateway", "--bundle", str(bundle)),
        *("--http", f"127.0.0.1:{port}", "--local", "none"),
    )
    process = await asyncio.create_subprocess_exec(
        *before, sys.executable, *arguments, stderr=asyncio.subprocess.PIPE
    )
    return Pod(process, port)


async def stop_pod(pod: Pod) -> tuple[int, list[Json]]:
    """Its exit status and its log."""
    pod.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(15):
        _, log = await pod.process.communicate()
    assert pod.process.returncode is not None
    return pod.process.returncode, [json.loads(line) for line in log.splitlines()]


def fleet_of(*servers: ModbusServer) -> Fleet:
    """A plant for each, of the kind that needs no material; nobody answers at their Voke."""
    fleet = Fleet()
    for number, server in enumerate(servers):
        fleet.plants[f"p{number}"] = entry(f"p{number}", server.host)
        fleet.plants[f"p{number}"].spec["connections"][0]["modbusTcp"]["port"] = server.port
    return fleet


async def test_a_pod_follows_the_link_that_kubelet_swaps_and_ends_when_asked(tmp_path: Path) -> None:
    async with ModbusServer({1: meter(1)}) as one, ModbusServer({1: meter(2)}) as two:
        pod = await start_pod(tmp_path / "bundle")
        try:
            await pod.until(lambda status: status.bundle_problems)
            assert await pod.get("/readyz") == b"starting\n"
            fleet = fleet_of(one, two)
            mount(tmp_path / "bundle", fleet.files(), 1)
            await pod.until(lambda status: status.bundle_generation == 1 and len(status.plants) == 2)
            await pod.until(lambda status: all(plant.last_snapshot_at for plant in status.plants))
            assert await pod.get("/readyz") == b"ok\n"
            fleet.plants["p1"].spec["devices"][0]["points"].pop(0)
            mount(tmp_path / "bundle", fleet.files(), 2)
            await pod.until(lambda status: status.bundle_generation == 2 and not status.bundle_problems)
            del fleet.plants["p1"]
            mount(tmp_path / "bundle", fleet.files(), 3)
            await pod.until(lambda status: [plant.name for plant in status.plants] == ["p0"])
            assert (one.stats.connections, two.stats.connections) == (1, 1)
            assert (one.stats.connections_open, two.stats.connections_open) == (1, 0)
        finally:
            ended, log = await stop_pod(pod)
        assert ended == 0
        assert log[-1]["event"] == "gateway stopped"
        assert one.stats.connections_open == 0


async def test_too_few_open_files_are_said_once_and_what_is_connected_goes_on(tmp_path: Path) -> None:
    async with ModbusServer({1: meter(1)}) as server:
        fleet = fleet_of(server)
        others = [socket.create_server(("127.0.0.1", 0)) for _ in range(60)]
        fleet.plants["many"] = entry("many", *["127.0.0.1"] * len(others))
        for connection, listener in zip(fleet.plants["many"].spec["connections"], others, strict=True):
            connection["modbusTcp"]["port"] = listener.getsockname()[1]
        pod = await start_pod(tmp_path / "bundle", "/bin/sh", "-c", 'ulimit -n 48 && exec "$0" "$@"')
        try:
            await pod.until(lambda status: status.gateway)
            mount(tmp_path / "bundle", fleet.files(), 1)
            requests = server.stats.requests
            async with asyncio.timeout(WITHIN):
                while server.stats.requests < requests + 5:
                    await asyncio.sleep(0.1)
        finally:
            ended, log = await stop_pod(pod)
            for listener in others:
                listener.close()
    assert ended == 0
    said = [line for line in log if line["event"] == "out of open files"]
    assert len(said) == 1
    assert "48 files" in said[0]["problem"]
    assert not [line for line in log if "exception" in line]


@pytest.mark.parametrize("arguments", [[], ["--bundle", "x", "--http", "nonsense"]])
async def test_wrong_usage_of_a_pod_is_said(arguments: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "voke_gateway", *arguments, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(WITHIN):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert b"usage" in said
