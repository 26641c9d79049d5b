"""What a pool says for all its Plants: whether its gateways answer, and whether Voke is out of reach for all.

When a broker goes away, thousands of Plants have the same to say. It is said once, on the pool, and
:class:`Outage` tells the Plants to keep still meanwhile, and until most of them are back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from voke_operator.status.conditions import Wanted
from voke_operator.status.facts import Cause, ShardFacts
from voke_operator.status.reasons import Reason
from voke_operator.status.reports import PlantReport

_FEWEST: Final = 2
"""Plants that have to agree; a single one says it itself."""
_BACK: Final = 0.9
"""Share of plants whose return ends an outage at once …"""
_LINGER: Final = 120.0
"""… and seconds after which it has ended for the others, too. A gateway tries again after a minute at the latest."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Plants of a pool by what their sessions are like. Only running plants of gateways that answer count."""

    through: int = 0
    """Session up, and the broker takes what is sent."""
    cut_off: Counter[str] = field(default_factory=Counter)
    """By a reason that is not the plant's own fault."""
    troubled: int = 0
    """By a reason of their own, such as a refused login."""
    example: str = ""
    """What one of those cut off says."""

    def __add__(self, other: Sessions) -> Sessions:
        """Both together."""
        return Sessions(
            self.through + other.through,
            self.cut_off + other.cut_off,
            self.troubled + other.troubled,
            self.example or other.example,
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """No plant of a pool gets through, or has since too recently."""

    since: float
    """Epoch seconds."""
    reason: Reason
    message: str
    """What one of the plants says."""
    easing_since: float | None = None
    """When the first plant got through again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """All that a GatewayPool's status is made from."""

    name: str
    namespace: str
    generation: int
    cause: Cause | None = None
    """What is wrong with the pool as it was written, such as a missing Secret."""
    plants: int = 0
    """Assigned to its shards."""
    shards: Sequence[ShardFacts] = ()
    sessions: Sessions = field(default_factory=Sessions)
    outage: Outage | None = None


def sessions(reports: Sequence[PlantReport]) -> Sessions:
    """Count one gateway's plants."""
    raise NotImplementedError


def outage(seen: Sessions, before: Outage | None, now: float) -> Outage | None:
    """Whether there is an outage now. ``now``: epoch seconds."""
    raise NotImplementedError


def pool_status(facts: PoolFacts) -> Wanted:
    """What a GatewayPool's status is to say."""
    raise NotImplementedError
