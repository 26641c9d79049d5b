"""``docs/plant-in-a-cluster.md``, word by word, but for the address of the PLC and the namespace."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.cluster.machine import ADDRESS
from tests.cluster.node.document import follow
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
    programs = Path(sys.executable).parent

    async with await ModbusServer({1: meter(11)}).start(ADDRESS) as plc:

        async def following() -> str:
            """The next block of commands; what it prints."""
            commands = next(blocks).replace("kubectl create namespace energy\n", "")
            commands = commands.replace("energy", sites.namespace)
            commands = commands.replace("host: 10.20.3.11, port: 502", f"host: {ADDRESS}, port: {plc.port}")
            return await asyncio.to_thread(follow, commands, plane, directory=tmp_path, programs=programs)

        await following()
        assert NAME in await following(), "what to register"
        await sites.here.register(sites.voke, NAME)
        await following()
        shown = await following()
        assert re.search(rf"^{NAME} +True ", shown, re.MULTILINE), shown
        assert "11" in shown
    assert next(blocks, None) is None, "the document has further commands"
