"""A release whose operator runs as a process, with what the chart gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.cluster import installation
from tests.cluster.charts import Release
from tests.cluster.installation import Installation, Operator


@asynccontextmanager
async def beside(release: Release, directory: Path, namespace: str) -> AsyncIterator[Installation]:
    """What a test needs to look at Plants of ``namespace``; nothing runs yet."""
    async with installation.beside(
        release.plane,
        directory,
        own=release.namespace,
        namespace=namespace,
        kubeconfig=release.kubeconfig(),
    ) as made:
        yield made


@asynccontextmanager
async def operating(here: Installation, release: Release) -> AsyncIterator[Operator]:
    """The release's operator runs, with the account, the arguments and the file that the chart gives it now."""
    here.defaults.write_text(release.defaults())
    async with here.operator(*release.arguments(), kubeconfig=release.kubeconfig()) as operator:
        yield operator
    print(operator.text[-8000:])
