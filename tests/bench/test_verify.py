"""The benchmark's judge: it must not count what Voke would not take."""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import time
from typing import Any

import pytest

from bench.fleet import VALUES, Plant, field, make_fleet
from bench.verify import Verifier, farm_values
from voke_gateway.plant.schedule import phase

PER_PLANT = 2


@pytest.fixture
def plant() -> Plant:
    return make_fleet(PER_PLANT, per_plant=PER_PLANT)[0]


@pytest.fixture
def verifier(plant: Plant) -> Verifier:
    return Verifier([plant])


def message(plant: Plant, *, at: float, nonce: str = "00", devices: int = PER_PLANT, **change: Any) -> bytes:
    """A snapshot as the gateway would send it, signed by the definition."""
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(at)))
    contents = farm_values(PER_PLANT)
    body: dict[str, Any] = {
        "devices": [
            {
                "externalId": f"P{k}",
                "type": "METER",
                "values": {field(i): v for i, v in enumerate(struct.unpack(f">{VALUES}f", contents[k]))},
            }
            for k in range(devices)
        ],
        "timestamp": f"{second}.{int(at % 1 * 1000):03}Z",
    }
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    ts = int(at * 1000) + 5
    parts = "|".join([plant.plant_id, str(ts), nonce, canonical])
    signature = hmac.new(plant.hmac_key.encode(), parts.encode(), hashlib.sha256).hexdigest()
    return json.dumps({**body, "n": nonce, "sig": signature, "ts": ts, **change}).encode()


def topic(plant: Plant) -> bytes:
    return f"cpi/{plant.plant_id}/telemetry".encode()


def a_tick(plant: Plant) -> float:
    """When the plant last ticked."""
    return int(time.time() - 1 - phase(plant.plant_id)) + phase(plant.plant_id)


def test_counts_each_plc_once_for_each_tick(verifier: Verifier, plant: Plant) -> None:
    tick = a_tick(plant)
    verifier.receive(topic(plant), message(plant, at=tick + 0.002, nonce="a1"))
    verifier.receive(
        topic(plant), message(plant, at=tick + 0.3, nonce="a2")
    )  # late readings of the same tick
    counted = verifier.count(tick - 0.5, tick + 0.5)
    assert (counted.due, counted.delivered, counted.refused) == (PER_PLANT, PER_PLANT, {})


def test_a_tick_without_message_is_missing(verifier: Verifier, plant: Plant) -> None:
    tick = a_tick(plant)
    verifier.receive(topic(plant), message(plant, at=tick + 0.002))
    counted = verifier.count(tick - 1.5, tick + 0.5)
    assert (counted.due, counted.delivered) == (2 * PER_PLANT, PER_PLANT)


def test_a_plc_that_is_not_in_the_message_is_missing(verifier: Verifier, plant: Plant) -> None:
    tick = a_tick(plant)
    verifier.receive(topic(plant), message(plant, at=tick, devices=1))
    assert verifier.count(tick - 0.5, tick + 0.5).delivered == 1
    assert verifier.carries(plant, 0)
    assert not verifier.carries(plant, 1)


def test_nothing_is_due_from_a_silent_plc(plant: Plant) -> None:
    verifier, tick = Verifier([plant], silent=frozenset({plant.plcs[1]})), a_tick(plant)
    verifier.receive(topic(plant), message(plant, at=tick, devices=1))
    counted = verifier.count(tick - 0.5, tick + 0.5)
    assert (counted.due, counted.delivered, counted.ratio) == (1, 1, 1.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sig": "0" * 64}, "signature"),
        ({"n": "other"}, "signature"),
        ({"ts": 1_700_000_000_000}, "signature"),
    ],
)
def test_refuses_what_was_changed_after_signing(
    verifier: Verifier, plant: Plant, change: dict[str, Any], reason: str
) -> None:
    tick = a_tick(plant)
    verifier.receive(topic(plant), message(plant, at=tick, **change))
    counted = verifier.count(tick - 0.5, tick + 0.5)
    assert (counted.delivered, counted.refused) == (0, {reason: 1})


def test_refuses_a_nonce_that_was_used(verifier: Verifier, plant: Plant) -> None:
    tick = a_tick(plant)
    for at in (tick, tick - 1.0):
        verifier.receive(topic(plant), message(plant, at=at, nonce="same"))
    assert verifier.count(tick - 1.5, tick + 0.5).refused == {"nonce": 1}


def test_refuses_an_old_signature(verifier: Verifier, plant: Plant) -> None:
    verifier.receive(topic(plant), message(plant, at=time.time() - 60))
    assert dict(verifier.refused) == {"ts": 1}


def test_says_how_long_a_tick_took_to_the_socket(verifier: Verifier, plant: Plant) -> None:
    tick = a_tick(plant)
    verifier.receive(topic(plant), message(plant, at=tick + 0.010))
    counted = verifier.count(tick - 0.5, tick + 0.5)
    assert counted.tick_to_socket[0] == pytest.approx(0.015, abs=0.002)
    assert counted.read_to_socket[0] == pytest.approx(0.005, abs=0.002)


def test_fairness_is_the_share_of_the_plant_that_got_least() -> None:
    plants = make_fleet(4, per_plant=2)
    verifier = Verifier(plants)
    now = time.time()
    verifier.receive(topic(plants[0]), message(plants[0], at=a_tick(plants[0])))
    assert verifier.count(now - 4, now).least_share == 0.0
