"""Names inside a Plant that must lead somewhere, and bounds that must fit where they lead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from voke_api.problems import Problem
from voke_api.resolved import ResolvedDevice
from voke_api.resources.plant import Plant


def reference_problems(plant: Plant, devices: Sequence[ResolvedDevice]) -> Iterator[Problem]:
    """What is wrong with a plant whose ``devices`` could be resolved."""
    del plant, devices
    return iter(())
