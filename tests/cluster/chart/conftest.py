"""A cluster in which only Helm installs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.operator_fixtures import voke

__all__ = ["untouched", "voke"]


@pytest.fixture(scope="module")
def untouched() -> Iterator[ControlPlane]:
    """A cluster without anything of ours, definitions included."""
    with ControlPlane.running() as plane:
        yield plane
