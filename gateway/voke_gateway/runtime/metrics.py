"""Prometheus metrics, collected when they are asked for: counting costs a message nothing but an addition.

Names and labels: docs/metrics.md. A plant has at most 15 series with the label ``plant``; series per
connection are off unless the pool asks for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from voke_api.status import CredentialStatus
from voke_gateway.outbox.store import Store
from voke_gateway.plant.runner import PlantRunner, protocol_label
from voke_gateway.runtime.totals import Totals
from voke_gateway.stats import GatewayStats, Histogram, PlantStats

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "voke_gateway"


@dataclass(frozen=True, slots=True)
class Source:
    """One plant, as the collector sees it."""

    runner: PlantRunner
    credentials: tuple[CredentialStatus, ...]


class GatewayCollector(Collector):
    """Reads the running plants' counters at each scrape."""

    def __init__(
        self,
        *,
        sources: Callable[[], Iterable[Source]],
        gone: Totals,
        bundle: Callable[[], tuple[int | None, int]],
        store: Store,
        stats: GatewayStats,
        version: str,
        per_plant: bool,
        per_connection: bool,
    ) -> None:
        """``gone``: counters of plants that are here no more; ``bundle``: its generation and its problems."""
        self._sources = sources
        self._gone = gone
        self._bundle = bundle
        self._store = store
        self._stats = stats
        self._version = version
        self._per_plant = per_plant
        self._per_connection = per_connection

    def collect(self) -> Iterator[Metric]:
        """All families, in one consistent moment: the event loop does not turn meanwhile."""
        sources = sorted(self._sources(), key=lambda source: source.runner.plant.name)
        yield InfoMetricFamily(f"{_PREFIX}_build", "Version of the gateway.", {"version": self._version})
        yield GaugeMetricFamily(
            f"{_PREFIX}_event_loop_lag_seconds", "How late the event loop last was.", self._stats.loop_lag
        )
        generation, problems = self._bundle()
        if generation is not None:
            yield GaugeMetricFamily(
                f"{_PREFIX}_bundle_generation", "Generation of the bundle it works on.", generation
            )
        yield GaugeMetricFamily(
            f"{_PREFIX}_bundle_problems", "Plants and profiles that are not what the bundle says.", problems
        )
        totals = self._gone.copy()
        for source in sources:
            totals.add(source.runner, self._store.state(source.runner.plant.name))
        yield from self._devices_side(sources, totals)
        yield from self._cloud_side(sources, totals)
        yield from self._credentials(sources)
        if self._per_plant:
            yield from self._plants(sources)
        if self._per_connection:
            yield from _connections(sources)

    def _devices_side(self, sources: list[Source], totals: Totals) -> Iterator[Metric]:
        states: Counter[tuple[str, str]] = Counter()
        for source in sources:
            for spec in source.runner.plant.connections:
                connection = source.runner.connections.get(spec.name)
                up = connection is not None and connection.state.connected
                states[protocol_label(spec), "connected" if up else "disconnected"] += 1
        yield _gauges("connections", "PLC connections.", ("protocol", "state"), states)
        yield _counters("polls", "Requests to PLCs.", ("protocol", "result"), totals.polls)
        yield CounterMetricFamily(
            f"{_PREFIX}_late_replies",
            "Replies that came after their request had been given up.",
            totals.late_replies,
        )
        yield _histogram(
            "poll_duration_seconds", "One pass over a connection's devices.", self._stats.poll_duration
        )

    def _cloud_side(self, sources: list[Source], totals: Totals) -> Iterator[Metric]:
        connected = in_flight = waiting = waiting_bytes = 0
        oldest: float | None = None
        for source in sources:
            stats, state = source.runner.stats, self._store.state(source.runner.plant.name)
            connected += stats.connected
            in_flight += stats.in_flight
            waiting += state.messages
            waiting_bytes += state.bytes
            if state.oldest_at is not None:
                oldest = state.oldest_at if oldest is None else min(oldest, state.oldest_at)
        yield GaugeMetricFamily(f"{_PREFIX}_mqtt_connected", "MQTT sessions that are up.", connected)
        yield _counters("mqtt_reconnects", "Sessions that ended, by reason.", ("reason",), totals.reconnects)
        yield _counters("messages_published", "PUBACKs, by result.", ("qos", "result"), totals.published)
        yield _histogram("publish_duration_seconds", "From socket to PUBACK.", self._stats.publish_duration)
        yield GaugeMetricFamily(f"{_PREFIX}_inflight_messages", "Messages awaiting a PUBACK.", in_flight)
        yield GaugeMetricFamily(f"{_PREFIX}_buffer_messages", "Messages not delivered yet.", waiting)
        yield GaugeMetricFamily(f"{_PREFIX}_buffer_bytes", "Their size.", waiting_bytes)
        if oldest is not None:
            yield GaugeMetricFamily(
                f"{_PREFIX}_buffer_oldest_timestamp_seconds", "When the oldest of them was made.", oldest
            )
        yield _counters("messages_dropped", "Messages lost, by reason.", ("reason",), totals.dropped)
        signed = Counter({("hmac-sha256",): totals.signed})
        yield _counters("signatures", "Signatures made.", ("algorithm",), signed)
        yield CounterMetricFamily(
            f"{_PREFIX}_signature_failures", "Commands without a valid signature.", totals.commands_ignored
        )

    def _credentials(self, sources: list[Source]) -> Iterator[Metric]:
        first: dict[tuple[str], float] = {}
        for source in sources:
            for credential in source.credentials:
                if credential.not_after is not None:
                    key = (credential.name,)
                    first[key] = min(credential.not_after, first.get(key, credential.not_after))
        yield _gauges(
            "credential_not_after_timestamp_seconds", "When the first one expires.", ("purpose",), first
        )

    def _plants(self, sources: list[Source]) -> Iterator[Metric]:
        names = [source.runner.plant.name for source in sources]
        stats = [source.runner.stats for source in sources]
        devices = [len(source.runner.plant.devices) for source in sources]
        states = [self._store.state(name) for name in names]
        dropped = [state.dropped + state.quarantined for state in states]
        yield _per_plant("devices", "Devices.", names, devices)
        yield _per_plant("backlog_messages", "Messages waiting.", names, [s.messages for s in states])
        yield _per_plant("dropped_messages", "Messages lost.", names, dropped, counter=True)
        for key, help_text, counter, value in _PLANT_SERIES:
            yield _per_plant(key, help_text, names, [value(each) for each in stats], counter=counter)
        delay = SummaryMetricFamily(
            f"{_PREFIX}_plant_delivery_delay_seconds",
            "From a message's making to its PUBACK.",
            labels=("plant",),
        )
        for name, each in zip(names, stats, strict=True):
            delay.add_metric((name,), each.delay_count, each.delay_sum)
        yield delay


def _failed(stats: PlantStats) -> int:
    return _ended(stats) - stats.commands["COMPLETED"]


def _ended(stats: PlantStats) -> int:
    return stats.commands.total() - stats.commands["ignored"]


_PLANT_SERIES: Final[tuple[tuple[str, str, bool, Callable[[PlantStats], float]], ...]] = (
    ("cloud_connected", "1 while the MQTT session is up.", False, lambda s: s.connected),
    ("devices_reachable", "Devices whose last pass brought a value.", False, lambda s: s.devices_read),
    ("last_snapshot_timestamp_seconds", "When it was assembled.", False, lambda s: s.last_snapshot_at or 0.0),
    ("alarms_active", "Alarms raised and not resolved.", False, lambda s: s.alarms_active),
    ("ticks", "Ticks.", True, lambda s: s.ticks),
    (
        "ticks_skipped",
        "Turns that connections lost, being busy still or missed.",
        True,
        lambda s: s.ticks_skipped.total(),
    ),
    ("messages_delivered", "PUBACKs with 0x00.", True, lambda s: s.delivered.total()),
    ("read_errors", "Points and devices not read.", True, lambda s: s.read_errors.total()),
    ("commands", "Commands that ended.", True, _ended),
    ("commands_failed", "Commands that ended FAILED.", True, _failed),
)
"""Name, help, whether it is a counter, and how to get it."""


def _connections(sources: list[Source]) -> Iterator[Metric]:
    labels = ("plant", "connection")
    up = GaugeMetricFamily(f"{_PREFIX}_connection_up", "1 while connected.", labels=labels)
    last = GaugeMetricFamily(
        f"{_PREFIX}_connection_last_success_timestamp_seconds", "Last reading.", labels=labels
    )
    for source in sources:
        for name, connection in source.runner.connections.items():
            key = (source.runner.plant.name, name)
            up.add_metric(key, connection.state.connected)
            if connection.state.last_success_at is not None:
                last.add_metric(key, connection.state.last_success_at)
    yield up
    yield last


def _per_plant(
    key: str, help_text: str, names: list[str], values: list[float] | list[int], *, counter: bool = False
) -> Metric:
    kind = CounterMetricFamily if counter else GaugeMetricFamily
    family = kind(f"{_PREFIX}_plant_{key}", help_text, labels=("plant",))
    for name, value in zip(names, values, strict=True):
        family.add_metric((name,), value)
    return family


def _gauges(
    key: str,
    help_text: str,
    labels: tuple[str, ...],
    values: Counter[tuple[str, str]] | dict[tuple[str], float],
) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{key}", help_text, labels=labels)
    for label_values, value in sorted(values.items()):
        family.add_metric(label_values, value)
    return family


def _counters(
    key: str, help_text: str, labels: tuple[str, ...], values: Counter[tuple[str, str]] | Counter[tuple[str]]
) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{key}", help_text, labels=labels)
    for label_values, value in sorted(values.items()):
        family.add_metric(label_values, value)
    return family


def _histogram(key: str, help_text: str, histogram: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    count = 0
    for bound, observed in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        count += observed
        buckets.append((bound, count))
    return HistogramMetricFamily(f"{_PREFIX}_{key}", help_text, buckets=buckets, sum_value=histogram.total)


def exposition(collector: GatewayCollector) -> Callable[[], bytes]:
    """A function that renders the collector and the process's own figures."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
