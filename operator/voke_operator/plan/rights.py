"""Which of several Plants with one plantId is in the right: one identity at Voke can be used by one only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A Plant that has the plantId."""

    namespace: str
    name: str
    created: str
    """RFC 3339."""
    running: bool
    """A bundle lists it with that plantId already."""


def rightful(claimants: Iterable[Claimant]) -> Claimant | None:
    """The one already running wins, else the older one, else the first by name. None: there is none."""
    return min(
        claimants,
        key=lambda each: (not each.running, each.created, each.namespace, each.name),
        default=None,
    )
