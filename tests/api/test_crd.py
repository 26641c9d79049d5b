"""The CustomResourceDefinitions are what their generator makes of the models as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scripts.generate_crds import CRDS, generated
from voke_api.crd import definitions
from voke_api.resources.common import Ruled
from voke_api.rules import RULES

GENERATED = generated()


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from schemas(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from schemas(schema[key], f"{path}[]")


def root(plural: str) -> dict[str, Any]:
    schema: dict[str, Any] = definitions()[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_file_is_up_to_date(name: str) -> None:
    assert (CRDS / name).read_text() == GENERATED[name], "run `make crds` and commit the result"


@pytest.mark.parametrize("plural", definitions())
def test_every_field_is_described(plural: str) -> None:
    for part in ("spec", "status"):
        for path, schema in schemas(root(plural)["properties"].get(part, {"description": "none"})):
            assert schema.get("description") or path.endswith("[]"), path


def test_every_model_with_rules_has_them_in_cel_or_in_its_schema() -> None:
    ruled = {model for model in Ruled.__subclasses__() if model.__module__.startswith("voke_api.resources.")}
    assert {model for model in ruled - RULES.keys() if "json_schema_extra" not in model.model_config} == set()


def test_a_rule_reports_a_field_of_the_object_that_it_guards() -> None:
    for model, rules in RULES.items():
        fields = {field.alias or name for name, field in model.model_fields.items()}
        assert all(rule.path.split(".")[0] in fields | {""} for rule in rules), model
