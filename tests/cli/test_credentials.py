"""``voke credentials`` without a name: which plants have keys here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner

from tests.support.plants import battery_document
from voke_cli.main import app
from voke_cli.prepare import prepare
from voke_cli.state import State


def listed(state: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["credentials", "--state", str(state), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_plants_are_listed_under_headings(tmp_path: Path) -> None:
    document = battery_document()
    file = tmp_path / "plant.json"
    file.write_text(json.dumps(document))
    assert prepare([file], State(tmp_path / "state"), now=datetime.now(UTC)).ok
    heading, plant = listed(tmp_path / "state").splitlines()
    assert heading.split("  ")[0].strip() == "PLANT"
    assert plant.split()[:2] == [document["metadata"]["name"], document["spec"]["plantId"]]
    assert plant.index(document["spec"]["plantId"]) == heading.index("PLANT ID")


def test_where_there_are_none_it_is_said_who_makes_them(tmp_path: Path) -> None:
    assert listed(tmp_path) == "there are none here: voke run makes them, in the directory of its --state\n"
    assert json.loads(listed(tmp_path, "--json")) == []
