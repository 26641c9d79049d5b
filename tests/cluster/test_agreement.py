"""``voke check`` and the API server agree about resources that nobody wrote by hand.

Good resources, spoilt in one to three places: keys taken out, put in, given other values, entries twice.
"""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cluster.refusals import PLURALS, RULES_NOT_CHECKED, refusals
from tests.support.plants import battery_document
from voke_api.crd import definitions
from voke_api.problems import ProblemClass, dotted
from voke_api.resources.common import DURATION
from voke_api.validate import validate

Document = dict[str, Any]
Place = tuple[Any, dict[str, Any]]
"""An object or a list in a document, and its schema."""

pytestmark = pytest.mark.usefixtures("crds")

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = [
    battery_document(),
    *(
        document
        for file in ("plant.yaml", "profile.yaml", "pool.yaml", "substation/plant.yaml")
        for document in yaml.safe_load_all((EXAMPLES / file).read_text())
        if document["kind"] in PLURALS
    ),
]
GOOD_PROFILE = next(document for document in GOOD if document["kind"] == "DeviceProfile")
WORDS = ["default", "plc1", "BAT1", "GET_INFO", "x", ""]
KEYS = ["CHARGE", "lower", "GET_INFO"]
"""Of maps."""
TIMES = ["0ms", "10ms", "100ms", "500ms", "1s", "10s", "5m", "4h", "800h", "1000000h", "1d", "-1s"]
NUMBERS = [-1, 0, 0.5, 1, 2, 15, 16, 31, 32, 125, 126, 255, 256, 65535, 65536, 2**31, 2**53]
ANYTHING = ["x", "10s", 5, 0.5, True, [], {}, ["x"], {"x": 1}]


@functools.cache
def schema_of(kind: str) -> dict[str, Any]:
    version = definitions()[PLURALS[kind]]["spec"]["versions"][0]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def places(value: Any, schema: dict[str, Any]) -> list[Place]:
    """The objects and lists in ``value`` that are where the schema has them."""
    if isinstance(value, list) and schema.get("type") == "array":
        return [(value, schema), *(place for each in value for place in places(each, schema["items"]))]
    if isinstance(value, dict) and ("properties" in schema or "additionalProperties" in schema):
        own = schema.get("properties", {})
        inner = [(each, own.get(key, schema.get("additionalProperties", {}))) for key, each in value.items()]
        return [(value, schema), *(place for each, its in inner for place in places(each, its))]
    return []


UNTYPED = st.sampled_from([0, 1.5, True, "none", {}, 0xFFFF, 0x10000, 2**33, "0xFFFF", "0x10000", "0x0F"])


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of about this schema; some just beyond it."""
    if "enum" in schema:
        return st.sampled_from([*schema["enum"] * 3, "x"])
    if schema.get("pattern") == DURATION:
        return st.sampled_from(TIMES)
    if schema.get("type") == "array":
        return st.lists(values(schema["items"]), max_size=2)
    if "additionalProperties" in schema:
        return st.dictionaries(st.sampled_from(WORDS), values(schema["additionalProperties"]), max_size=2)
    if schema.get("type") == "object":
        required = {key: values(schema["properties"][key]) for key in schema.get("required", ())}
        others = schema.get("properties", {}).keys() - required.keys()
        return st.fixed_dictionaries(
            required, optional={key: values(schema["properties"][key]) for key in sorted(others)}
        )
    return _simple(schema)


def _simple(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "boolean":
            return st.booleans()
        case "string":
            return st.sampled_from([*(word for word in WORDS if _fits(word, schema)), *WORDS])
        case "integer" | "number" as type_:
            low, high = schema.get("minimum", -1), schema.get("maximum", 2**53)
            inside = [number for number in NUMBERS if low <= number <= high]
            numbers = [*inside, *inside, low, high, low - 1, high + 1]
            return st.sampled_from([number for number in numbers if type_ == "number" or number != 0.5])
    return UNTYPED


def _fits(word: str, schema: dict[str, Any]) -> bool:
    return len(word) >= schema.get("minLength", 0) and bool(re.search(schema.get("pattern", ""), word))


@st.composite
def profiles(draw: st.DrawFn) -> Document:
    """A DeviceProfile of points whose keys and values were put together at random."""
    schema = schema_of("DeviceProfile")
    document: Document = copy.deepcopy(GOOD_PROFILE)
    document["spec"]["points"] = draw(
        st.lists(values(schema["properties"]["points"]["items"]), min_size=1, max_size=2)
    )
    return document


@st.composite
def spoilt(draw: st.DrawFn) -> Document:
    document: Document = copy.deepcopy(draw(st.sampled_from(GOOD)))
    schema = schema_of(document["kind"])
    for _ in range(draw(st.integers(1, 3))):
        value, inside = draw(st.sampled_from(places(document["spec"], schema)))
        _spoil(draw, value, inside)
    return document


def _spoil(draw: st.DrawFn, value: Any, schema: dict[str, Any]) -> None:
    if isinstance(value, list):
        entries = values(schema["items"]) | st.sampled_from(value) if value else values(schema["items"])
        value.append(copy.deepcopy(draw(entries)))
        return
    known = schema.get("properties") or dict.fromkeys(KEYS, schema["additionalProperties"])
    key = draw(st.sampled_from(sorted(known)))
    match draw(st.sampled_from(["out", *["in"] * 9, "wrong", "unknown"])):
        case "out" if value:
            del value[draw(st.sampled_from(sorted(value)))]
        case "wrong":
            value[key] = copy.deepcopy(draw(st.sampled_from(ANYTHING)))
        case "unknown" if "properties" in schema:
            value["unknown"] = 1
        case _:
            value[key] = draw(values(known[key]))


@pytest.mark.timeout(300)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=spoilt() | profiles())
def test_both_accept_or_both_refuse_and_say_the_same(
    admin: kubernetes.client.ApiClient, document: Document
) -> None:
    judged = validate(document)
    problems = judged if isinstance(judged, list) else []
    here = {problem.problem_class for problem in problems} - {ProblemClass.SEMANTIC}
    found = refusals(admin, document)
    assert bool(found) == bool(here), (problems, found)
    if here == {ProblemClass.CEL} and not any(RULES_NOT_CHECKED in refusal.message for refusal in found):
        for problem in problems:
            if problem.problem_class == ProblemClass.CEL:
                words = [refusal for refusal in found if problem.message.startswith(refusal.message)]
                assert any(dotted(problem.path).startswith(refusal.path) for refusal in words), (
                    problem,
                    found,
                )
