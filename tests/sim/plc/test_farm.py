"""A farm of PLCs runs as a process of its own, says where it listens, and ends when told to."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time

from tests.support.children import ending
from tests.support.modbus import Raw, read_request
from voke_sim.plc.farm import farm_process

COMMAND = [sys.executable, "-m", "voke_sim.plc", "--servers", "3", "--units", "2", "--values", "5"]


class Address:
    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port


async def test_every_server_of_a_farm_answers_and_the_cost_is_told() -> None:
    async with farm_process(20, units=2, values=10) as farm:
        assert len(set(farm.ports)) == 20
        for port in farm.ports:
            async with Raw.connect(Address(farm.host, port)) as raw:
                for unit in (1, 2):
                    assert len(await raw.ask(read_request(1, unit=unit, count=20))) == 49
        cost = await farm.stop()
    assert cost["requests"] == 40
    assert cost["connections_peak"] == 1


def test_a_farm_ends_on_sigterm() -> None:
    farm = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert farm.stdout is not None
    with farm, ending(farm):
        ready = json.loads(farm.stdout.readline())
        assert (len(ready["ports"]), ready["units"], ready["values"], ready["pid"]) == (3, 2, 5, farm.pid)
        farm.send_signal(signal.SIGTERM)
        assert farm.wait() == 0


def test_a_farm_ends_with_its_parents_pipe() -> None:
    farm = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert farm.stdout is not None
    with farm, ending(farm):
        farm.stdout.readline()
        assert farm.stdin is not None
        farm.stdin.close()
        assert farm.wait() == 0


async def test_ten_thousand_reads_a_second_leave_most_of_a_core_free() -> None:
    servers, rate, seconds = 50, 10_000, 1.5
    ask = read_request(1, count=20)
    async with farm_process(servers) as farm:
        streams = [await asyncio.open_connection(farm.host, port) for port in farm.ports]
        started, sent = time.monotonic(), 0
        while sent < rate * seconds:
            while sent < min(rate * seconds, (time.monotonic() - started) * rate):
                streams[sent % servers][1].write(ask)
                sent += 1
            await asyncio.sleep(0.002)
        for number, (reader, writer) in enumerate(streams):
            share = len(range(number, sent, servers))
            await asyncio.wait_for(reader.readexactly(49 * share), 30)
            writer.close()
        cost = await farm.stop()
    assert cost["requests"] == sent
    per_read = cost["cpu_seconds"] / sent
    print(f"{per_read * 1e6:.1f} µs of CPU per read, {per_read * rate:.0%} of a core at {rate} reads/s")
    assert per_read * rate < 0.8
