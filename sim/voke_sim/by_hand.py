"""What a person without a PLC and without a Voke needs to try a Plant file: one of each, in a terminal.

``inverter`` serves one inverter over Modbus TCP. ``voke DIRECTORY`` runs a broker and a judge, writes how to
reach them into DIRECTORY/pool.yaml, and registers the plants whose exported credentials appear in
DIRECTORY/plants/<plant id>; certificate requests among them come back signed, as DIRECTORY/signed/<plant id>.crt.
Both run until Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import signal
import sys
from pathlib import Path
from textwrap import indent

from voke_sim.plc.models import inverter_map
from voke_sim.plc.physics import HOUR, Inverter, Sun
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import CertificateError, LocalVoke
from voke_sim.voke.files import write_private
from voke_sim.voke.judge import Verdict

HOST = "127.0.0.1"
DEFAULT_PORT = 15020
_STEP = 0.2
_LOOK = 0.3
_MTLS = frozenset({"hmac.key", "ca.crt", "ca.crl", "tls.csr"})
_JWT = frozenset({"hmac.key", "jwt-public.der"})


async def serve_inverter(port: int, *, host: str = HOST, unit: int = 1, ended: asyncio.Event) -> None:
    """Serve one inverter until ``ended``; its day begins at eleven in the morning.

    Raises:
        OSError: the port cannot be listened on, or the host is no address of this machine.
    """
    inverter, sun = Inverter(), Sun()
    found = inverter_map("INV1", inverter, "AC-001234")
    shown = found.unit()
    loop = asyncio.get_running_loop()
    started = last = loop.time()
    async with await ModbusServer({unit: shown}, max_connections=2).start(host, port) as server:
        sys.stderr.write(f"an inverter answers on {server.host}:{server.port}, unit {unit}\n")
        while not ended.is_set():
            now = loop.time()
            time = 11 * HOUR + now - started
            inverter.step(time, now - last, sun.irradiance(time))
            last = now
            found.store(shown.bank)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _STEP)


async def serve_voke(directory: Path, *, ended: asyncio.Event) -> None:
    """Run a local Voke until ``ended``.

    Each message goes to standard output as ``mosquitto_sub -v`` prints it, and what the judge thinks of it to
    standard error.
    """
    async with LocalVoke.start(directory / "broker") as voke:
        voke.ingest.on_judged = _say
        plants, signed = directory / "plants", directory / "signed"
        for made in (plants, signed):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        pool = directory / "pool.yaml"
        write_private(pool, pool_document(voke))
        sys.stderr.write(f"Voke is up: {pool} says where; export credentials to {plants}/<plant id>\n")
        seen: dict[str, object] = {}
        registered: dict[str, object] = {}
        while not ended.is_set():
            for plant in plants.iterdir():
                present = _listing(plant)
                settled = seen.get(plant.name) == present
                seen[plant.name] = present
                if settled and registered.get(plant.name) != present:
                    registered[plant.name] = present
                    await _register(voke, plant, signed)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _LOOK)


def pool_document(voke: LocalVoke) -> str:
    """A GatewayPool called default that leads to this Voke, and the Secret with its root certificate."""
    return f"""\
apiVersion: voke.lovinka.com/v1alpha1
kind: GatewayPool
metadata: {{name: default}}
spec:
  voke:
    host: {voke.host}
    ports: {{mtls: {voke.ports.mtls}, jwt: {voke.ports.jwt}, password: {voke.ports.password}}}
    ca: {{secretRef: {{name: voke-broker-ca, key: ca.crt}}}}
---
apiVersion: v1
kind: Secret
metadata:
  name: voke-broker-ca
  labels: {{voke.lovinka.com/allow: "true"}}
stringData:
  ca.crt: |
{indent(voke.ca_pem.decode(), "    ")}"""


async def _register(voke: LocalVoke, plant: Path, signed: Path) -> None:
    held = {path.name: path.read_bytes() for path in _files(plant) if path.name in _MTLS | _JWT}
    try:
        if held.keys() >= _MTLS:
            hmac_key = held["hmac.key"]
            await voke.register_mtls(
                plant.name, hmac_key=hmac_key, ca_pem=held["ca.crt"], crl_pem=held["ca.crl"]
            )
            certificate = await voke.register_mtls(plant.name, hmac_key=hmac_key, csr_pem=held["tls.csr"])
            write_private(signed / f"{plant.name}.crt", certificate or b"")
        elif held.keys() >= _JWT:
            await voke.register_jwt(
                plant.name, hmac_key=held["hmac.key"], public_key_der=held["jwt-public.der"]
            )
        else:
            return
    except (CertificateError, ValueError) as error:
        sys.stderr.write(f"{plant.name} cannot be registered: {error}\n")
        return
    sys.stderr.write(f"{plant.name} is registered\n")


def _files(plant: Path) -> list[Path]:
    return sorted(path for path in plant.iterdir() if path.is_file()) if plant.is_dir() else []


def _listing(plant: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file does."""
    found = [(path.name, path.stat()) for path in _files(plant)]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def _say(topic: str, payload: bytes, verdict: Verdict) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(f"{topic} ".encode() + payload + b"\n")
        sys.stdout.buffer.flush()
    if verdict.reason is not None:
        sys.stderr.write(f"{topic} refused: {verdict.reason}: {verdict.detail}\n")


async def _until_told(arguments: argparse.Namespace) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    if arguments.what == "inverter":
        try:
            await serve_inverter(arguments.port, host=arguments.host, unit=arguments.unit, ended=ended)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                sys.exit(f"port {arguments.port} is in use; choose another with --port")
            sys.exit(f"cannot listen on {arguments.host}, port {arguments.port}: {error.strerror}")
    else:
        await serve_voke(arguments.directory, ended=ended)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``python -m voke_sim``."""
    parser = argparse.ArgumentParser(prog="python -m voke_sim", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    defaults = argparse.ArgumentDefaultsHelpFormatter
    inverter = kinds.add_parser("inverter", help="one simulated inverter", formatter_class=defaults)
    inverter.add_argument("--host", default=HOST, help="address of this machine to listen on")
    inverter.add_argument("--port", type=int, default=DEFAULT_PORT, help="TCP port")
    inverter.add_argument("--unit", type=int, default=1, help="Modbus unit id")
    voke = kinds.add_parser("voke", help="a local Voke")
    voke.add_argument("directory", type=Path, help="for pool.yaml, plants/ and the broker's files")
    asyncio.run(_until_told(parser.parse_args(arguments)))
