"""The broker's process: it starts, reloads, restarts, is killed, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.sim.voke.credentials import jwt_login, password_login, pkcs1_der, rsa_key, token
from tests.sim.voke.messages import Plant
from tests.sim.voke.mqtt import Message, connect
from voke_sim.voke import BrokerError, LocalVoke
from voke_sim.voke.broker import Broker, find_mosquitto
from voke_sim.voke.files import Files


@pytest.fixture
async def voke(tmp_path: Path) -> AsyncIterator[LocalVoke]:
    async with LocalVoke.start(tmp_path) as running:
        yield running


@pytest.fixture
def tls(voke: LocalVoke) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=voke.ca_pem.decode())


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    for _ in range(1000):
        if not is_running(pid):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"process {pid} lives on")


async def test_everything_ends_with_the_context(tmp_path: Path) -> None:
    async with LocalVoke.start(tmp_path) as voke:
        pids = [voke.broker.pid, voke.judge.pid]
        assert all(is_running(pid or 0) for pid in pids)
    for pid in pids:
        assert not is_running(pid or 0)
    assert "terminating" in voke.broker.log_text()


async def test_a_directory_can_be_used_again_and_nothing_of_the_past_is_remembered(tmp_path: Path) -> None:
    plant, key = Plant(), rsa_key()
    async with LocalVoke.start(tmp_path) as first:
        await first.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(key))
        first_ca = first.ca_pem
    async with LocalVoke.start(tmp_path) as second:
        assert second.ca_pem != first_ca
        tls = ssl.create_default_context(cadata=second.ca_pem.decode())
        with pytest.raises(Exception, match="0x87"):
            async with connect(
                second.host, second.ports.jwt, tls,
                client_id="x", username=plant.plant_id, password=token(key, plant.plant_id),
            ):  # fmt: skip
                pass


async def test_two_of_them_run_side_by_side(tmp_path: Path) -> None:
    async with LocalVoke.start(tmp_path / "a") as one, LocalVoke.start(tmp_path / "b") as other:
        ports = {*one_port_each(one), *one_port_each(other)}
        assert len(ports) == 8


def one_port_each(voke: LocalVoke) -> tuple[int, ...]:
    return (voke.ports.mtls, voke.ports.jwt, voke.ports.password, voke.ports.ingest)


async def test_it_listens_on_loopback_only(voke: LocalVoke) -> None:
    table = Path("/proc/net/tcp").read_text()  # noqa: ASYNC240
    for port in one_port_each(voke):
        assert f"0100007F:{port:04X} 00000000:0000 0A" in table
        assert f"00000000:{port:04X} 00000000:0000 0A" not in table


async def test_no_broker_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from voke_sim.voke import LocalVoke\n"
        "async def main():\n"
        "    async with LocalVoke.start(Path(sys.argv[1])) as voke:\n"
        "        print(voke.broker.pid, voke.judge.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(parent.stdout.readline(), 30)).split()]
    assert all(is_running(pid) for pid in pids)
    parent.kill()
    await asyncio.wait_for(parent.wait(), 10)
    for pid in pids:
        await gone(pid)


async def test_registering_drops_no_session_of_any_kind(voke: LocalVoke, tls: ssl.SSLContext) -> None:
    one, two, three, key = Plant(), Plant(), Plant(), rsa_key()
    made = await voke.register_password(one.plant_id, hmac_key=one.hmac_key)
    await voke.register_jwt(two.plant_id, hmac_key=two.hmac_key, public_key_der=pkcs1_der(key))
    async with (
        connect(voke.host, voke.ports.password, tls, **password_login(made)) as by_password,
        connect(
            voke.host, voke.ports.jwt, tls, **jwt_login(two.plant_id, token(key, two.plant_id))
        ) as by_jwt,
    ):
        for _ in range(3):
            await voke.register_password(Plant().plant_id, hmac_key="k")
        await voke.broker.reload()
        assert await by_password.publish(one.topic(), one.telemetry()) == 0
        assert await by_jwt.publish(two.topic(), two.telemetry()) == 0
        assert await by_password.publish(three.topic(), three.telemetry()) == 0x87


async def test_an_offline_session_outlives_reload_and_restart_and_its_commands_as_far_as_the_broker_goes(
    voke: LocalVoke, tls: ssl.SSLContext
) -> None:
    plant = Plant()
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    where = (voke.host, voke.ports.password, tls)
    async with connect(*where, **password_login(made), session_expiry=300) as client:
        await client.subscribe(plant.topic("command"))
    sent = [await voke.send_command(plant.plant_id, "HOLD")]
    await voke.broker.reload()
    sent.append(await voke.send_command(plant.plant_id, "HOLD"))
    await voke.broker.restart()
    sent.append(await voke.send_command(plant.plant_id, "HOLD"))
    async with connect(*where, **password_login(made), session_expiry=300) as client:
        assert client.session_present
        sent.append(await voke.send_command(plant.plant_id, "HOLD"))
        expected = sent if voke.broker.queues_for_offline_sessions else sent[-1:]
        assert [cmd_id_of(await client.message()) for _ in expected] == expected


async def test_a_session_that_was_up_when_the_broker_restarted_misses_nothing(
    voke: LocalVoke, tls: ssl.SSLContext
) -> None:
    plant = Plant()
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    where = (voke.host, voke.ports.password, tls)
    async with connect(*where, **password_login(made), session_expiry=300) as client:
        await client.subscribe(plant.topic("command"))
        await voke.broker.restart()
        cmd_id = await voke.send_command(plant.plant_id, "HOLD")
    async with connect(*where, **password_login(made), session_expiry=300) as client:
        assert cmd_id_of(await client.message()) == cmd_id


def cmd_id_of(message: Message) -> str:
    return str(json.loads(message.payload)["cmdId"])


async def test_after_a_restart_the_ports_are_the_same_and_messages_are_judged_again(
    voke: LocalVoke, tls: ssl.SSLContext
) -> None:
    plant = Plant()
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    ports, pid = voke.ports, voke.broker.pid
    for end in (voke.broker.stop, voke.broker.kill):
        await end()
        assert voke.broker.pid is None
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", ports.password)) != 0
        await voke.broker.restart()
        assert voke.ports == ports
        assert voke.broker.pid not in (None, pid)
        await voke.ingest.until_connected()
        before = voke.counters.total_accepted()
        async with connect(voke.host, ports.password, tls, **password_login(made)) as client:
            while await client.publish(plant.topic(), plant.telemetry()) == 0x10:
                await voke.ingest.until_connected()
        await voke.wait_for(lambda seen=before: voke.counters.total_accepted() > seen, 10)
    assert voke.counters.total_refused() == 0


async def test_what_was_taken_while_the_judge_was_stalled_is_judged_when_it_goes_on(
    voke: LocalVoke, tls: ssl.SSLContext
) -> None:
    plant = Plant()
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    os.kill(voke.judge.pid, signal.SIGSTOP)
    try:
        async with connect(voke.host, voke.ports.password, tls, **password_login(made)) as client:
            codes = [await client.publish(plant.topic(), plant.telemetry()) for _ in range(100)]
        assert codes == [0] * 100
        await voke.broker.restart()
    finally:
        os.kill(voke.judge.pid, signal.SIGCONT)
    await voke.wait_for(lambda: voke.counters.total_accepted() == 100, 10)
    assert voke.counters.total_refused() == 0


async def test_registrations_made_while_the_broker_is_down_count_when_it_is_back(
    voke: LocalVoke, tls: ssl.SSLContext
) -> None:
    plant = Plant()
    await voke.broker.kill()
    made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
    await voke.broker.restart()
    async with connect(voke.host, voke.ports.password, tls, **password_login(made)):
        pass


async def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    async with LocalVoke.start(tmp_path / "voke") as voke:
        broker = Broker(voke.files, plugin=Path("/nowhere/plugin.so"))
        with pytest.raises(BrokerError, match=re.escape("/nowhere/plugin.so")):
            await broker.start()
        assert broker.pid is None


def test_a_missing_broker_is_named_by_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voke_sim.voke.broker.SYSTEM_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="apt-get install mosquitto"):
        find_mosquitto()


def test_no_file_of_a_broker_can_be_read_by_others(tmp_path: Path) -> None:
    files = Files(tmp_path / "voke")
    files.create()
    assert files.directory.stat().st_mode & 0o777 == 0o700
