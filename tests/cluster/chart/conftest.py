"""A cluster in which only Helm installs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cluster.charts import Release
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation, Operator
from tests.cluster.operator_fixtures import voke
from voke_operator.kube.client import Client, from_kubeconfig

__all__ = ["beside", "operating", "untouched", "voke"]


@pytest.fixture(scope="module")
def untouched() -> Iterator[ControlPlane]:
    """A cluster without anything of ours, definitions included."""
    with ControlPlane.running() as plane:
        yield plane


@asynccontextmanager
async def beside(release: Release, directory: Path, namespace: str) -> AsyncIterator[Installation]:
    """What a test needs to look at Plants of ``namespace``; nothing runs yet."""
    admin = Client(await from_kubeconfig(release.plane.kubeconfig))
    try:
        yield Installation(
            release.plane, admin, release.namespace, namespace, directory, release.kubeconfig()
        )
    finally:
        await admin.aclose()


@asynccontextmanager
async def operating(here: Installation, release: Release) -> AsyncIterator[Operator]:
    """The release's operator runs, with the account, the arguments and the file that the chart gives it now."""
    here.defaults.write_text(release.defaults())
    async with here.operator(*release.arguments(), kubeconfig=release.kubeconfig()) as operator:
        yield operator
    print(operator.text[-8000:])
