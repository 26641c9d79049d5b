"""One local Voke for the tests of a module that do not break it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from voke_sim.voke import LocalVoke


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def voke(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalVoke]:
    async with LocalVoke.start(tmp_path_factory.mktemp("voke")) as running:
        yield running


@pytest.fixture
def tls(voke: LocalVoke) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=voke.ca_pem.decode())
