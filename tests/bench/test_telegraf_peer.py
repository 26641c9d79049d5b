"""What Telegraf sends counts as the gateway's messages do, in doubt for Telegraf."""

from __future__ import annotations

import json
import math
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bench.fleet import VALUES, Plant, Site, field, make_fleet
from bench.telegraf_peer import Metrics, write_configuration
from bench.verify import farm_values
from voke_gateway.plant.schedule import phase

PLANTS = make_fleet(4, per_plant=2)
SECOND = 1_795_637_586
"""Epoch seconds at which a tick of Telegraf's begins."""


def due(plant: Plant) -> float:
    return SECOND + phase(plant.plant_id) / 2


def metric(plant: Plant, device: int, *, at: float, values: int = VALUES) -> dict[str, Any]:
    numbers = struct.unpack(f">{VALUES}f", farm_values(4)[plant.plcs[device]])
    return {
        "fields": {field(k): number for k, number in enumerate(numbers[:values])},
        "name": "s0",
        "tags": {"name": f"P{device}", "plant": plant.name, "slave_id": "1"},
        "timestamp": math.ceil(at * 1000),
    }


def receive(metrics: Metrics, plant: Plant, *readings: dict[str, Any]) -> None:
    metrics.receive(metrics.topic(plant).encode(), json.dumps({"metrics": readings}).encode())


def test_counts_each_plc_of_a_message_once_for_each_tick() -> None:
    metrics, plant = Metrics(PLANTS[:1], sessions=1), PLANTS[0]
    receive(metrics, plant, *(metric(plant, k, at=due(plant) + 0.1) for k in (0, 1, 1)))
    counted = metrics.count(SECOND, SECOND + 1)
    assert (counted.due, counted.delivered, counted.refused) == (2, 2, {})


def test_a_message_may_hold_one_reading() -> None:
    metrics, plant = Metrics(PLANTS[:1], sessions=1), PLANTS[0]
    metrics.receive(metrics.topic(plant).encode(), json.dumps(metric(plant, 1, at=due(plant) + 0.1)).encode())
    assert metrics.count(SECOND, SECOND + 1).delivered == 1


def test_a_reading_that_ends_in_the_next_tick_counts_for_its_own() -> None:
    metrics, plant = Metrics(PLANTS[:1], sessions=1), PLANTS[0]
    for at in (1.05, 1.9):
        receive(metrics, plant, metric(plant, 0, at=due(plant) + at))
    assert metrics.count(SECOND, SECOND + 2).delivered == 2


def test_the_same_reading_twice_counts_once_if_the_tick_before_was_there() -> None:
    metrics, plant = Metrics(PLANTS[:1], sessions=1), PLANTS[0]
    for at in (0.1, 1.1, 1.1):
        receive(metrics, plant, metric(plant, 0, at=due(plant) + at))
    assert metrics.count(SECOND - 1, SECOND + 2).delivered == 2


def test_a_reading_with_a_value_missing_or_wrong_does_not_count() -> None:
    metrics, plant = Metrics(PLANTS[:1], sessions=1), PLANTS[0]
    receive(metrics, plant, metric(plant, 0, at=due(plant), values=VALUES - 1))
    wrong = metric(plant, 0, at=due(plant))
    wrong["fields"][field(3)] += 1.0
    receive(metrics, plant, wrong)
    counted = metrics.count(SECOND, SECOND + 1)
    assert (counted.delivered, counted.refused) == (0, {"values missing": 1, "values wrong": 1})


@pytest.mark.parametrize(("sessions", "outputs"), [(1, 1), (None, 2)])
def test_every_plc_is_an_input_of_the_session_that_may_publish_for_its_plant(
    tmp_path: Path, sessions: int | None, outputs: int
) -> None:
    site = Site(host="localhost", port=8883, ca_pem="ca", client_key_pem="key")
    endpoints = [("127.0.0.1", 5000 + place) for place in range(4)]
    write_configuration(tmp_path / "t", PLANTS, site, ["one", "two"], endpoints, sessions=sessions)
    written = tomllib.loads((tmp_path / "t" / "telegraf.conf").read_text())
    sent = {each["namepass"][0]: each for each in written["outputs"]["mqtt"]}
    assert len(sent) == outputs
    metrics = Metrics(PLANTS, sessions=sessions)
    for place, each in enumerate(written["inputs"]["modbus"]):
        plant = next(plant for plant in PLANTS if place in plant.plcs)
        reading = each["metric"][0]
        assert each["controller"] == f"tcp://127.0.0.1:{5000 + place}"
        assert reading["tags"] == {"plant": plant.name}
        topic = sent[reading["measurement"]]["topic"].replace('{{ .Tag "plant" }}', plant.name)
        assert topic == metrics.topic(plant)
        assert topic.split("/")[1] == sent[reading["measurement"]]["client_id"]


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    site = Site(host="localhost", port=8883, ca_pem="ca", client_key_pem="key")
    write_configuration(tmp_path / "t", PLANTS[:1], site, ["one"], [("127.0.0.1", 1)] * 2, sessions=None)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "t").iterdir()} == {0o600}
