"""Prometheus metrics of the operator. Names and labels: docs/metrics.md.

What happens is counted when it happens; what *is* (Plants by condition, expiry, queue depth) is computed when it
is asked for. Only the leader speaks of the fleet, or sums over both replicas would count it twice.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from voke_api.resources.observed import Condition, CredentialInUse

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Result = Literal["ok", "requeue", "error"]
"""How a reconcile ended; requeue: it is to be looked at again at a certain time."""

_PREFIX: Final = "voke_operator"
_HORIZONS: Final = {"1d": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
_RECONCILE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LATENCY: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_REQUEST: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
_ROTATION: Final = (1.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """The work queue, now."""

    depth: int
    active_workers: int


class Fleet:
    """Plants by condition and when their credentials end: kept up to date one Plant at a time."""

    def __init__(self) -> None:
        self._plants: dict[Hashable, tuple[tuple[str, str], ...]] = {}
        """Condition type and status of each."""
        self._conditions: Tally[tuple[str, str]] = Tally()
        self._ends: dict[Hashable, tuple[tuple[str, float], ...]] = {}
        """Purpose and end of validity, of Plants with credentials that end."""
        self._pools: dict[tuple[str, str], bool] = {}

    def note(
        self, key: Hashable, conditions: Iterable[Condition], credentials: Iterable[CredentialInUse]
    ) -> None:
        """One Plant's status, as it stands now."""
        self.forget(key)
        states = tuple((each.type, each.status) for each in conditions)
        self._plants[key] = states
        self._conditions.update(states)
        ends = tuple(
            (each.name, datetime.fromisoformat(each.not_after).timestamp())
            for each in credentials
            if each.not_after is not None
        )
        if ends:
            self._ends[key] = ends

    def forget(self, key: Hashable) -> None:
        """The Plant is gone."""
        self._conditions.subtract(self._plants.pop(key, ()))
        self._ends.pop(key, None)

    def pool(self, namespace: str, name: str, *, reachable: bool | None) -> None:
        """Whether plants of a pool get through to Voke; None: the pool is gone, or nobody knows."""
        if reachable is None:
            self._pools.pop((namespace, name), None)
        else:
            self._pools[namespace, name] = reachable

    def collect(self, now: float) -> Iterator[Metric]:
        """The families. ``now``: epoch seconds."""
        yield _gauges("plants", "Plants by condition.", ("condition", "status"), self._conditions.items())
        yield _gauges(
            "pool_cloud_reachable",
            "1 while plants of the pool get through to Voke, 0 while none does.",
            ("namespace", "pool"),
            self._pools.items(),
        )
        first: dict[tuple[str], float] = {}
        due: Tally[tuple[str, str]] = Tally()
        for ends in self._ends.values():
            for purpose, end in ends:
                first[(purpose,)] = min(end, first.get((purpose,), end))
                due.update((purpose, name) for name, seconds in _HORIZONS.items() if end < now + seconds)
        for (purpose,) in first:
            for name in _HORIZONS:
                due[purpose, name] += 0
        yield _gauges(
            "credential_expiry_timestamp_seconds",
            "When the first credential of the fleet ends.",
            ("purpose",),
            first.items(),
        )
        yield _gauges(
            "credentials_due", "Credentials that end within the horizon.", ("purpose", "horizon"), due.items()
        )


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
        restarts: Callable[[], Mapping[str, int]],
    ) -> None:
        """``loop_lag``: seconds; by kind, ``watches``: epoch seconds of the last event or bookmark; ``restarts``: so far."""
        # They double the series and say only when the process began.
        disable_created_metrics()  # type: ignore[no-untyped-call]

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", help_text, labels, registry=registry)

        def histogram(name: str, help_text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"{_PREFIX}_{name}", help_text, labels, registry=registry, buckets=bounds)

        self._reconciles = counter("reconciles_total", "Reconciles, by result.", "result")
        self._duration = histogram("reconcile_duration_seconds", "One reconcile.", _RECONCILE)
        self._latency = histogram("queue_latency_seconds", "From due to taken up.", _LATENCY)
        self._retries = counter("queue_retries_total", "Keys put back after a failure.")
        request = ("verb", "kind", "code")
        self._requests = counter("api_requests_total", "Requests to the API server.", *request)
        self._request_duration = histogram(
            "api_request_duration_seconds", "Requests to the API server.", _REQUEST, *request
        )
        self._rotations = counter(
            "credential_rotations_total",
            "Renewals and replacements, and attempts in vain.",
            "purpose",
            "result",
        )
        self._rotation_duration = histogram(
            "rotation_duration_seconds", "From the new credential in force to its use.", _ROTATION, "purpose"
        )
        self._drift = counter("drift_total", "Objects that somebody else changed.", "kind", "action")
        self._events_dropped = counter("events_dropped_total", "Events that were not written.")
        registry.register(_Collector(version, wall_clock, leading, fleet, queue, loop_lag, watches, restarts))
        ProcessCollector(registry=registry)

    def reconciled(self, result: Result, seconds: float) -> None:
        """One reconcile ended."""
        self._reconciles.labels(result).inc()
        self._duration.observe(seconds)

    def queue_waited(self, seconds: float) -> None:
        """A key was taken up, so long after it was due."""
        self._latency.observe(seconds)

    def queue_retried(self) -> None:
        """A key was put back after a failure."""
        self._retries.inc()

    def api_request(self, verb: str, kind: str, code: str, seconds: float) -> None:
        """A request to the API server ended; code ``"0"``: without an answer."""
        labels = (verb, kind, code)
        self._requests.labels(*labels).inc()
        self._request_duration.labels(*labels).observe(seconds)

    def rotated(self, purpose: str, result: Literal["ok", "error"]) -> None:
        """Another credential is in force than before, or a renewal that is due was tried in vain."""
        self._rotations.labels(purpose, result).inc()

    def rotation_used(self, purpose: str, seconds: float) -> None:
        """A gateway works with the new credential, so long after it came into force."""
        self._rotation_duration.labels(purpose).observe(seconds)

    def drifted(self, kind: str, action: Literal["restored", "refused"]) -> None:
        """An object was not as we left it and was put back, or is in our way and is left alone."""
        self._drift.labels(kind, action).inc()

    def event_dropped(self) -> None:
        """An Event was not written."""
        self._events_dropped.inc()


@dataclass(frozen=True, slots=True)
class _Collector(Collector):
    """What is, as opposed to what happened."""

    version: str
    wall_clock: Callable[[], float]
    leading: Callable[[], bool]
    fleet: Fleet
    queue: Callable[[], QueueFigures]
    loop_lag: Callable[[], float]
    watches: Callable[[], Mapping[str, float]]
    restarts: Callable[[], Mapping[str, int]]

    def collect(self) -> Iterator[Metric]:
        leading = self.leading()
        queue = self.queue()
        yield InfoMetricFamily(f"{_PREFIX}_build", "Version of the operator.", {"version": self.version})
        yield GaugeMetricFamily(f"{_PREFIX}_leader", "1 while this replica leads.", leading)
        yield GaugeMetricFamily(
            f"{_PREFIX}_event_loop_lag_seconds", "How late the event loop last was.", self.loop_lag()
        )
        yield GaugeMetricFamily(f"{_PREFIX}_queue_depth", "Keys that are due and not taken up.", queue.depth)
        yield GaugeMetricFamily(
            f"{_PREFIX}_active_workers", "Reconciles that are under way.", queue.active_workers
        )
        last = {(kind,): at for kind, at in self.watches().items()}
        yield _gauges(
            "watch_last_event_timestamp_seconds",
            "Last event or bookmark of a watch.",
            ("kind",),
            last.items(),
        )
        restarts = CounterMetricFamily(f"{_PREFIX}_watch_restarts", "Watches opened anew.", labels=("kind",))
        for kind, count in sorted(self.restarts().items()):
            restarts.add_metric((kind,), count)
        yield restarts
        if leading:
            yield from self.fleet.collect(self.wall_clock())


def _gauges(
    name: str, help_text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", help_text, labels=labels)
    for label_values, value in sorted(values):
        family.add_metric(label_values, value)
    return family


def exposition(registry: CollectorRegistry) -> Callable[[], bytes]:
    """A function that renders the registry."""
    return lambda: generate_latest(registry)
