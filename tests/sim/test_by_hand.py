"""The parts that a person starts by hand say why they cannot."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tests.support.modbus import eventually
from voke_sim.plc.bank import Bank
from voke_sim.plc.server import ModbusServer, Unit


def inverter(port: int, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voke_sim", "inverter", "--port", str(port), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


async def test_an_inverter_does_not_share_its_port() -> None:
    async with ModbusServer({1: Unit(Bank.of(1))}) as first:
        second = await asyncio.to_thread(inverter, first.port)
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr == f"port {first.port} is in use; choose another with --port\n"


def test_an_inverter_listens_on_addresses_of_this_machine_only() -> None:
    said = inverter(0, "--host", "203.0.113.7")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "cannot listen on 203.0.113.7, port 0: Cannot assign requested address\n"


async def test_a_port_is_kept_while_connections_are_refused() -> None:
    async with ModbusServer({1: Unit(Bank.of(1))}) as first:
        for times in (1, 2):
            first.refuse_connections()
            with pytest.raises(OSError, match="in use"):
                await ModbusServer({1: Unit(Bank.of(1))}).start(port=first.port)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(first.host, first.port)
            await first.accept_connections()
            _, writer = await asyncio.open_connection(first.host, first.port)
            await eventually(lambda: first.stats.connections == times)  # noqa: B023 - used at once
            writer.close()
            await writer.wait_closed()
            await eventually(lambda: first.stats.connections_open == 0)
