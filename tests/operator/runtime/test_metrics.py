"""The operator's metrics."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from voke_api.resources.observed import Condition, CredentialInUse
from voke_operator.runtime.metrics import Fleet, OperatorMetrics, QueueFigures, exposition

NOW = 1_800_000_000.0
DOCS = Path(__file__).parents[3] / "docs/metrics.md"


class Operator:
    """A process with metrics, and what is in them."""

    def __init__(self, *, leading: bool = True) -> None:
        registry = CollectorRegistry()
        self.fleet = Fleet()
        self.leading = leading
        self.metrics = OperatorMetrics(
            registry,
            version="1.2.3",
            wall_clock=lambda: NOW,
            leading=lambda: self.leading,
            fleet=self.fleet,
            queue=lambda: QueueFigures(depth=3, active_workers=2),
            loop_lag=lambda: 0.25,
            watches=lambda: {"plants": NOW - 5},
            restarts=lambda: {"plants": 2},
        )
        self.render = exposition(registry)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """By the values of the labels, in order of the labels' names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.render().decode())
            for sample in family.samples
            if sample.name == f"voke_operator_{name}"
        }


def conditions(**status: str) -> list[Condition]:
    return [
        Condition.model_validate(
            {"type": type_, "status": each, "reason": "Why", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        )
        for type_, each in status.items()
    ]


def ending(name: str, when: str) -> CredentialInUse:
    return CredentialInUse.model_validate({"name": name, "source": "Generated", "notAfter": when})


def test_plants_are_counted_by_condition() -> None:
    operator = Operator()
    for number in range(10):
        operator.fleet.note(number, conditions(Ready="True", CloudConnected="True"), ())
    operator.fleet.note(3, conditions(Ready="False", CloudConnected="True"), ())
    operator.fleet.forget(4)
    operator.fleet.forget("never seen")
    assert operator.samples("plants") == {
        ("Ready", "True"): 8,
        ("Ready", "False"): 1,
        ("CloudConnected", "True"): 9,
    }


def test_a_state_that_nobody_has_any_more_is_nought_and_not_absent() -> None:
    operator = Operator()
    operator.fleet.note("a", conditions(Ready="False"), ())
    operator.fleet.note("a", conditions(Ready="True"), ())
    assert operator.samples("plants") == {("Ready", "False"): 0, ("Ready", "True"): 1}


def test_the_first_expiry_and_what_is_due() -> None:
    operator = Operator()
    operator.fleet.note(
        "a", (), [ending("mtls", "2027-01-16T08:00:00Z"), CredentialInUse(name="hmac", source="Secret")]
    )
    operator.fleet.note("b", (), [ending("mtls", "2027-02-01T08:00:00Z")])
    operator.fleet.note("c", (), [ending("mtls", "2029-01-01T00:00:00Z")])
    assert operator.samples("credential_expiry_timestamp_seconds") == {("mtls",): NOW + 86_400}
    assert operator.samples("credentials_due") == {("1d", "mtls"): 0, ("7d", "mtls"): 1, ("30d", "mtls"): 2}
    operator.fleet.forget("a")
    assert operator.samples("credentials_due") == {("1d", "mtls"): 0, ("7d", "mtls"): 0, ("30d", "mtls"): 1}


def test_pools_without_a_way_to_voke() -> None:
    operator = Operator()
    operator.fleet.pool("energy", "default", reachable=False)
    operator.fleet.pool("energy", "north", reachable=True)
    operator.fleet.pool("energy", "south", reachable=None)
    assert operator.samples("pool_cloud_reachable") == {("energy", "default"): 0, ("energy", "north"): 1}


def test_only_the_leader_speaks_of_the_fleet() -> None:
    operator = Operator(leading=False)
    operator.fleet.note("a", conditions(Ready="True"), [ending("mtls", "2027-01-16T08:00:00Z")])
    operator.fleet.pool("energy", "default", reachable=False)
    for name in ("plants", "credentials_due", "credential_expiry_timestamp_seconds", "pool_cloud_reachable"):
        assert operator.samples(name) == {}
    assert operator.samples("leader") == {(): 0}
    operator.leading = True
    assert operator.samples("plants") == {("Ready", "True"): 1}
    assert operator.samples("leader") == {(): 1}


def test_what_happens_is_counted() -> None:
    operator = Operator()
    happens(operator.metrics)
    assert operator.samples("reconciles_total") == {("ok",): 1}
    assert operator.samples("api_requests_total") == {("200", "plants", "patch"): 1}
    assert operator.samples("api_request_duration_seconds_count") == {("200", "plants", "patch"): 1}
    assert operator.samples("credential_rotations_total") == {("mtls", "ok"): 1}
    assert operator.samples("rotation_duration_seconds_sum") == {("mtls",): 12.0}
    assert operator.samples("watch_restarts_total") == {("plants",): 2}
    assert operator.samples("drift_total") == {("restored", "Secret"): 1}
    assert operator.samples("queue_depth") == {(): 3}
    assert operator.samples("active_workers") == {(): 2}
    assert operator.samples("event_loop_lag_seconds") == {(): 0.25}
    assert operator.samples("watch_last_event_timestamp_seconds") == {("plants",): NOW - 5}
    assert operator.samples("build_info") == {("1.2.3",): 1}


def test_every_metric_is_documented_and_nothing_else_is() -> None:
    operator = Operator()
    happens(operator.metrics)
    operator.fleet.note("a", conditions(Ready="True"), [ending("mtls", "2027-01-16T08:00:00Z")])
    operator.fleet.pool("energy", "default", reachable=True)
    rendered = operator.render().decode()
    exported = {
        name for name in re.findall(r"^# TYPE (\S+)", rendered, re.MULTILINE) if name.startswith("voke_")
    }
    documented = set(re.findall(r"^\| `(voke_operator_\w+)`", DOCS.read_text(), re.MULTILINE))
    assert documented == exported
    assert "_created" not in rendered


def happens(metrics: OperatorMetrics) -> None:
    """Everything, once."""
    metrics.reconciled("ok", 0.01)
    metrics.queue_waited(0.2)
    metrics.queue_retried()
    metrics.api_request("patch", "plants", "200", 0.003)
    metrics.rotated("mtls", "ok")
    metrics.rotation_used("mtls", 12.0)
    metrics.drifted("Secret", "restored")
    metrics.event_dropped()
