"""Prometheus metrics of the operator. Names and labels: docs/metrics.md.

What happens is counted when it happens; what *is* (plants by condition, expiry, queue depth) is computed when it
is asked for. Only the leader speaks of the fleet, or sums over both replicas would count it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from voke_api.resources.observed import Condition, CredentialInUse


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """The work queue, now."""

    depth: int
    active_workers: int


class Fleet:
    """Plants by condition and when their credentials end: kept up to date one Plant at a time."""

    def note(
        self, key: Hashable, conditions: Iterable[Condition], credentials: Iterable[CredentialInUse]
    ) -> None:
        """One Plant's status, as it stands now."""

    def forget(self, key: Hashable) -> None:
        """The Plant is gone."""

    def pool(self, namespace: str, name: str, *, reachable: bool | None) -> None:
        """Whether plants of a pool get through to Voke; None: the pool is gone, or nobody knows."""


class OperatorMetrics:
    """All metrics, registered once."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str,
        wall_clock: Callable[[], float],
        leading: Callable[[], bool],
        fleet: Fleet,
        queue: Callable[[], QueueFigures],
        loop_lag: Callable[[], float],
        watches: Callable[[], Mapping[str, float]],
    ) -> None:
        """``loop_lag``: seconds; ``watches``: kind → epoch seconds of the last event or bookmark."""

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile ended: ok, requeue, error or noop."""

    def queue_waited(self, seconds: float) -> None:
        """A key was taken up, so long after it was due."""

    def queue_retried(self) -> None:
        """A key was put back after a failure."""

    def watch_restarted(self, kind: str) -> None:
        """A watch was opened anew."""

    def api_request(self, verb: str, kind: str, code: int, seconds: float) -> None:
        """A request to the API server ended; code 0: without an answer."""

    def rotated(self, purpose: str, result: str, seconds: float | None = None) -> None:
        """A credential was renewed, or was not."""

    def drifted(self, kind: str, action: str) -> None:
        """An object was not as we left it."""

    def event_dropped(self) -> None:
        """An Event was not posted."""


def exposition(registry: CollectorRegistry) -> Callable[[], bytes]:
    """A function that renders the registry."""
    raise NotImplementedError
