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

    def says(self, plant_id: str) -> str:
        """To another Plant: that the plantId is this one's, and what to do."""
        why = "which runs already" if self.running else "which is older"
        return (
            f"plantId {plant_id} belongs to Plant {self.name} in namespace {self.namespace}, {why}. Delete one of the "
            "two; or, if this one is another site, delete it and apply it with its own plantId."
        )


def rightful(claimants: Iterable[Claimant]) -> Claimant | None:
    """The one already running wins, else the older one, else the first by name. None: there is none."""
    return min(
        claimants,
        key=lambda each: (not each.running, each.created, each.namespace, each.name),
        default=None,
    )
