"""Who may reach whom by the NetworkPolicies, and what a Prometheus finds, of an installation as it runs."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.binaries import MONITORS, tools
from tests.cluster.charts import of_kind, rendered
from tests.cluster.machine import ADDRESS
from tests.cluster.monitors import targets
from tests.cluster.network_policy import Network, Place, selected
from tests.cluster.node.fleet import SMALL, Fleet
from tests.cluster.release import OWN, RunningRelease
from tests.cluster.selection import Pod, pods
from voke_operator import names

pytestmark = pytest.mark.timeout(400)

HTTP, OPERATORS_HTTP, DNS, HTTPS = 9100, 8080, 53, 443
API = "10.96.0.1"
"""Of the API server's Service."""
OUTSIDE = "192.0.2.7"
PROMETHEUS = Pod("monitoring", "prometheus-0", {"app.kubernetes.io/name": "prometheus"}, "10.244.7.7")
STRANGER = Pod("elsewhere", "stranger", {}, "10.244.8.8")
LISTENING = """
import glob
lines = (line.split() for path in glob.glob("/proc/net/tcp*") for line in open(path))
places = (words[1].rpartition(":") for words in lines if words[3] == "0A")
loopback = ("0100007F", "00000000000000000000000001000000")
print(sorted({int(port, 16) for address, _, port in places if address not in loopback}))
"""
PORTS = (1, 22, DNS, 80, HTTPS, 502, 6443, OPERATORS_HTTP, HTTP, HTTP + 1, 65535)
"""Some, to knock at."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What the chart and the operator have made."""

    sites: Fleet
    network: Network
    operators: list[Pod]
    confined: Pod
    """A gateway whose pool lists where it may go."""
    free: Pod
    """A gateway of another pool."""
    others: list[Pod]

    @property
    def gateways(self) -> list[Pod]:
        return [self.confined, self.free]


@pytest.fixture
async def installed(sites: Fleet, release: RunningRelease) -> Installed:
    """A plant on a gateway of each pool; the pool ``default`` may reach the machine only."""
    await sites.pool("default", pod={**SMALL, "egressCIDRs": [f"{ADDRESS}/32"]})
    await sites.add("brno")
    await sites.add("elsewhere", pool="other")
    running = {(each.namespace, each.name): each for each in pods((await sites.get("pods", "-A"))["items"])}
    confined, free = (
        running.pop((sites.namespace, names.gateway_pod(pool, 0))) for pool in ("default", "other")
    )
    operators = [running.pop((OWN, name)) for name in release.operator_pods()]
    (test,) = pods(of_kind(rendered(namespace=OWN), "Pod"))
    namespaces = {
        each["metadata"]["name"]: each["metadata"]["labels"] for each in (await sites.get("ns"))["items"]
    }
    for made_up in (PROMETHEUS, STRANGER):
        namespaces[made_up.namespace] = {"kubernetes.io/metadata.name": made_up.namespace}
    network = Network(namespaces, (await sites.get("networkpolicies", "-A"))["items"])
    here = [each for each in running.values() if each.namespace in {OWN, sites.namespace}]
    return Installed(sites, network, operators, confined, free, [*here, test, PROMETHEUS, STRANGER])


async def listening(installed: Installed, pod: Pod) -> list[int]:
    """Ports at which a pod can be reached."""
    command = ("exec", "-n", pod.namespace, pod.name, "--", "python", "-c", LISTENING)
    found: list[int] = json.loads(await installed.sites.kubectl(*command))
    return found


async def test_a_policy_is_about_the_pods_meant_and_opens_the_port_that_they_listen_on(
    installed: Installed,
) -> None:
    everybody = [*installed.operators, *installed.gateways, *installed.others]
    sources: list[Place] = [PROMETHEUS, STRANGER, OUTSIDE, installed.confined, *installed.operators]
    meant = {
        (OWN, "voke-fleet-operator"): (installed.operators, OPERATORS_HTTP),
        (installed.sites.namespace, names.disruption_budget("default")): ([installed.confined], HTTP),
        (installed.sites.namespace, names.disruption_budget("other")): ([installed.free], HTTP),
    }
    found = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each
        for each in installed.network.policies
        if each["metadata"]["namespace"] in {OWN, installed.sites.namespace}
    }
    assert found.keys() == meant.keys()
    for which, (about, port) in meant.items():
        assert selected(found[which], everybody) == {each.name for each in about}
        for pod in about:
            assert await listening(installed, pod) == [port], pod.name
            for source in sources:
                assert {each for each in PORTS if installed.network.lets(source, pod, each)} <= {port}
                assert not any(installed.network.lets(source, pod, each, "UDP") for each in PORTS)
            assert installed.network.lets(PROMETHEUS, pod, port)


async def test_a_gateway_reaches_its_plcs_its_voke_and_dns_and_nothing_else_that_its_pool_does_not_list(
    installed: Installed,
) -> None:
    lets, gateway = installed.network.lets, installed.confined
    ports = installed.sites.voke.ports
    for port in (ports.mtls, ports.jwt, ports.password, installed.sites.servers["brno"].port):
        assert lets(gateway, ADDRESS, port)
    for resolver in ("10.96.0.10", OUTSIDE):
        assert lets(gateway, resolver, DNS, "UDP")
        assert lets(gateway, resolver, DNS)
    assert not lets(gateway, OUTSIDE, HTTPS)
    assert not lets(gateway, API, HTTPS)
    assert not any(lets(gateway, each, HTTP) for each in (installed.free, STRANGER))
    assert not any(lets(gateway, each, OPERATORS_HTTP) for each in installed.operators)
    assert lets(installed.free, OUTSIDE, HTTPS), "its pool lists nothing, so nothing is forbidden"


async def test_the_operator_reaches_gateways_the_api_server_and_dns_and_is_reached_by_pods_or_by_nobody(
    installed: Installed,
) -> None:
    lets = installed.network.lets
    for operator in installed.operators:
        assert all(lets(operator, each, HTTP) for each in installed.gateways)
        assert lets(operator, API, HTTPS)
        assert lets(operator, "10.96.0.10", DNS, "UDP")
        assert not any(lets(operator, each, 22) for each in installed.gateways)
        assert not lets(operator, ADDRESS, installed.sites.voke.ports.mtls)
        assert not any(lets(operator, each, HTTP) for each in (PROMETHEUS, STRANGER))
    test = "voke-fleet-operator-ready"
    assert reaching(installed, installed.network) >= {PROMETHEUS.name, STRANGER.name, test}
    silent = of_kind(rendered({"networkPolicy": {"metricsFrom": []}}, namespace=OWN), "NetworkPolicy")
    assert reaching(installed, Network(installed.network.namespaces, silent)) == {test}


def reaching(installed: Installed, network: Network) -> set[str]:
    """Names of the pods that reach every operator; the outside reaches none."""
    assert not any(network.lets(OUTSIDE, operator, OPERATORS_HTTP) for operator in installed.operators)
    return {
        each.name
        for each in (*installed.gateways, *installed.others)
        if all(network.lets(each, operator, OPERATORS_HTTP) for operator in installed.operators)
    }


async def test_prometheus_finds_every_operator_and_gateway_by_the_monitors_and_reads_them(
    installed: Installed, release: RunningRelease
) -> None:
    sites = installed.sites
    definitions = ",".join(str(tools() / name) for name in MONITORS)
    await sites.kubectl("apply", "--server-side", "-f", definitions)
    await sites.kubectl("wait", "--for=condition=established", "--timeout=30s", "-f", definitions)
    enabled = {"enabled": True, "additionalLabels": {"release": "prometheus"}}
    await sites.by_hand(release.install, {"monitoring": {"serviceMonitor": enabled, "podMonitor": enabled}})
    try:
        monitors = (await sites.get("servicemonitors,podmonitors", "-n", OWN, "-l", "release=prometheus"))[
            "items"
        ]
        services = (await sites.get("services", "-A"))["items"]
    finally:
        await sites.by_hand(release.install)
    everybody = [*installed.operators, *installed.gateways, *installed.others]
    found = {each["kind"]: targets(each, services=services, pods=everybody) for each in monitors}
    assert {kind: set(each) for kind, each in found.items()} == {
        "ServiceMonitor": {each.name for each in installed.operators},
        "PodMonitor": {each.name for each in installed.gateways},
    }
    prefixes = {"ServiceMonitor": "voke_operator_", "PodMonitor": "voke_gateway_"}
    for kind, places in found.items():
        for place in places.values():
            assert prefixes[kind] in " ".join(await asyncio.to_thread(metrics, place)), place


def metrics(place: str) -> list[str]:
    """Names of what is scraped there."""
    with urllib.request.urlopen(place, timeout=10) as answer:
        text: Any = answer.read().decode()
    return [family.name for family in text_string_to_metric_families(text)]
