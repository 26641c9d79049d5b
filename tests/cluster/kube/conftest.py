"""Our kinds in the API server, and clients of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import faulty_api
from tests.cluster.control_plane import ControlPlane
from tests.cluster.faulty_api import FaultyApi
from voke_operator.kube.client import Client, from_kubeconfig
from voke_operator.kube.resources import OURS, Resource


@pytest.fixture(scope="session")
def kinds(control_plane: ControlPlane) -> None:
    """Our CustomResourceDefinitions, without their schemas: what is watched, not what is valid, is tested here."""
    control_plane.apply(*(_definition(resource) for resource in OURS))
    for resource in OURS:
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{resource.title}")


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    """Of the administrator."""
    async with contextlib.aclosing(Client(await from_kubeconfig(control_plane.kubeconfig))) as client:
        yield client


@pytest.fixture
async def faulty(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[FaultyApi]:
    """A proxy before the API server that makes faults."""
    async with faulty_api.running(control_plane, tmp_path) as faulty:
        yield faulty


@pytest.fixture
async def unlucky(faulty: FaultyApi) -> AsyncIterator[Client]:
    """A client that meets these faults."""
    async with contextlib.aclosing(Client(await from_kubeconfig(faulty.kubeconfig))) as client:
        yield client


def _definition(resource: Resource) -> dict[str, Any]:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.title},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced",
            "names": {
                "plural": resource.plural,
                "kind": resource.kind,
                "singular": resource.kind.lower(),
                "listKind": f"{resource.kind}List",
            },
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
