"""A real gateway's own words, asked over HTTP, become conditions that stay the same while nothing changes."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.loops import until
from tests.support.site_facts import CONFIRMED, IN_USE
from tests.support.thread import Thread, device, meter, thread
from voke_api.resources import Plant
from voke_operator.runtime.fetch import HttpFetch
from voke_operator.status.conditions import plant_status, ready
from voke_operator.status.facts import BundleFacts, CredentialFacts, Finding, PlacementFacts, PlantFacts
from voke_operator.status.poll import Gateways, News, Shard
from voke_sim.plc.faults import Silent
from voke_sim.plc.server import ModbusServer

SHARD = Shard("default", "default", 0)


@dataclass
class Operator:
    """What an operator knows of the site, and when it heard something new."""

    plant: Plant
    news: list[News] = field(default_factory=list)
    gateways: Gateways = field(init=False)

    asked: int = 0

    def findings(self) -> dict[str, Finding]:
        """What the conditions are to say, Ready included."""
        facts = PlantFacts(
            name="site",
            namespace="default",
            generation=1,
            plant=self.plant,
            credentials=CredentialFacts(in_use=IN_USE, registered=CONFIRMED),
            placement=PlacementFacts(shard=0, gateway="voke-gw-default-0"),
            bundle=BundleFacts(generation=0, plant_generation=1),
            seen=self.gateways.view(SHARD).of("site"),
        )
        found = plant_status(facts).findings
        return {**found, "Ready": ready(found)}

    def says(self, type_: str, reason: str) -> bool:
        return self.findings()[type_].reason == reason

    def message(self, type_: str) -> str:
        return self.findings()[type_].message


@asynccontextmanager
async def watching(directory: Path, run: Thread) -> AsyncIterator[Operator]:
    host, port = await run.gateway.address()
    document = json.loads((directory / "plants/0.json").read_text())
    operator = Operator(Plant.model_validate_json(json.dumps(document), strict=True))
    async with HttpFetch() as fetch:

        async def counted(url: str) -> bytes:
            operator.asked += 1
            return await fetch(url)

        operator.gateways = Gateways(
            fetch=counted,
            locate=lambda _: f"http://{host}:{port}",
            changed=operator.news.append,
            wall_clock=time.time,
            interval=0.2,
        )
        operator.gateways.watch(SHARD)
        try:
            yield operator
        finally:
            await operator.gateways.close()


async def nothing_new(operator: Operator, *, within: float = 30) -> None:
    """Many answers, over several ticks of the plant and attempts of the gateway, bring nothing worth a word."""
    operator.news.clear()
    begin = operator.asked
    await until(lambda: operator.asked >= begin + 25, within=within)
    assert operator.news == []


async def test_what_is_wrong_at_a_real_site_is_named_and_the_words_do_not_flutter(tmp_path: Path) -> None:
    servers = {name: ModbusServer({1: meter(11), 2: meter(22)}) for name in ("plc1", "plc2")}
    devices = [
        device("MTR1", "plc1"),
        device("MTR2", "plc1", unit=2),
        device("MTR3", "plc2"),
        device("WIDE", "plc2", fields=3),
    ]
    async with (
        thread(tmp_path, servers, devices, plc_timeout="300ms") as run,
        watching(tmp_path, run) as operator,
    ):
        await until(lambda: operator.says("CloudConnected", "Connected"), within=30)
        await until(lambda: operator.says("DevicesReachable", "PointsRefused"), within=30)
        assert "WIDE.v1: exception 2" in operator.message("DevicesReachable")

        servers["plc1"].faults.add(Silent(), unit=2)
        plc1 = f"plc1 ({servers['plc1'].host}:{servers['plc1'].port})"
        await until(lambda: operator.says("DevicesReachable", "SomeDevicesNotRead"), within=30)
        await until(
            lambda: (
                operator.message("Ready")
                == f"MTR2, unit 2 of PLC {plc1}, does not answer, though the PLC takes the connection; 3 of 4 devices are "
                "read. Check unitId, and the line behind the PLC."
            ),
            within=30,
        )
        await nothing_new(operator)

        servers["plc1"].refuse_connections()
        await until(
            lambda: (
                operator.message("Ready")
                == f"PLC {plc1} does not answer: connection refused; 2 of 4 devices are read. Check its power, its address "
                "and the firewall in between."
            ),
            within=30,
        )
        await nothing_new(operator)

        await run.voke.broker.stop()
        await until(lambda: operator.says("Ready", "BrokerUnreachable"), within=30)
        assert operator.message("Ready").endswith("(Connection refused): check host, port and firewall")
        await nothing_new(operator)

        servers["plc1"].faults.clear()
        await servers["plc1"].accept_connections()
        await run.voke.broker.restart()
        await until(lambda: operator.says("Ready", "PointsRefused"), within=90)
