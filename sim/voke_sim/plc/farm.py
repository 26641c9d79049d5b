"""Many static PLCs in a process of their own: the other end of a benchmark.

``python -m voke_sim.plc --servers 100 --units 1 --values 10`` prints one JSON line with the ports when all
of them listen, and a second one with what it cost when it ends (SIGTERM, SIGINT, or end of a piped stdin).
Every unit shows ``values`` float32 values in its holding registers from address 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random
from typing import TextIO

import uvloop

from voke_sim.plc.bank import Bank, Registers
from voke_sim.plc.server import ModbusServer, Unit
from voke_sim.plc.signals import Json

_NOT_TIMED_OUT = 30.0
"""Seconds a farm may take to start or to stop."""


def farm_unit(values: int, random: Random) -> Unit:
    """A unit with ``values`` float32 values from holding register 0."""
    table = Registers(2 * values)
    for index in range(values):
        table.put(2 * index, "float32", random.uniform(-1000.0, 1000.0))
    return Unit(Bank(holding=table))


async def start_farm(servers: int, *, units: int = 1, values: int = 10) -> list[ModbusServer]:
    """Open that many servers in this process, each on a free port of 127.0.0.1."""
    random = Random(0)
    farm = [
        ModbusServer({unit: farm_unit(values, random) for unit in range(1, units + 1)})
        for _ in range(servers)
    ]
    for server in farm:
        await server.start()
    return farm


@dataclass(frozen=True, slots=True)
class Farm:
    """A farm that runs in a process of its own."""

    host: str
    ports: tuple[int, ...]
    units: int
    values: int
    process: asyncio.subprocess.Process

    async def stop(self) -> Json:
        """End it and return what it cost: requests, connections, cpu_seconds, wall_seconds."""
        process = self.process
        if process.returncode is None:
            process.terminate()
        output = process.stdout
        line = await asyncio.wait_for(output.readline(), _NOT_TIMED_OUT) if output else b""
        await asyncio.wait_for(process.wait(), _NOT_TIMED_OUT)
        cost: Json = json.loads(line)
        return cost


@contextlib.asynccontextmanager
async def farm_process(servers: int, *, units: int = 1, values: int = 10) -> AsyncIterator[Farm]:
    """A farm in a process of its own, which ends with the block at the latest."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "voke_sim.plc"),
        *("--servers", str(servers), "--units", str(units), "--values", str(values)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**22,
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the farm's output is not a pipe")
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), _NOT_TIMED_OUT))
        yield Farm(ready["host"], tuple(ready["ports"]), units, values, process)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def serve(servers: int, *, units: int, values: int, output: TextIO) -> None:
    """Run a farm until this process is told to end."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    farm = await start_farm(servers, units=units, values=values)
    _say(
        output,
        {
            "host": farm[0].host if farm else "127.0.0.1",
            "ports": [server.port for server in farm],
            "units": units,
            "values": values,
            "pid": os.getpid(),
        },
    )
    started, cpu = time.monotonic(), time.process_time()
    watcher = loop.create_task(_end_of_input(ended))
    await ended.wait()
    watcher.cancel()
    _say(
        output,
        {
            "requests": sum(server.stats.requests for server in farm),
            "connections": sum(server.stats.connections for server in farm),
            "connections_peak": max((server.stats.connections_peak for server in farm), default=0),
            "cpu_seconds": round(time.process_time() - cpu, 3),
            "wall_seconds": round(time.monotonic() - started, 3),
        },
    )
    for server in farm:
        await server.stop()


async def _end_of_input(ended: asyncio.Event) -> None:
    """Set ``ended`` when a piped stdin ends: the parent is gone. A terminal or /dev/null says nothing."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        pass
    ended.set()


def _say(output: TextIO, line: Json) -> None:
    output.write(json.dumps(line) + "\n")
    output.flush()


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``python -m voke_sim.plc``."""
    parser = argparse.ArgumentParser(
        prog="python -m voke_sim.plc", description="Many static Modbus TCP PLCs."
    )
    parser.add_argument("--servers", type=int, default=100, help="endpoints, each with its own port")
    parser.add_argument("--units", type=int, default=1, help="unit ids behind each endpoint, from 1")
    parser.add_argument(
        "--values", type=int, default=10, help="float32 values per unit (at most 62 a request)"
    )
    chosen = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.servers, units=chosen.units, values=chosen.values, output=sys.stdout))
