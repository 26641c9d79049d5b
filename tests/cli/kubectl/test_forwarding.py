"""The way to a gateway's loopback address: it is there as long as it is needed, and what keeps it away is said.

Ports of pods are forwarded by a kubelet. Here a program plays kubectl, with the words that kubectl has.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.cli.kubectl.wire import answering
from tests.support.fleet import Fleet, entry
from tests.support.loops import until
from tests.support.probing import probed
from voke_cli.kubectl import edge
from voke_cli.kubectl.edge import Kubectl, KubectlError, NotAllowedError, NotThereError
from voke_cli.kubectl.gateways import ask_probe, forwarded
from voke_sim.plc.bank import Bank, Registers
from voke_sim.plc.server import ModbusServer, Unit

PLACE = ("solar", "voke-gw-default-0")
NO_POD = "echo 'Error from server (NotFound): pods \"voke-gw-default-0-0\" not found' >&2; exit 1"
FORBIDDEN = (
    "error: error upgrading connection: pods is forbidden: User anna cannot create resource pods/portforward"
)


def pod(phase: str) -> str:
    return f"echo '{json.dumps({'status': {'phase': phase}})}'"


RUNNING = pod("Running")


def forwarding(port: int, directory: Path) -> str:
    """Says where it forwards from, and goes on until it is ended."""
    return f"echo $$ > {directory}/pid; echo 'Forwarding from 127.0.0.1:{port} -> 9101'; exec sleep 600"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program is to be."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    return tmp_path / "kubectl"


def play(program: Path, *, get: str, forward: str = "exit 1") -> Kubectl:
    """``get`` and ``forward`` are lines of shell."""
    program.write_text(f'#!/bin/sh\ncase "$1" in get) {get};; port-forward) {forward};; esac\n')
    program.chmod(0o700)
    return Kubectl()


def alive(pid: Path) -> bool:
    return Path(f"/proc/{pid.read_text().strip()}").exists()


async def test_a_plant_is_probed_through_it_and_it_ends_afterwards(kubectl: Path, tmp_path: Path) -> None:
    async with ModbusServer({1: Unit(Bank(input=Registers(64), holding=Registers(64)))}) as plc:
        fleet = Fleet({"site": entry("site", plc.host)})
        fleet.plants["site"].spec["connections"][0]["modbusTcp"]["port"] = plc.port
        async with probed(fleet) as one:
            port = int(one.url.rpartition(":")[2])
            runs = play(kubectl, get=pod("Running"), forward=forwarding(port, tmp_path))

            def through() -> str:
                with forwarded(runs, PLACE) as url:
                    assert url == one.url
                    assert alive(tmp_path / "pid")
                    return ask_probe(url, "site", ["D11"]).devices[0].external_id

            assert await asyncio.to_thread(through) == "D11"
    await until(lambda: not alive(tmp_path / "pid"))


@pytest.mark.parametrize(
    ("get", "forward", "kind", "says"),
    [
        (NO_POD, "exit 1", NotThereError, "there is no pod voke-gw-default-0-0 in namespace solar"),
        (
            pod("Pending"),
            "exit 1",
            KubectlError,
            "voke-gw-default-0-0 is Pending, not Running: kubectl describe",
        ),
        (RUNNING, f"echo '{FORBIDDEN}' >&2; exit 1", NotAllowedError, "right to create pods/portforward: "),
        (RUNNING, "echo 'error: lost connection to pod' >&2; exit 1", KubectlError, "lost connection to pod"),
    ],
    ids=["no pod", "pending", "forbidden", "lost"],
)
def test_what_keeps_it_away_is_said(
    kubectl: Path, get: str, forward: str, kind: type[KubectlError], says: str
) -> None:
    with pytest.raises(kind, match=says), forwarded(play(kubectl, get=get, forward=forward), PLACE):
        pytest.fail("there is no way")


def test_it_is_not_waited_for_for_ever(kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "_SERVES_WITHIN", 0.3)
    silent = play(kubectl, get=RUNNING, forward="exec sleep 600")
    with pytest.raises(KubectlError, match="no answer within"), forwarded(silent, PLACE):
        pytest.fail("there is no way")


def test_a_gateway_without_that_endpoint_is_said_to_be_without() -> None:
    with pytest.raises(KubectlError, match=r"nothing answers on 127\.0\.0\.1:9101 of the gateway's pod"):
        ask_probe("http://127.0.0.1:9", "site", [])


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9101", "https://127.0.0.1:9101", "http://:9101", "http://h:x", "http://127.0.0.1"]
)
def test_an_endpoint_is_a_host_and_a_port(url: str) -> None:
    with pytest.raises(KubectlError, match=r"is no http://HOST:PORT, such as http://127\.0\.0\.1:9101"):
        ask_probe(url, "site", [])


def test_a_redirect_is_not_followed() -> None:
    with answering(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    ) as port:
        with pytest.raises(KubectlError, match="answered with a redirect, which no gateway does: it was not"):
            ask_probe(f"http://127.0.0.1:{port}", "site", [])
