"""A real Kubernetes API for the tests of this folder, one for all of a worker's, and a namespace for each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane

HERE = Path(__file__).parent
CRDS = HERE.parents[1] / "crds"
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays with one worker, and so do all tests on the node, of which there is one."""
    for item in items:
        if item.path.is_relative_to(HERE):
            group = "node" if item.path.is_relative_to(HERE / "node") else str(item.path)
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """Etcd, API server and controller manager; their logs are kept if a test failed."""
    with ControlPlane.running() as plane:
        yield plane
        if request.session.testsfailed:
            plane.keep = True
            print(f"\nlogs of the control plane: {plane.directory}")


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """One of its own for the test; deleted afterwards, without waiting for it."""
    name = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def crds(control_plane: ControlPlane) -> Path:
    """The three kinds are served; the directory of their definitions."""
    files = ",".join(str(path) for path in sorted(CRDS.glob("*.yaml")))
    control_plane.kubectl("apply", "--server-side", "-f", files)
    control_plane.kubectl("wait", "--for=condition=established", "--timeout=30s", "-f", files)
    return CRDS


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Iterator[Any]:
    """A ``kubernetes.client.ApiClient`` that may do everything."""
    with control_plane.client() as client:
        yield client
