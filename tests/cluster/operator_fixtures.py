"""Fixtures of tests that run the operator."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation, installed
from voke_sim.voke import LocalVoke

_own = itertools.count(1)


@pytest.fixture
async def installation(
    control_plane: ControlPlane,
    crds: Path,
    namespace: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Installation]:
    """An operator's account that may work in the namespace of the test only; ``request.param``: in the whole cluster."""
    own = f"voke-system-{next(_own)}"
    control_plane.kubectl("create", "namespace", own)
    watch = () if getattr(request, "param", "") == "cluster" else (namespace,)
    async with installed(control_plane, tmp_path, own=own, namespace=namespace, watch=watch) as found:
        yield found
        for number, operator in enumerate(found.operators):
            print(f"operator {number}:\n{operator.text[-8000:]}")
    control_plane.kubectl("delete", "namespace", own, "--wait=false")


@pytest.fixture
async def voke(tmp_path: Path) -> AsyncIterator[LocalVoke]:
    """A local Voke."""
    async with LocalVoke.start(tmp_path / "voke") as found:
        yield found
