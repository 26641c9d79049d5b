"""Which gateways may restart now: one to try, then as many at once as the pool allows, each after the others are back.

A gateway restarts when its pod template changes. The first that is back on the new one shows that it is any
good; until then no other is touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voke_api.resources.common import listed
from voke_operator.plan.placement import ShardId


@dataclass(frozen=True, slots=True, kw_only=True)
class Restartable:
    """A gateway with a StatefulSet, as far as an upgrade is concerned."""

    shard: ShardId
    new: bool
    """Whether its StatefulSet has the pod template that is wanted, or is about to."""
    away: str = ""
    """Why it does not work as before, for people: its pod is not of its StatefulSet's template or not ready, or
    sessions of its plants are missing. Empty: it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What an upgrade of a pool's gateways may do now."""

    now: tuple[ShardId, ...]
    """These may restart."""
    later: tuple[ShardId, ...]
    """These not yet."""
    waits_for: tuple[Restartable, ...]
    """Gateways on the new template that are not back."""

    @property
    def message(self) -> str:
        """For people: who is waited for, and who waits; empty if there is nothing to do."""
        away = "; ".join(f"{each.shard} is not back: {each.away}" for each in self.waits_for)
        restarts = f"{listed(map(str, self.now))} may restart" if self.now else ""
        follow = f"{listed(map(str, self.later))} to follow" if self.later else ""
        return "; ".join(part for part in (away, restarts, follow) if part)


def rollout(gateways: Iterable[Restartable], *, max_unavailable: int) -> Rollout:
    """Which gateways of a pool may restart now.

    Those that are away anyway come first, as their restart costs nothing; then by number. They count all the same:
    while a template is not proven, a gateway whose pod is only being moved to another node must not get it.

    Args:
        gateways: All of the pool that have a StatefulSet.
        max_unavailable: Most that may be restarting at once, after the first.
    """
    gateways = sorted(gateways, key=lambda each: (not each.away, each.shard))
    old = [each.shard for each in gateways if not each.new]
    waits_for = tuple(each for each in gateways if each.new and each.away)
    proven = any(each.new and not each.away for each in gateways)
    room = max(0, (max_unavailable if proven else 1) - len(waits_for))
    return Rollout(now=tuple(old[:room]), later=tuple(old[room:]), waits_for=waits_for)
