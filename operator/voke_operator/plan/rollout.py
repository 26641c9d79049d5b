"""Which gateways may restart now: one to try, then as many at once as the pool allows, each after the others are back.

A gateway restarts when its pod template changes. The first that is back on the new one shows that it is any
good; until then no other is touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voke_operator.plan.placement import ShardId


@dataclass(frozen=True, slots=True, kw_only=True)
class Restartable:
    """A gateway, as far as an upgrade is concerned."""

    shard: ShardId
    new: bool
    """Whether its StatefulSet has the pod template that is wanted."""
    back: bool
    """Whether its pod runs by its StatefulSet's template and its plants' sessions are as they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What an upgrade of a pool's gateways may do now."""

    now: tuple[ShardId, ...]
    """These may restart."""
    later: tuple[ShardId, ...]
    """These not yet."""
    waits_for: tuple[ShardId, ...]
    """Gateways on the new template that are not back."""

    @property
    def message(self) -> str:
        """For people, one sentence; empty if there is nothing to do."""
        waiting = f"{len(self.later)} to follow" if self.later else "none to follow"
        if self.now:
            return f"{' and '.join(map(str, self.now))} may restart, {waiting}"
        if self.later:
            return f"{waiting}, as soon as {' and '.join(map(str, self.waits_for))} is back"
        return ""


def rollout(gateways: Iterable[Restartable], *, max_unavailable: int) -> Rollout:
    """Which gateways of a pool may restart now.

    Those that are not back anyway come first, as their restart costs nothing; then by number.

    Args:
        gateways: All of the pool.
        max_unavailable: Most that may be restarting at once, after the first.
    """
    gateways = sorted(gateways, key=lambda each: (each.back, each.shard))
    old = [each.shard for each in gateways if not each.new]
    waits_for = tuple(each.shard for each in gateways if each.new and not each.back)
    proven = any(each.new and each.back for each in gateways)
    room = max(0, (max_unavailable if proven else 1) - len(waits_for))
    return Rollout(now=tuple(old[:room]), later=tuple(old[room:]), waits_for=waits_for)
