"""A Plant, its profiles and its pool become what a gateway is to do."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import pytest

from tests.support.plants import small_battery_document as battery_document
from voke_api.blocks import requests_per_second
from voke_api.fleet import check_fleet
from voke_api.problems import Problem, Severity, dotted
from voke_api.resolve import mask_bits, resolve
from voke_api.resolved import DeviceLimits, MaskBit, ResolvedPlant
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_api.resources.common import counted
from voke_api.resources.points import Raw, from_data_sheet


def profile(points: list[dict[str, Any]], **spec: Any) -> dict[str, DeviceProfile]:
    document = {"metadata": {"name": "acme"}, "spec": {"type": "BATTERY", "points": points, **spec}}
    return {"acme": DeviceProfile.model_validate(document)}


def point(field: str, address: int, **others: Any) -> dict[str, Any]:
    return {"field": field, "table": "input", "address": address, "type": "uint16", **others}


def with_profile(**device: Any) -> Plant:
    document = battery_document()
    document["spec"]["devices"] = [
        {"externalId": "BAT1", "type": "BATTERY", "connection": "plc1", "profile": "acme", **device}
    ]
    return Plant.model_validate(document)


def resolved(plant: Plant, profiles: dict[str, DeviceProfile] | None = None) -> ResolvedPlant:
    result, problems = resolve(plant, profiles or {}, None)
    assert result is not None, problems
    return result


def errors(plant: Plant, profiles: dict[str, DeviceProfile]) -> list[str]:
    result, problems = resolve(plant, profiles, None)
    assert result is None
    return [dotted(problem.path) for problem in problems if problem.severity is Severity.ERROR]


def test_a_point_of_the_device_replaces_the_profile_s_point_whole() -> None:
    profiles = profile([point("a", 1, scale=0.5), point("b", 2)])
    device = resolved(with_profile(points=[point("a", 9), point("c", 3)]), profiles).devices[0]
    assert [(p.field, p.address, p.scale) for p in device.points] == [("a", 9, 1), ("b", 2, 1), ("c", 3, 1)]


def test_limits_are_overridden_key_by_key() -> None:
    profiles = profile([point("a", 1)], limits={"maxRegisters": 50, "pause": "20ms"})
    device = resolved(with_profile(limits={"maxRegisters": 10, "maxGap": 0}), profiles).devices[0]
    assert device.limits == DeviceLimits(max_registers=10, max_gap=0, pause=0.02)


def test_a_profile_and_a_device_together_have_at_most_256_points() -> None:
    profiles = profile([point(f"a{n}", n) for n in range(200)])
    plant = with_profile(points=[point(f"b{n}", n) for n in range(57)])
    assert errors(plant, profiles) == ["spec.devices[0].points"]


def test_a_mistake_in_a_profile_that_only_this_device_makes_is_shown_at_its_profile() -> None:
    profiles = profile([point("a", 1, scaleFrom="sf"), point("sf", 2, type="int16")])
    plant = with_profile(points=[point("sf", 2)])
    assert errors(plant, profiles) == ["spec.devices[0].profile"]


def test_the_mask_of_coils_counts_up_from_its_address() -> None:
    raw = Raw.model_validate({"table": "coil", "address": 5, "count": 2})
    assert mask_bits(raw) == (
        MaskBit(bit=0, table="coil", address=5),
        MaskBit(bit=1, table="coil", address=6),
    )


@pytest.mark.parametrize(
    ("orders", "bit_0", "bit_31"),
    [
        ({}, (8, 0), (7, 15)),
        ({"wordOrder": "little"}, (7, 0), (8, 15)),
        ({"byteOrder": "little"}, (8, 8), (7, 7)),
        ({"wordOrder": "little", "byteOrder": "little"}, (7, 8), (8, 7)),
    ],
)
def test_the_mask_of_two_registers_follows_byte_and_word_order(
    orders: dict[str, str], bit_0: tuple[int, int], bit_31: tuple[int, int]
) -> None:
    bits = mask_bits(Raw.model_validate({"table": "holding", "address": 7, "type": "uint32", **orders}))
    assert len(bits) == 32
    assert (bits[0].address, bits[0].register_bit) == bit_0
    assert (bits[31].address, bits[31].register_bit) == bit_31


def test_alarms_on_bits_ask_for_the_raw_word() -> None:
    alarm = {"device": "BAT1", "field": "faultCode", "code": 1, "severity": "ERROR"}
    document = battery_document(
        alarms=[alarm | {"name": "bit", "when": {"bit": 3}}, alarm | {"name": "any", "when": {"gt": 0}}]
    )
    assert resolved(Plant.model_validate(document)).devices[0].raw_fields == {"faultCode"}


def test_a_snapshot_waits_half_the_interval_but_no_longer_than_a_second() -> None:
    def within(**telemetry: str) -> float:
        return resolved(Plant.model_validate(battery_document(telemetry=telemetry))).assemble_within

    assert within() == 1
    assert within(interval="500ms") == 0.25
    assert within(interval="5s", assembleWithin="3s") == 3


def test_writes_are_forbidden_by_plant_pool_and_caller() -> None:
    plant = Plant.model_validate(battery_document())
    pool = GatewayPool.model_validate({"metadata": {"name": "default"}, "spec": {"writes": "Disabled"}})
    disabled = Plant.model_validate(battery_document(writes="Disabled"))
    assert resolved(plant).read_only is None
    assert resolved(disabled).read_only == "writes: Disabled on the Plant"
    by_pool, _ = resolve(plant, {}, pool)
    assert by_pool is not None
    assert by_pool.read_only == "writes: Disabled on the GatewayPool default"
    by_caller, _ = resolve(plant, {}, None, read_only="--read-only")
    assert by_caller is not None
    assert by_caller.read_only == "--read-only"


WRITES = [{"device": "BAT1", "field": "setpointW", "value": 0}]


@pytest.mark.parametrize(
    "promise",
    [
        {"failSafe": {"after": "5m", "writes": WRITES}},
        {"heartbeats": [{"device": "BAT1", "field": "enable", "every": "1s", "mode": "toggle"}]},
        {
            "commands": {
                "A": {"writes": WRITES, "revertAfter": {"default": "1m", "max": "1h", "writes": WRITES}}
            }
        },
    ],
    ids=["failSafe", "heartbeats", "revertAfter"],
)
def test_a_promise_of_safety_that_is_not_kept_yet_makes_a_plant_read_only(promise: dict[str, Any]) -> None:
    result, problems = resolve(Plant.model_validate(battery_document(**promise)), {}, None)
    assert result is not None
    assert result.read_only is not None
    assert "not active" in result.read_only
    assert [problem.severity for problem in problems] == [Severity.WARNING]


def test_only_the_pool_default_need_not_exist() -> None:
    assert resolved(Plant.model_validate(battery_document())).voke.host == "mqtt.voke.lovinka.com"
    assert errors(Plant.model_validate(battery_document(pool="north")), {}) == ["spec.pool"]


def test_problems_say_whose_they_are() -> None:
    _, problems = resolve(Plant.model_validate(battery_document(pool="north")), {}, None)
    assert [(problem.kind, problem.name) for problem in problems] == [("Plant", "site")]


def test_bounds_are_compared_with_the_raw_type_in_decimal() -> None:
    def bound(maximum: float, scale: float) -> Plant:
        limited = {"field": "x", "table": "holding", "address": 1, "type": "int16", "scale": scale}
        document = battery_document()
        document["spec"]["devices"][0]["points"] = [limited | {"writable": {"max": maximum}}]
        return Plant.model_validate(document)

    resolved(bound(3276.7, 0.1))
    assert errors(bound(3276.8, 0.1), {}) == ["spec.devices[0].points[0].writable.max"]


def test_requests_per_second_count_devices_heartbeats_and_every() -> None:
    document = battery_document(telemetry={"interval": "2s"})
    document["spec"]["devices"][0]["every"] = 3
    assert requests_per_second(resolved(Plant.model_validate(document))) == {"plc1": pytest.approx(4 / 6)}


def named(name: str, host: str = "127.0.0.1", plant_id: str | None = None) -> Plant:
    document = battery_document(connections=[{"name": "plc1", "modbusTcp": {"host": host}}])
    document["metadata"]["name"] = name
    document["spec"]["plantId"] = plant_id or str(uuid5(NAMESPACE_DNS, name))
    return Plant.model_validate(document)


def said(problems: list[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.name, dotted(problem.path), str(problem.severity)) for problem in problems]


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 gateways do"), (1, "1 gateway does"), (2, "2 gateways do")]
)
def test_one_thing_is_not_several(number: int, said: str) -> None:
    assert counted(number, "gateway", "do") == said
    assert counted(number, "gateway") == said.rpartition(" ")[0]


def test_plants_that_share_nothing_get_along() -> None:
    assert check_fleet([named("a", "10.0.0.1"), named("b", "10.0.0.2")]) == []


def test_one_plant_id_is_for_one_plant() -> None:
    plants = [named("a", "10.0.0.1"), named("b", "10.0.0.2", named("a").spec.plant_id)]
    assert said(check_fleet(plants)) == [("b", "spec.plantId", "error")]


def test_a_plc_is_for_one_plant_of_a_pool() -> None:
    plants = [named("a", "plc.example"), named("b", "PLC.example")]
    (problem,) = found = check_fleet(plants)
    assert said(found) == [("b", "spec.connections[0].modbusTcp.host", "error")]
    assert problem.message == (
        "Plant a connects to plc.example:502 already, and a PLC is read and written by one Plant: put the devices of both "
        "into one Plant, or reach those of this one by another address or port"
    )


def test_a_plc_belongs_to_the_plant_that_has_it_already() -> None:
    plants = [named("a", "plc.example"), named("b", "plc.example")]
    found = check_fleet(plants, {"b": {"plc.example:502"}, "a": {"other.example:502"}})
    assert said(found) == [("a", "spec.connections[0].modbusTcp.host", "error")]


def test_a_suspended_plant_has_no_plc() -> None:
    first, second = named("a", "plc.example"), named("b", "plc.example")
    asleep = first.model_copy(update={"spec": first.spec.model_copy(update={"suspend": True})})
    assert check_fleet([asleep, second]) == []


def test_one_address_in_two_pools_may_be_two_plcs_and_is_warned_about() -> None:
    """As where every site has gateways, and a network, of its own."""
    first, second = named("a", "192.168.1.10"), named("b", "192.168.1.10")
    elsewhere = second.model_copy(update={"spec": second.spec.model_copy(update={"pool": "north"})})
    assert said(check_fleet([first, elsewhere])) == [("b", "spec.connections[0].modbusTcp.host", "warning")]


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        (40011, ("holding", 10)),
        (30011, ("input", 10)),
        (10001, ("discrete", 0)),
        (400011, ("holding", 10)),
        (40000, None),
        (11, None),
        (20011, None),
    ],
)
def test_numbers_of_data_sheets_are_recognised(address: int, meant: tuple[str, int] | None) -> None:
    assert from_data_sheet(address) == meant


def test_similar_names_are_looked_for_a_while_and_not_for_as_long_as_a_plant_has_wrong_ones() -> None:
    """A Plant of the largest size would keep the operator busy for minutes otherwise."""
    long = "x" * 58
    document = battery_document()
    document["spec"]["devices"][0]["points"] += [point(f"{long}{n:03}", n) for n in range(200)]
    writes = [{"device": "BAT1", "field": f"{long}{n:03}y", "value": 0} for n in range(32)]
    document["spec"]["commands"] = {f"C{n}": {"writes": writes} for n in range(32)}
    _, problems = resolve(Plant.model_validate(document), {}, None)
    messages = [each.message for each in problems if "has no point" in each.message]
    assert len(messages) == 32 * 32
    assert "did you mean" not in messages[-1]

    document["spec"]["commands"] = {"C": {"writes": [{"device": "BAT1", "field": "setpoint", "value": 0}]}}
    (said,) = [each.message for each in resolve(Plant.model_validate(document), {}, None)[1]]
    assert said.endswith("did you mean setpointW?")
