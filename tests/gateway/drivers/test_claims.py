"""One process and one connection to a PLC: how an endpoint is claimed, by whom it is held, when it is free."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.children import ending
from tests.support.modbus import eventually
from tests.support.modbus_connections import Soonest, poll
from tests.support.modbus_devices import device, point
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_api.resources.plant import ModbusTcp
from voke_gateway.clock import system_clock
from voke_gateway.drivers.base import Connection, FaultKind
from voke_gateway.drivers.claims import EndpointClaims, EndpointHeldError, user_directory
from voke_gateway.drivers.registry import exclusive
from voke_sim.plc.bank import Bank
from voke_sim.plc.server import ModbusServer, Unit

HOLDER = """
import asyncio, sys
from pathlib import Path
from voke_gateway.drivers.claims import EndpointClaims

async def main():
    await EndpointClaims("voke run", Path(sys.argv[1])).claim("127.0.0.1", 1502, "connection plc1", within=1)
    print("claimed", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


async def claim(claims: EndpointClaims, host: str = "127.0.0.1", port: int = 1502) -> None:
    await claims.claim(host, port, "connection plc1", within=1.0)


async def test_an_endpoint_is_claimed_once_and_the_refusal_says_by_whom(locks: Path) -> None:
    await claim(EndpointClaims("voke run", locks))
    with pytest.raises(EndpointHeldError) as refusal:
        await claim(EndpointClaims("voke probe", locks))
    assert str(refusal.value) == (
        f"127.0.0.1:1502 is in use by voke run (process {os.getpid()}), connection plc1; "
        "a PLC is read by one at a time"
    )
    await claim(EndpointClaims("voke probe", locks), port=1503)


async def test_a_second_use_in_the_same_process_is_refused(locks: Path) -> None:
    claims = EndpointClaims("voke run", locks)
    await claim(claims)
    with pytest.raises(EndpointHeldError, match="in use by this process already, as connection plc1"):
        await claim(claims)


async def test_it_is_free_when_given_back_and_leaves_nothing_behind(locks: Path) -> None:
    release = await EndpointClaims("voke probe", locks).claim("127.0.0.1", 1502, "x", within=1.0)
    release()
    assert names(locks) == []
    await claim(EndpointClaims("voke run", locks))


def test_a_killed_process_holds_nothing(locks: Path) -> None:
    held = subprocess.Popen([sys.executable, "-c", HOLDER, str(locks)], stdout=subprocess.PIPE, text=True)
    assert held.stdout is not None
    with held, ending(held):
        assert held.stdout.readline() == "claimed\n"
        with pytest.raises(EndpointHeldError, match=rf"voke run \(process {held.pid}\), connection plc1"):
            asyncio.run(claim(EndpointClaims("voke probe", locks)))
        held.kill()
        held.wait()
    asyncio.run(claim(EndpointClaims("voke probe", locks)))


async def test_names_and_addresses_of_one_endpoint_are_one(locks: Path) -> None:
    await claim(EndpointClaims("voke run", locks), host="localhost")
    for same in ("127.0.0.1", "LOCALHOST"):
        with pytest.raises(EndpointHeldError):
            await claim(EndpointClaims("voke probe", locks), host=same)


async def test_a_name_that_does_not_resolve_is_compared_as_it_is_written(locks: Path) -> None:
    odd = "no such host/" + "x" * 200
    await claim(EndpointClaims("voke run", locks), host=odd)
    with pytest.raises(EndpointHeldError):
        await claim(EndpointClaims("voke probe", locks), host=odd)


def test_many_that_come_and_go_never_hold_it_at_once(locks: Path) -> None:
    holding: list[int] = []
    taken: list[int] = []

    async def come_and_go(party: int) -> None:
        claims = EndpointClaims(f"party {party}", locks)
        for _ in range(300):
            try:
                release = await claims.claim("127.0.0.1", 1502, "x", within=1.0)
            except EndpointHeldError:
                continue
            holding.append(party)
            taken.append(party)
            assert holding == [party]
            holding.remove(party)
            release()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(asyncio.run, come_and_go(party)) for party in range(4)]:
            done.result()
    assert taken


async def test_without_a_usable_directory_claims_hold_inside_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    claims = EndpointClaims("voke run", tmp_path / "file" / "locks")
    assert "cannot use" in claims.trouble
    await claim(claims)
    with pytest.raises(EndpointHeldError):
        await claim(claims)


def somebody_elses(path: Path) -> Path:
    """A directory that another user owns."""
    if os.geteuid() != 0:
        return Path("/usr")
    path.mkdir(mode=0o700)
    os.chown(path, 12345, 12345)
    return path


def open_to_all(path: Path) -> Path:
    path.mkdir()
    path.chmod(0o1777)
    return path


def linked(path: Path) -> Path:
    path.with_name("elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.with_name("elsewhere"))
    return path


@pytest.mark.parametrize(
    ("squatted", "said"),
    [
        (somebody_elses, "it belongs to user "),
        (open_to_all, "other users may use it; remove it"),
        (linked, "it is no directory; remove it"),
    ],
)
async def test_a_directory_that_another_user_can_reach_is_not_used_and_blocks_nobody(
    tmp_path: Path, squatted: Callable[[Path], Path], said: str
) -> None:
    directory = squatted(tmp_path / "locks")
    before = names(directory)
    claims = EndpointClaims("voke run", directory)
    assert claims.trouble.startswith(f"cannot use {directory}: {said}")
    await claim(claims)
    with pytest.raises(EndpointHeldError, match="in use by this process already"):
        await claim(claims)
    assert names(directory) == before


def test_nobody_else_can_look_into_the_directory(locks: Path) -> None:
    asyncio.run(claim(EndpointClaims("voke run", locks)))
    assert locks.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in locks.iterdir()} == {0o600}


def test_the_directory_is_the_users_own_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = user_directory()
    assert before.name == f"voke-{os.geteuid()}"
    for name in ("TMPDIR", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, "/nowhere")
    assert user_directory() == before


@asynccontextmanager
async def opened(claims: EndpointClaims, port: int) -> AsyncIterator[Connection]:
    spec = ConnectionSpec(name="plc1", modbus_tcp=ModbusTcp(host="127.0.0.1", port=port, timeout=0.5))
    one = exclusive(claims)["modbus_tcp"](
        spec, [device(point("a"))], wall_clock=system_clock, random=Soonest()
    )
    try:
        yield one
    finally:
        await one.close()


async def test_a_connection_claims_its_endpoint_and_waits_until_it_is_free(locks: Path) -> None:
    async with ModbusServer({1: Unit(Bank.of(10))}) as server:
        async with opened(EndpointClaims("voke run", locks), server.port) as second:
            async with opened(EndpointClaims("voke probe", locks), server.port) as first:
                assert (await poll(first))["INV1"].values == {"a": 0}
                fault = (await poll(second))["INV1"].fault
                assert fault is not None
                assert fault.kind is FaultKind.UNREACHABLE
                assert "is in use by voke probe" in fault.detail
                assert "connection plc1 of INV1" in fault.detail
            await eventually(lambda: server.stats.connections_open == 0)
            assert (await poll(second))["INV1"].values == {"a": 0}
        assert server.stats.connections_peak == 1
