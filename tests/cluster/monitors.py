"""Where a Prometheus finds what the Prometheus operator's monitors name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.cluster.selection import Pod, matches

Json = Mapping[str, Any]


def targets(monitor: Json, *, services: Sequence[Json], pods: Sequence[Pod]) -> dict[str, str]:
    """By pod, where a ServiceMonitor or a PodMonitor has it scraped."""
    found = (
        _by_service(monitor, services, pods)
        if monitor["kind"] == "ServiceMonitor"
        else _by_pod(monitor, pods)
    )
    return {pod.name: f"http://{pod.address}:{port}{path}" for pod, port, path in found}


def _by_pod(monitor: Json, pods: Sequence[Pod]) -> Iterator[tuple[Pod, int, str]]:
    for pod in pods:
        if not _looks_at(monitor, pod.namespace) or not matches(monitor["spec"]["selector"], pod.labels):
            continue
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] in pod.ports:
                yield pod, pod.ports[endpoint["port"]], endpoint["path"]


def _by_service(
    monitor: Json, services: Sequence[Json], pods: Sequence[Pod]
) -> Iterator[tuple[Pod, int, str]]:
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        labels = metadata.get("labels", {})
        if not _looks_at(monitor, metadata["namespace"]) or not matches(monitor["spec"]["selector"], labels):
            continue
        behind = [
            pod
            for pod in pods
            if pod.namespace == metadata["namespace"]
            and matches({"matchLabels": spec["selector"]}, pod.labels)
        ]
        for endpoint in monitor["spec"]["endpoints"]:
            for port in spec["ports"]:
                if port.get("name") == endpoint["port"]:
                    target = port["targetPort"]
                    for pod in behind:
                        yield pod, pod.ports[target] if isinstance(target, str) else target, endpoint["path"]


def _looks_at(monitor: Json, namespace: str) -> bool:
    where = monitor["spec"].get("namespaceSelector", {})
    wanted = where.get("matchNames", [monitor["metadata"]["namespace"]])
    return bool(where.get("any")) or namespace in wanted
