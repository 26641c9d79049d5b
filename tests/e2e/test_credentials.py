"""Generated credentials: made by the first run, shown and exported, registered at Voke, and then they work."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.support.plants import PLANT_ID
from tests.support.thread import device, meter
from voke_api.resources import Plant
from voke_cli.demo.gateway import GatewayProcess
from voke_cli.state import State
from voke_operator.credentials import material, renewal
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


def due_at(state: State, plant: Plant, moment: datetime) -> material.Material:
    """Generate what the plant needs so long ago that its certificate is to be renewed at ``moment``; the CA's files."""
    trial = State(state.directory / "trial")
    leaf = x509.load_pem_x509_certificate(trial.generated(plant, moment)["tls.crt"])
    made_at = moment - (renewal.renew_at(leaf, PLANT_ID) - moment)
    state.generated(plant, made_at)
    return state.fleet_ca(made_at)


async def test_a_certificate_is_renewed_while_the_gateway_runs_and_no_poll_is_missed(tmp_path: Path) -> None:
    state, log = State(tmp_path / "state"), list[dict[str, Any]]()
    async with LocalVoke.start(tmp_path / "voke") as local, ModbusServer({1: meter(11)}) as server:
        files = write_files(tmp_path, "MTLS", server, local)
        plant = Plant.model_validate_json((files / "0.json").read_bytes(), strict=True)
        ca = due_at(state, plant, datetime.now(UTC) + timedelta(seconds=20))
        hmac_key = state.material("site")["hmac.key"]
        crl = material.revocation_list(ca, datetime.now(UTC))
        await local.register_mtls(PLANT_ID, hmac_key=hmac_key, ca_pem=ca[material.ISSUER], crl_pem=crl)
        async with GatewayProcess.start(
            files, state=state.directory, log=tmp_path / "log", hear=log.append
        ) as gateway:
            await local.wait_for(lambda: len(set(local.broker.certificates(PLANT_ID))) == 2, within=60)
            count = len(local.accepted)
            await local.wait_for(lambda: len(local.accepted) > count + 2, within=30)
            newest = x509.load_pem_x509_certificate(state.material("site")["tls.crt"])
            assert local.broker.certificates(PLANT_ID)[-1] == newest.serial_number
            assert [line["plant"] for line in log if line["event"] == "client certificate renewed"] == [
                "site"
            ]
            assert not [line for line in log if line["event"].startswith("files planned")]
            assert server.stats.connections == 1
            reads = [datetime.fromisoformat(each.document["timestamp"]) for each in local.accepted]
            gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(sorted(reads)[1:])]
            assert all(0.25 < gap < 0.75 for gap in gaps), gaps
            assert not local.refused
            assert await gateway.stop() == 0
    assert state.material("site")["hmac.key"] == hmac_key
