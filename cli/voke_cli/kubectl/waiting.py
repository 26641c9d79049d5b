"""Waits for what the operator makes of a Plant."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from voke_cli.kubectl.edge import Kubectl
from voke_cli.kubectl.plants import PlantView

_LOOK: Final = 0.5
"""Seconds between two looks."""


def until(
    kubectl: Kubectl, view: PlantView, holds: Callable[[PlantView], bool], *, within: float
) -> PlantView:
    """The Plant as soon as something holds, or as it is after so many seconds."""
    kubectl.namespace = view.namespace
    deadline = time.monotonic() + within
    while not holds(view) and time.monotonic() < deadline:
        time.sleep(_LOOK)
        view = PlantView(kubectl.plant(view.name))
    return view
