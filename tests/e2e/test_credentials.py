"""Generated credentials: made by the first run, shown and exported, registered at Voke, and then they work."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.plants import PLANT_ID
from tests.support.thread import device, meter
from voke_cli.demo.gateway import GatewayProcess
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke


def voke(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voke_cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def write_files(directory: Path, method: str, server: ModbusServer, local: LocalVoke) -> Path:
    files = directory / "plants"
    files.mkdir()
    ports = {"mtls": local.ports.mtls, "jwt": local.ports.jwt, "password": local.ports.password}
    ca = {"secretRef": {"name": "voke-ca", "key": "ca.crt"}}
    connection = {"host": server.host, "port": server.port}
    spec: dict[str, Any] = {
        "plantId": PLANT_ID,
        "auth": {"method": method},
        "telemetry": {"interval": "500ms"},
        "connections": [{"name": "plc", "modbusTcp": connection}],
        "devices": [device("M1", "plc")],
    }
    api = {"apiVersion": "voke.lovinka.com/v1alpha1"}
    documents = [
        {**api, "kind": "Plant", "metadata": {"name": "site"}, "spec": spec},
        {
            **api,
            "kind": "GatewayPool",
            "metadata": {"name": "default"},
            "spec": {"voke": {"host": local.host, "ports": ports, "ca": ca}},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "voke-ca", "labels": {"voke.lovinka.com/allow": "true"}},
            "stringData": {"ca.crt": local.ca_pem.decode()},
        },
    ]
    for index, document in enumerate(documents):
        (files / f"{index}.json").write_text(json.dumps(document))
    return files


@pytest.mark.parametrize("method", ["MTLS", "JWT"])
async def test_what_is_exported_is_what_voke_wants(tmp_path: Path, method: str) -> None:
    state, export = tmp_path / "state", tmp_path / "export"
    log: list[dict[str, Any]] = []
    async with LocalVoke.start(tmp_path / "voke") as local, ModbusServer({1: meter(11)}) as server:
        files = write_files(tmp_path, method, server, local)
        async with GatewayProcess.start(files, state=state, log=tmp_path / "log", hear=log.append) as gateway:
            shown = voke("credentials", "site", "--state", state, "--export", export, "--json")
            assert shown.returncode == 0, shown.stderr
            assert json.loads(shown.stdout)["plantId"] == PLANT_ID
            hmac_key = (export / "hmac.key").read_bytes()
            assert hmac_key.decode() not in shown.stdout
            if method == "MTLS":
                await local.register_mtls(
                    PLANT_ID,
                    hmac_key=hmac_key,
                    ca_pem=(export / "ca.crt").read_bytes(),
                    crl_pem=(export / "ca.crl").read_bytes(),
                )
            else:
                der = (export / "jwt-public.der").read_bytes()
                await local.register_jwt(PLANT_ID, hmac_key=hmac_key, public_key_der=der)
            # The first login was refused; a person has registered the keys meanwhile.
            await local.wait_for(lambda: local.latest(PLANT_ID, "M1"), within=100)
            assert not local.refused
            assert await gateway.stop() == 0
    for path in export.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any("private" in path.name or path.name == "tls.key" for path in export.iterdir())


def test_a_plant_that_is_not_known_is_a_clear_error(tmp_path: Path) -> None:
    shown = voke("credentials", "nowhere", "--state", tmp_path)
    assert shown.returncode == 1
    assert "has no credentials of 'nowhere' (it has: none yet)" in shown.stderr
