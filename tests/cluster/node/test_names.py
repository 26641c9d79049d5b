"""PLCs and Voke by name, as the cluster's DNS has them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cluster.dns import DOMAIN, VOKE_NAME
from tests.cluster.installation import Json, voke_documents
from tests.cluster.node.fleet import SMALL, Fleet
from voke_operator import names
from voke_sim.plc.server import ModbusServer

pytestmark = pytest.mark.timeout(400)

ON_THE_PODS_BRIDGE = "10.244.0.1"
"""The machine has this address, too."""


def headless(name: str, server: ModbusServer) -> list[Json]:
    """A name in the cluster for a PLC outside of it."""
    port = {"name": "modbus", "port": server.port}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"clusterIP": "None", "ports": [port]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [server.host]}],
            "ports": [port],
        },
    ]


async def by_name(sites: Fleet, plant: str, host: str) -> Json:
    """A Plant whose PLC has this name."""
    await sites.document(plant)  # its PLC runs
    place = {"host": host, "port": sites.servers[plant].port}
    return await sites.document(plant, connections=[{"name": "plc1", "modbusTcp": place}])


async def reachable(sites: Fleet, plant: str, says: str) -> None:
    """Wait until the condition about its devices has these words."""

    def holds(document: Json) -> Any:
        conditions = document.get("status", {}).get("conditions", [])
        return any(each["type"] == "DevicesReachable" and says in each["message"] for each in conditions)

    await sites.here.until(plant, holds)


async def logged(sites: Fleet, words: str) -> None:
    """Wait until the gateway's log has these words."""
    async with asyncio.timeout(60):
        while words not in await sites.kubectl("logs", names.gateway_pod("default", 0)):
            await asyncio.sleep(0.5)


async def test_a_plant_whose_plc_and_voke_have_names_is_read(sites: Fleet) -> None:
    """A short name, a whole one, and Voke's own, which a pool need not give."""
    pool, ca = voke_documents(sites.voke, pod=SMALL)
    del pool["spec"]["voke"]["host"]
    await sites.apply(pool, ca)
    assert (await sites.get("gatewaypool", "default"))["spec"]["voke"]["host"] == VOKE_NAME
    for plant, host in (("brno", "plc-brno"), ("plzen", f"plc-plzen.{sites.namespace}.svc.{DOMAIN}")):
        document = await by_name(sites, plant, host)
        await sites.apply(*headless(f"plc-{plant}", sites.servers[plant]), document)
        await sites.here.register(sites.voke, plant)
    await sites.until_read("brno", "plzen")
    await sites.here.until_ready("brno")


async def test_a_name_that_nobody_has_is_said_and_counts_as_soon_as_somebody_has_it(sites: Fleet) -> None:
    await sites.apply(await by_name(sites, "brno", "plc-brno"))
    await sites.here.register(sites.voke, "brno")
    await reachable(sites, "brno", "plc-brno")
    await sites.apply(*headless("plc-brno", sites.servers["brno"]))
    await sites.until_read("brno")
    await sites.here.until_ready("brno")


async def test_a_plc_whose_name_moves_to_another_address_is_followed(sites: Fleet) -> None:
    document = await by_name(sites, "brno", "plc-brno")
    server = sites.servers["brno"]
    await sites.apply(*headless("plc-brno", server), document)
    await sites.here.register(sites.voke, "brno")
    await sites.until_read("brno")
    port = server.port
    await server.stop()
    await server.start(ON_THE_PODS_BRIDGE, port)
    await sites.apply(*headless("plc-brno", server))
    await sites.until_read_from_now("brno")


async def test_dns_is_away_and_what_is_connected_is_read_on(sites: Fleet) -> None:
    await sites.apply(await by_name(sites, "brno", "plc-brno"), *headless("plc-brno", sites.servers["brno"]))
    await sites.here.register(sites.voke, "brno")
    await sites.until_read("brno")
    node = sites.cluster.node
    async with sites.undisturbed("brno"):
        await sites.by_hand(node.stop_dns)
        try:
            await sites.apply(
                await by_name(sites, "after", "plc-after"), *headless("plc-after", sites.servers["after"])
            )
            await sites.here.register(sites.voke, "after")
            await logged(sites, "plc-after")  # no such name, or no answer in time
        finally:
            await sites.by_hand(node.start_dns)
        await sites.until_read("after")
    assert await sites.restarts() == 0
