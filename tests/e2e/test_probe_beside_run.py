"""``voke probe`` beside ``voke run``: a PLC is never held by both."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.modbus import eventually
from tests.support.thread import device, meter, thread
from voke_sim.plc.server import ModbusServer


async def test_a_plc_that_voke_run_holds_is_not_touched_by_voke_probe(tmp_path: Path) -> None:
    server = ModbusServer({1: meter(7)})
    async with thread(tmp_path, {"plc1": server}, [device("M1", "plc1")]) as running:
        await eventually(lambda: running.samples("M1"), within=30.0)
        probe = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "voke_cli", "probe", str(tmp_path / "plants"), "--json"),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30.0):
            output, _ = await probe.communicate()
        (one,) = json.loads(output)["connections"][0]["devices"]
        assert probe.returncode == 1
        assert f"127.0.0.1:{server.port} is in use by voke run (process " in one["fault"]["detail"]
        assert "connection plc1 of M1" in one["fault"]["detail"]
        assert server.stats.connections == 1
