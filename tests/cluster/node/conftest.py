"""One cluster with a node, and one operator in it, for all tests of this folder; a fleet for each test. Root only."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cluster import cluster as clusters
from tests.cluster import image
from tests.cluster.cluster import Cluster
from tests.cluster.installation import Installation, beside
from tests.cluster.machine import ADDRESS
from tests.cluster.node.fleet import Fleet, fleet
from tests.cluster.release import OWN, RunningRelease
from voke_sim.voke import LocalVoke

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The node is Ready; what ran in it is logged and kept if a test failed."""
    image.build()
    with clusters.running() as made:
        yield made
        if request.session.testsfailed:
            made.keep()
            print(f"\nlogs of the cluster: {made.plane.directory}, {made.machine.directory}")


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> RunningRelease:
    """The operator, installed by the chart, for the whole cluster."""
    with cluster.machine.entered():
        made = RunningRelease(cluster)
        made.import_images()
        made.install()
    return made


@pytest.fixture(autouse=True)
def _inside(cluster: Cluster) -> Iterator[None]:
    """The test is in the machine's network."""
    with cluster.machine.entered():
        yield


@pytest.fixture
async def voke(_inside: None, tmp_path: Path) -> AsyncIterator[LocalVoke]:
    """A local Voke that pods reach."""
    async with LocalVoke.start(tmp_path / "voke", address=ADDRESS) as found:
        yield found


@pytest.fixture
async def here(_inside: None, release: RunningRelease, tmp_path: Path) -> AsyncIterator[Installation]:
    """The operator, and a namespace for the test, which is deleted afterwards without waiting for it.

    Kubernetes lets pods into it only if they meet the Pod Security Standard ``restricted``.
    """
    plane, namespace = release.cluster.plane, f"test-{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    async with beside(plane, tmp_path, own=OWN, namespace=namespace) as made:
        yield made
    plane.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture
async def sites(cluster: Cluster, here: Installation, voke: LocalVoke) -> AsyncIterator[Fleet]:
    """A fleet without Plants, with the pools ``default`` and ``other``."""
    async with fleet(cluster, here, voke, pools=("default", "other")) as made:
        yield made
        # A Plant with keys just made may speak a moment before Voke is told of it.
        wrong = [each for each in voke.refused if each.reason != "unknown-plant"]
        assert not wrong, wrong[:3]
