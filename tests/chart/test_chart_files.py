"""What the chart takes from elsewhere is what it is there, and its values say what they mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.generate_chart import CHART, VALUES, generated, read_values
from voke_api.validate import KINDS, validate
from voke_operator import names
from voke_operator.plan.objects import Defaults
from voke_operator.runtime.process import END_WITHIN

GENERATED = generated()
SCHEMA: dict[str, Any] = json.loads(GENERATED["values.schema.json"])


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_file_is_up_to_date(name: str) -> None:
    assert (CHART / name).read_text() == GENERATED[name], "run `make chart` and commit the result"


def test_the_schema_refuses_what_it_does_not_know() -> None:
    def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
        inner = [each for each in schema.get("properties", {}).values() if isinstance(each, dict)]
        return [schema, *(found for each in inner for found in objects(each))]

    for each in objects(SCHEMA):
        if "properties" in each:
            assert each["additionalProperties"] is False


def test_a_value_without_a_comment_or_a_type_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"a\.b: a comment above it"):
        read_values("a:\n  # Said.\n  c: 1\n  b: 2\n")
    (value,) = read_values("# Said.\na: []\n")
    with pytest.raises(AssertionError, match="must say its type"):
        _ = value.schema


def test_a_description_may_have_several_lines_and_a_schema() -> None:
    (value,) = read_values("# One,\n# two.\n# @schema {minimum: 3}\na: 4\n")
    assert value.schema == {"type": "integer", "minimum": 3, "description": "One, two."}


def test_a_pool_of_the_values_is_judged_as_strictly_as_one_of_its_own() -> None:
    pool = SCHEMA["properties"]["defaultPool"]
    assert set(pool["properties"]) == {
        field.alias
        for field in Defaults.model_fields["pool"].annotation.model_fields.values()  # type: ignore[union-attr]
    }
    assert pool["properties"]["voke"]["properties"]["ports"]["additionalProperties"] is False


def test_an_operator_gets_longer_to_end_than_it_takes() -> None:
    values = yaml.safe_load(VALUES.read_text())
    least = SCHEMA["properties"]["terminationGracePeriodSeconds"]["minimum"]
    assert values["terminationGracePeriodSeconds"] >= least > END_WITHIN
    assert values["lease"]["name"] == names.LEASE


def test_gateways_are_by_default_what_they_are_without_a_chart() -> None:
    gateway = yaml.safe_load(VALUES.read_text())["gateway"]
    assert gateway["resources"] == Defaults(image="i").resources
    assert gateway["user"] == Defaults(image="i").user


def test_the_chart_describes_itself_truly() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load(VALUES.read_text())
    said = {key.removeprefix("artifacthub.io/"): text for key, text in chart["annotations"].items()}
    assert {each["kind"] for each in yaml.safe_load(said["crds"])} == set(KINDS)
    assert [each["image"] for each in yaml.safe_load(said["images"])] == [
        f"{image['repository']}:{chart['appVersion']}"
        for image in (values["image"], values["gateway"]["image"])
    ]
    for example in yaml.safe_load(said["crdsExamples"]):
        assert not isinstance(validate(example), list)
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    assert f'\nversion = "{chart["appVersion"]}"\n' in project


def test_the_plant_of_the_notes_can_be_pasted() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    found = re.search(r"<<'EOF'\n(.*?)\n +EOF\n", notes, re.DOTALL)
    assert found
    assert not isinstance(validate(yaml.safe_load(found[1])), list)


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", GENERATED["README.md"]):
        assert (CHART / Path(target)).exists(), target
