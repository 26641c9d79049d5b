"""Whether somebody else logs in with our client id.

A broker gives a client id to whoever came last. Two gateways with one identity would evict each other for
ever, and both would write registers. So an eviction that we did not cause ourselves makes us stay away for
minutes, longer each time, until one of the two has the identity nearly all the time.
"""

from __future__ import annotations

from random import Random
from typing import Final

from voke_api.backoff import Backoff, Pace
from voke_gateway.uplink.session import CloseReason

CLEAR_AFTER: Final = 60.0
"""Seconds a session has to last until writes may go on."""

_BRIEF: Final = 10.0
_BRIEF_ENDS: Final = 3
"""mosquitto before 2.0.15 evicts without a reason: so many sessions cut within ``_BRIEF`` say the same."""
_AWAY: Final = Pace(base=240.0, cap=1800.0, floor=0.5)
_UNDISPUTED: Final = 2 * _AWAY.cap
"""Seconds after which the other one would have been back, had it been there."""


class IdentityWatch:
    """Judges the ends of sessions."""

    __slots__ = ("_away", "_brief_ends", "in_use")

    def __init__(self, random: Random) -> None:
        self._away = Backoff(_AWAY, random)
        self._brief_ends = 0
        self.in_use = False
        """Somebody else has been seen, and no session of ours has lasted since."""

    def session_ended(self, reason: CloseReason, lasted: float) -> float:
        """Judge a session that we did not end ourselves. Seconds to stay away; 0: nobody else was seen."""
        brief = reason is CloseReason.NETWORK and lasted < _BRIEF
        self._brief_ends = self._brief_ends + 1 if brief else 0
        if lasted >= _UNDISPUTED:
            self._away.reset()
        # Once somebody has been seen, the one who comes back and is cut off at once is the one to yield.
        evicted = self._brief_ends >= _BRIEF_ENDS or (brief and self.in_use)
        if reason is not CloseReason.TAKEN_OVER and not evicted:
            return 0.0
        self.in_use = True
        self._brief_ends = 0
        return self._away.next()

    def session_lasts(self) -> None:
        """The running session has lasted for :data:`CLEAR_AFTER`."""
        self.in_use = False
