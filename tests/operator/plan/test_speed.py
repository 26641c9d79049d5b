"""What the plan costs at the size of a fleet; CPU time, with generous bounds. ``pytest -s`` shows the figures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from tests.operator.plan.sites import keys, plant_id, site
from tests.support.bundles import Gzip
from voke_api.bundle import MAX_BYTES, BundlePlant, PackedPlant, pack_plant, packed_in
from voke_api.resources import DeviceProfile
from voke_operator.plan.bundles import shard_bundle
from voke_operator.plan.packing import Limits, Weight
from voke_operator.plan.placement import Claim, Seen, place

PLANTS = 10_000
ON_A_SHARD = 500


@contextmanager
def at_most(seconds: float, what: str) -> Iterator[None]:
    started = time.process_time()
    yield
    took = time.process_time() - started
    print(f"{what}: {1000 * took:.0f} ms of CPU, at most {1000 * seconds:.0f}")
    assert took < seconds, what


def profile(number: int) -> DeviceProfile:
    points = [
        {"field": f"value{n}", "table": "input", "address": 2 * n, "type": "float32", "unit": "kW"}
        for n in range(60)
    ]
    return DeviceProfile.model_validate(
        {"metadata": {"name": f"profile-{number}"}, "spec": {"type": "METER", "points": points}}
    )


def packed(number: int, interval: str = "10s") -> PackedPlant:
    """A plant with ten meters on ten connections."""
    name = f"plant-{number:05}"
    plant = site(
        name,
        telemetry={"interval": interval},
        connections=[
            {"name": f"plc{n}", "modbusTcp": {"host": f"10.1.{number % 250}.{n}"}} for n in range(10)
        ],
        devices=[
            {
                "externalId": f"M{n}",
                "type": "METER",
                "connection": f"plc{n}",
                "profile": f"profile-{(number + n) % 20}",
            }
            for n in range(10)
        ],
    )
    material = Random(name).randbytes(700).hex()[:700].encode()
    return pack_plant(BundlePlant(plant=plant, pool=None, credentials=keys(name, material)), inputs="0" * 32)


@pytest.fixture(scope="module")
def fleet() -> list[Claim]:
    random = Random(1)
    profiles = [(f"profile {n}", 2000 + n) for n in range(40)]
    return [
        Claim(
            plant=f"plant-{number:05}",
            plant_id=plant_id(str(number)),
            pool="default",
            weight=Weight(
                millirequests=random.randrange(100, 20_000),
                bytes=random.randrange(1_200, 2_500),
                parts=frozenset(random.sample(profiles, 3)),
            ),
        )
        for number in range(PLANTS)
    ]


def test_ten_thousand_plants_are_placed_in_a_moment(fleet: list[Claim]) -> None:
    limits = {"default": Limits()}
    with at_most(2.0, f"{PLANTS} new plants placed"):
        first = place(fleet, limits, [])
    ids = {claim.plant: claim.plant_id for claim in fleet}
    seen = [
        Seen(shard=shard, plants={name: ids[name] for name in carries.plants})
        for shard, carries in first.shards.items()
    ]
    with at_most(1.0, f"{PLANTS} placed plants, {len(seen)} gateways, looked at again"):
        again = place(fleet, limits, seen)
    assert all(again.decisions[name].shard == each.shard for name, each in first.decisions.items())


def test_a_change_of_one_plant_costs_its_shard_little() -> None:
    profiles = {f"profile-{n}": profile(n) for n in range(20)}
    plants = {plant.name: plant for plant in map(packed, range(ON_A_SHARD))}
    before = shard_bundle(plants.values(), profiles, None)
    print(f"{ON_A_SHARD} plants of ten meters: {before.size} bytes of {MAX_BYTES}")
    with at_most(0.05, "one plant packed anew"):
        plants["plant-00007"] = packed(7, "5s")
    with at_most(0.05, f"its bundle of {ON_A_SHARD} plants put together"):
        after = shard_bundle(plants.values(), profiles, before.files)
    assert after.changed
    with at_most(2.0, f"{ON_A_SHARD} plants taken out of their bundle after a restart"):
        held = packed_in(after.files)
    assert held == plants
    with at_most(0.05, "the same bundle again"):
        assert not shard_bundle(held.values(), profiles, after.files).changed
    other = Gzip(1, 0, "").bundle(after.files)
    with at_most(0.2, "the same bundle, all files of which another zlib has compressed"):
        assert not shard_bundle(held.values(), profiles, other).changed
