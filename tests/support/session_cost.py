"""Program: what a session costs in memory and CPU. Arguments: broker directory, port, method, event loop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from tests.support.broker import OBSERVER, PASSWORD
from voke_api.resolved import PlantCredentials
from voke_gateway.uplink.mqtt import AiomqttConnector
from voke_gateway.uplink.session import Login

SESSIONS = 120
_WARM_UP = 20


def _login(directory: Path, port: int, number: int, *, mtls: bool) -> Login:
    name = f"c{number}"
    credentials = PlantCredentials(
        client_id=name,
        username=name,
        hmac_key=b"",
        tls_certificate=(directory / f"{name}.crt").read_bytes() if mtls else None,
        tls_key=(directory / f"{name}.key").read_bytes() if mtls else None,
        broker_ca=(directory / "ca.crt").read_bytes(),
    )
    return Login(
        host="localhost",
        port=port,
        client_id=name,
        username=None if mtls else OBSERVER,
        password=None if mtls else PASSWORD,
        session_expiry=300,
        keepalive=60,
        subscribe=("cpi/a/command",),
        credentials=credentials,
        present_certificate=mtls,
    )


def _resident_kilobytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


async def _measure(logins: list[Login]) -> dict[str, float]:
    connector = AiomqttConnector()
    sessions = [await connector.connect(login) for login in logins[:_WARM_UP]]
    gc.collect()
    memory, cpu = _resident_kilobytes(), time.process_time()
    sessions += await asyncio.gather(*(connector.connect(login) for login in logins[_WARM_UP:]))
    cpu = time.process_time() - cpu
    gc.collect()
    memory = _resident_kilobytes() - memory
    idle = time.process_time()
    await asyncio.sleep(1)
    idle = time.process_time() - idle
    for session in sessions:
        await session.close()
    added = len(logins) - _WARM_UP
    return {
        "kilobytes": memory / added,
        "connect_ms": cpu / added * 1e3,
        "idle_us": idle / len(logins) * 1e6,
    }


def _main(directory: str, port: str, method: str, loop: str) -> None:
    logins = [_login(Path(directory), int(port), number, mtls=method == "mtls") for number in range(SESSIONS)]
    run = uvloop.run if loop == "uvloop" else asyncio.run
    sys.stdout.write(json.dumps(run(_measure(logins))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
