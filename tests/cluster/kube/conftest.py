"""Clients of the API server, and one that misbehaves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster import faulty_api
from tests.cluster.control_plane import ControlPlane
from tests.cluster.faulty_api import FaultyApi
from voke_operator.kube.client import Client
from voke_operator.kube.reach import from_kubeconfig


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
