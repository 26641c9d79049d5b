"""Counters of the whole process: those of the plants that run, and of those that were here before."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

from voke_gateway.outbox.store import StoreState
from voke_gateway.plant.runner import PlantRunner, add_polls


@dataclass(slots=True)
class Totals:
    """Sums over plants. They only ever grow, whatever plants come and go."""

    polls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By protocol and result."""
    late_replies: int = 0
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By QoS and result."""
    dropped: Counter[tuple[str]] = field(
        default_factory=lambda: Counter(
            {(r,): 0 for r in ("quota", "age", "urgent", "quarantined", "removed")}
        )
    )
    """By reason."""
    reconnects: Counter[tuple[str]] = field(default_factory=Counter)
    """By reason."""
    signed: int = 0
    commands_ignored: int = 0

    def add(self, runner: PlantRunner, state: StoreState) -> None:
        """One plant's counters."""
        stats = runner.stats
        self.polls.update(stats.polls_before)
        self.late_replies += stats.late_replies_before
        for spec in runner.plant.connections:
            connection = runner.connections.get(spec.name)
            if connection is not None:
                add_polls(self.polls, spec, connection.state)
                self.late_replies += connection.state.late_replies
        self.published["1", "delivered"] += stats.delivered.total()
        for code, count in stats.refused.items():
            self.published["1", code] += count
        for reason, count in stats.reconnects.items():
            self.reconnects[(reason,)] += count
        self.dropped[("quota",)] += state.dropped_quota
        self.dropped[("age",)] += state.dropped_age
        self.dropped[("urgent",)] += state.dropped_urgent
        self.dropped[("quarantined",)] += state.quarantined
        self.signed += stats.signed
        self.commands_ignored += stats.commands["ignored"]

    def copy(self) -> Totals:
        """One to go on adding to."""
        return deepcopy(self)
