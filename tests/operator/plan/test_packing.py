"""How heavy a plant is, and which shard has room for it."""

from __future__ import annotations

import pytest

from tests.support.plants import battery_document
from voke_api.bundle import BundlePlant, assemble, pack_plant, profile_size
from voke_api.resolve import resolve
from voke_api.resolved import PlantCredentials
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_operator.plan.packing import (
    Limits,
    Load,
    Weight,
    first_with_room,
    has_room,
    limits_of,
    load_of,
    lowest_free,
    over_limits,
    too_heavy,
    weigh,
)

PROFILE = DeviceProfile.model_validate(
    {
        "metadata": {"name": "acme"},
        "spec": {
            "type": "BATTERY",
            "points": [
                {"field": f"v{n}", "table": "input", "address": 2 * n, "type": "float32"} for n in range(60)
            ],
        },
    }
)


def battery(name: str, **spec: object) -> Plant:
    document = battery_document(**spec)
    return Plant.model_validate({**document, "metadata": {"name": name}})


def weight(plant: Plant) -> Weight:
    resolved, problems = resolve(plant, {"acme": PROFILE}, None)
    assert resolved is not None, problems
    credentials = PlantCredentials(client_id="c", username="u", hmac_key=b"k", broker_ca=b"root")
    packed = pack_plant(BundlePlant(plant=plant, pool=None, credentials=credentials))
    return weigh(resolved, packed, {"acme": profile_size(PROFILE)})


def test_a_plant_weighs_its_requests_per_second() -> None:
    slow, fast = (weight(battery("a", telemetry={"interval": every})) for every in ("10s", "1s"))
    assert fast.requests_per_second == pytest.approx(10 * slow.requests_per_second)


def test_a_suspended_plant_weighs_as_much_as_a_running_one() -> None:
    assert weight(battery("a", suspend=True)).requests_per_second == weight(battery("a")).requests_per_second


def test_what_plants_share_counts_once() -> None:
    profiled = [
        {"externalId": "B1", "type": "BATTERY", "connection": "plc1", "profile": "acme"},
    ]
    plants = [battery(name, devices=profiled) for name in ("a", "b", "c")]
    weights = [weight(plant) for plant in plants]
    credentials = PlantCredentials(client_id="c", username="u", hmac_key=b"k", broker_ca=b"root")
    packed = [pack_plant(BundlePlant(plant=plant, pool=None, credentials=credentials)) for plant in plants]
    real = sum(map(len, assemble(packed, {"acme": PROFILE}, generation=1).values()))
    assert real <= load_of(weights).bytes <= real + 700


def test_the_first_shard_with_room_is_taken() -> None:
    loads = {2: Load(plants=1), 0: Load(plants=500), 1: Load(plants=3)}
    assert first_with_room(Weight(), loads, Limits()) == 1
    assert first_with_room(Weight(), {0: Load(plants=500)}, Limits()) is None


def test_room_is_left_for_plants_to_grow_unless_one_needs_a_shard_of_its_own() -> None:
    limits = Limits(max_bytes=10_000, room_bytes=8_000)
    assert not has_room(Load(plants=1, own_bytes=7_000), Weight(bytes=2_000), limits)
    assert has_room(Load(plants=1, own_bytes=5_000), Weight(bytes=2_000), limits)
    assert has_room(Load(), Weight(bytes=9_000), limits)


def test_a_profile_that_is_there_already_takes_no_more_room() -> None:
    limits = Limits(max_bytes=10_000, room_bytes=8_000)
    part = frozenset({("profile acme", 6_000)})
    one = Weight(bytes=500, parts=part)
    assert has_room(load_of([one]), one, limits)
    assert not has_room(load_of([Weight(bytes=4_000)]), one, limits)


def test_a_new_shard_takes_the_lowest_free_number() -> None:
    assert lowest_free([]) == 0
    assert lowest_free([0, 1, 3]) == 2


def test_a_plant_that_no_gateway_can_carry_is_told_what_to_do() -> None:
    assert too_heavy(Weight(millirequests=3_000_000), Limits()) is None
    assert "3000.001 requests per second" in str(too_heavy(Weight(millirequests=3_000_001), Limits()))
    assert "DeviceProfiles" in str(too_heavy(Weight(bytes=1_000_000), Limits()))


def test_a_shard_says_in_what_it_is_over_its_limits() -> None:
    load = Load(plants=3, millirequests=9_500, own_bytes=20_000)
    said = over_limits(load, Limits(max_plants=2, max_requests_per_second=9, max_bytes=10_000))
    assert said == (
        "3 plants, of at most 2",
        "9.5 requests per second, of at most 9",
        "a bundle of 20000 bytes, of at most 10000",
    )
    assert over_limits(load, Limits()) == ()


def test_limits_come_from_the_pool() -> None:
    pool = GatewayPool.model_validate(
        {"metadata": {"name": "p"}, "spec": {"shard": {"maxPlants": 7, "maxRequestsPerSecond": 8}}}
    )
    limits = limits_of(pool.spec)
    assert (limits.max_plants, limits.max_requests_per_second) == (7, 8)
