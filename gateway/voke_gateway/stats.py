"""What is counted per plant and per gateway. Plain numbers; metrics and status read them when asked."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field


class Histogram:
    """Counts of observations by upper bound (seconds), for Prometheus."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class PlantStats:
    """Counters of one plant; they only ever grow. Gauges are named as such."""

    ticks: int = 0
    ticks_missed: int = 0
    """Ticks that passed unused because the process was suspended or overloaded."""
    ticks_skipped: Counter[str] = field(default_factory=Counter)
    """By connection: it, or the whole gateway, was still busy when its turn came."""
    snapshots: int = 0
    last_snapshot_at: float | None = None
    """Gauge: wall clock of the last snapshot assembled."""
    late_messages: int = 0
    """Readings that ended after their snapshot had closed and went out as messages of their own."""
    read_errors: Counter[str] = field(default_factory=Counter)
    """By fault kind, per device pass or per point."""
    delivered: Counter[str] = field(default_factory=Counter)
    """By message kind."""
    refused: Counter[str] = field(default_factory=Counter)
    """PUBACKs other than 0x00, by reason code in hex."""
    delay_sum: float = 0.0
    """Seconds from a message's creation to its PUBACK, summed over delivered messages."""
    delay_count: int = 0
    in_flight: int = 0
    """Gauge."""
    signed: int = 0
    """Messages sealed, re-sent ones each time."""
    connected: bool = False
    """Gauge: the MQTT session is up."""
    session_since: float | None = None
    """Gauge: wall clock since when ``connected`` is what it is."""
    last_delivered_at: float | None = None
    """Gauge: wall clock of the last PUBACK 0x00."""
    reconnects: Counter[str] = field(default_factory=Counter)
    """By close reason."""
    uplink_problem: str = ""
    """Gauge: empty, or why there is no session, for people."""
    uplink_reason: str = ""
    """Gauge: empty, or a stable CamelCase reason such as IdentityInUse, LoginRefused, CertificateRefused."""
    commands: Counter[str] = field(default_factory=Counter)
    """By outcome: COMPLETED, or the err of FAILED; ``ignored`` for a bad signature."""
    commands_in_progress: int = 0
    """Gauge."""
    alarms_active: int = 0
    """Gauge."""
    devices_read: int = 0
    """Gauge: devices whose last pass brought a value."""
    polls_before: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests over connections that are no more, by protocol and result (ok, error)."""
    late_replies_before: int = 0
    """Late replies on connections that are no more."""


@dataclass(slots=True)
class GatewayStats:
    """Counters of the whole process."""

    poll_duration: Histogram = field(
        default_factory=lambda: Histogram((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0))
    )
    """Seconds of one connection's pass."""
    publish_duration: Histogram = field(
        default_factory=lambda: Histogram((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0))
    )
    """Seconds from socket to PUBACK."""
    loop_lag: float = 0.0
    """Gauge: seconds by which the event loop was last late."""
