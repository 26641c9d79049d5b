"""``docs/plant-in-a-cluster.md``, word by word, but for the address of the PLC and the namespace."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.machine import ADDRESS
from tests.cluster.node.fleet import Fleet
from tests.support.thread import meter
from voke_sim.plc.server import ModbusServer

pytestmark = pytest.mark.timeout(300)

DOCUMENT = Path(__file__).parents[3] / "docs" / "plant-in-a-cluster.md"
NAME = "first-site"


async def test_the_first_plant_of_the_document_is_ready_by_its_own_commands(
    sites: Fleet, tmp_path: Path
) -> None:
    plane = sites.here.plane
    blocks = iter(re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE))
    path = f"{plane.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    async with await ModbusServer({1: meter(11)}).start(ADDRESS) as plc:

        async def follow() -> str:
            """The next block of commands; what it prints."""
            commands = next(blocks).replace("kubectl create namespace energy\n", "")
            commands = commands.replace("energy", sites.namespace)
            commands = commands.replace("host: 10.20.3.11, port: 502", f"host: {ADDRESS}, port: {plc.port}")
            done = await asyncio.to_thread(
                subprocess.run,
                ["bash", "-euo", "pipefail", "-c", commands],
                cwd=tmp_path,
                env={"KUBECONFIG": str(plane.kubeconfig), "PATH": path, "HOME": str(tmp_path)},
                check=False,
                text=True,
                capture_output=True,
            )
            assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}"
            return done.stdout

        await follow()
        assert NAME in await follow(), "what to register"
        await sites.here.register(sites.voke, NAME)
        await follow()
        shown = await follow()
        assert re.search(rf"^{NAME} +True ", shown, re.MULTILINE), shown
        assert "11" in shown
    assert next(blocks, None) is None, "the document has further commands"
