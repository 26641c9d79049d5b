"""When a status is written: on a change of state, not on every flutter, and not all Plants at once.

* What got better is written at once, what got worse after it has lasted :data:`LASTING`; both within one write
  per object per :data:`INTERVAL`. Other words for the same state wait :data:`REWORDING`.
* A new generation, a missing condition and decisions (where a plant runs, which keys it has) are written at once.
* All objects share a rate. Who cannot be served is told when to come back.

Time is passed in, and nothing here writes.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from voke_api.resources.observed import PlantObserved, PoolObserved
from voke_operator.status.conditions import Wanted

LASTING: Final = 15.0
"""Seconds that a change for the worse has to last."""
INTERVAL: Final = 10.0
"""Seconds between two writes to one object."""
REWORDING: Final = 60.0
"""Seconds since the last write, for a change of words only."""

ObservedT = TypeVar("ObservedT", PlantObserved, PoolObserved)


@dataclass(frozen=True, slots=True)
class Decision(Generic[ObservedT]):
    """What to do about one object's status."""

    write: ObservedT | None
    """The whole new status; None: nothing is to be written now."""
    due: float | None
    """When to ask again (in the clock of ``now``) although nothing happens; None: there is no need."""


class Rate:
    """A token bucket."""

    def __init__(self, *, per_second: float, burst: float) -> None:
        """Starts full."""


class Damper:
    """Remembers what changed when, of objects by key. Only objects with something pending take memory."""

    def __init__(self, rate: Rate) -> None:
        """``rate``: of all writes together."""

    def judge(self, key: Hashable, wanted: Wanted, observed: ObservedT, now: float) -> Decision[ObservedT]:
        """What to write now.

        Args:
            key: Of the object.
            wanted: What its status is to say.
            observed: Its status as far as is known; after a write of ours, what was written.
            now: Epoch seconds.
        """
        raise NotImplementedError

    def written(self, key: Hashable, now: float) -> None:
        """The write that was decided succeeded."""

    def forget(self, key: Hashable) -> None:
        """The object is gone."""
