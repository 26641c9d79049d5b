"""Documents become resources, or problems that say what would be right."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plants import small_battery_document as battery_document
from voke_api.problems import ProblemClass, dotted
from voke_api.resources import GatewayPool, Plant
from voke_api.salvage import salvage
from voke_api.validate import validate


def problems(document: object) -> dict[str, str]:
    outcome = validate(document)
    assert isinstance(outcome, list)
    return {dotted(problem.path): problem.message for problem in outcome}


def test_a_plant_is_a_plant() -> None:
    assert isinstance(validate(battery_document()), Plant)


def test_what_kubectl_get_shows_may_be_checked_as_it_is() -> None:
    assert isinstance(validate({**battery_document(), "status": {"devices": "1/1"}}), Plant)


def test_an_empty_pool_has_all_defaults() -> None:
    pool = validate(
        {"apiVersion": "voke.lovinka.com/v1alpha1", "kind": "GatewayPool", "metadata": {"name": "a"}}
    )
    assert isinstance(pool, GatewayPool)
    assert pool.spec.voke.ports.mtls == 8886


def test_all_errors_come_at_once() -> None:
    document = battery_document(suspend="true", pool=7, colour="red")
    document["spec"]["devices"][0]["unitId"] = "1"
    assert problems(document) == {
        "spec.suspend": "must be true or false, not text; take the quotes off",
        "spec.pool": "must be text, not a number; put it in quotes",
        "spec.colour": problems(document)["spec.colour"],
        "spec.devices[0].unitId": "must be an integer, not text; take the quotes off",
    }


@pytest.mark.parametrize("version", [None, "v1", 1, ["voke.lovinka.com/v1alpha1"]])
def test_another_api_version_is_refused(version: object) -> None:
    assert list(problems(battery_document() | {"apiVersion": version})) == ["apiVersion"]


@pytest.mark.parametrize("document", [None, [], "Plant", 7, True, {}, {"kind": None}, {"kind": ["Plant"]}])
def test_what_is_no_resource_says_so(document: object) -> None:
    assert len(problems(document)) == 1


def test_a_misspelt_field_deep_down_gets_a_suggestion_from_its_own_object() -> None:
    document = battery_document()
    document["spec"]["devices"][0]["points"][0]["regsterBit"] = 3
    assert "did you mean `registerBit`?" in problems(document)["spec.devices[0].points[0].regsterBit"]


def test_snake_case_is_recognised() -> None:
    document = battery_document()
    document["spec"]["devices"][0]["unit_id"] = 3
    assert "did you mean `unitId`?" in problems(document)["spec.devices[0].unit_id"]


def test_a_password_in_the_wrong_place_is_never_repeated() -> None:
    document = battery_document(credentials={"password": "hunter2"}, password="hunter2")
    document["spec"]["auth"]["password"] = "hunter2"
    outcome = validate(document)
    assert isinstance(outcome, list)
    assert len(outcome) == 3
    assert "hunter2" not in repr(outcome)


def test_bounds_of_durations_are_cel_and_bounds_of_numbers_are_schema() -> None:
    outcome = validate(battery_document(telemetry={"interval": "1ms"}, commandMaxAge="0s"))
    assert isinstance(outcome, list)
    assert {problem.problem_class for problem in outcome} == {ProblemClass.CEL}


@pytest.mark.parametrize("number", [10**400, -(10**400), float("nan"), float("inf")])
def test_numbers_beyond_all_bounds_are_refused(number: float) -> None:
    document = battery_document()
    document["spec"]["devices"][0]["points"][0]["scale"] = number
    document["spec"]["commands"] = {
        "A": {"writes": [{"device": "BAT1", "field": "setpointW", "value": number}]}
    }
    assert set(problems(document)) == {
        "spec.devices[0].points[0].scale",
        "spec.commands.A.writes[0].value",
    }


def test_a_lone_surrogate_and_a_cycle_are_problems_not_crashes() -> None:
    cycle: dict[str, Any] = battery_document()
    cycle["spec"]["devices"].append(cycle)
    assert problems(cycle)
    assert problems(battery_document(pool="\ud800"))


def test_mistakes_behind_mistakes_are_found_too() -> None:
    document = battery_document(plantId="nope")
    device = document["spec"]["devices"][0]
    device["points"][0]["type"] = "uint8"
    device["points"][1]["scale"] = 0
    device["connection"] = "plc9"
    found = salvage(document)
    assert {dotted(problem.path) for problem in found.problems} == {
        "spec.plantId",
        "spec.devices[0].points[0].type",
        "spec.devices[0].points[1].scale",
        "spec.devices[0].connection",
    }
    assert isinstance(found.resource, Plant)


def test_paths_of_what_is_left_lead_back_to_the_document() -> None:
    document = battery_document()
    document["spec"]["devices"][0]["points"][0]["type"] = "uint8"
    document["spec"]["devices"][0]["points"][2]["type"] = "uint8"
    found = salvage(document)
    path = ("spec", "devices", 0, "points", 1, "address")
    assert found.original(path) == ("spec", "devices", 0, "points", 3, "address")


def test_what_refers_to_a_part_with_errors_is_not_called_dangling() -> None:
    alarm = {"name": "a", "device": "BAT1", "when": {"notReadFor": "60s"}, "code": 1, "severity": "ERROR"}
    document = battery_document(alarms=[alarm])
    document["spec"]["connections"][0]["modbusTcp"]["port"] = "x"
    assert [dotted(problem.path) for problem in salvage(document).problems] == [
        "spec.connections[0].modbusTcp.port"
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(json_values, st.sampled_from(["Plant", "DeviceProfile", "GatewayPool"]))
def test_no_spec_crashes_validation(spec: object, kind: str) -> None:
    document = {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": spec,
    }
    found = salvage(document)
    assert found.problems or found.resource is not None


def places(document: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


COMPLETE = battery_document(
    commands={
        "SET": {
            "writes": [
                {"device": "BAT1", "field": "setpointW", "parameter": "p", "readBack": {"within": "1s"}}
            ]
        }
    },
    alarms=[
        {
            "name": "a",
            "device": "BAT1",
            "field": "socPercent",
            "when": {"lt": 1},
            "code": 1,
            "severity": "ERROR",
        }
    ],
    telemetry={"interval": "1s"},
)
PLACES = places(COMPLETE)[1:]


@given(st.sampled_from(PLACES), json_values)
def test_anything_anywhere_in_a_plant_is_a_plant_or_problems(
    place: tuple[str | int, ...], value: object
) -> None:
    document: Any = deepcopy(COMPLETE)
    holder = document
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value
    found = salvage(document)
    assert found.problems or isinstance(found.resource, Plant)
    for problem in found.problems:
        assert problem.message
        assert all(isinstance(step, str | int) for step in problem.path)
