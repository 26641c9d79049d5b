"""What voke run is told before it runs: new keys are said once, with what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.support.plants import battery_document
from voke_cli.prepare import prepare
from voke_cli.state import State, default_directory

NOW = datetime.now(UTC)


def messages(directory: Path, name: str, state: Path | None = None) -> list[str]:
    document = battery_document()
    document["metadata"]["name"] = name
    file = directory / "plant.json"
    file.write_text(json.dumps(document))
    prepared = prepare([file], State(state or directory / "state"), now=NOW)
    assert prepared.ok
    return [problem.message for problem in prepared.problems]


def test_new_keys_are_said_once(tmp_path: Path) -> None:
    assert messages(tmp_path, "site") == [
        f"new keys were generated, which Voke has to be told: voke credentials site --state {tmp_path}/state"
    ]
    assert messages(tmp_path, "site") == []


def test_the_state_directory_that_is_looked_into_by_itself_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (message,) = messages(tmp_path, "site", default_directory())
    assert message.endswith("voke credentials site")


def test_mistakes_are_said_from_the_first_line_to_the_last(tmp_path: Path) -> None:
    file = tmp_path / "plant.yaml"
    document = battery_document(plantID="x", auth={"method": "mtls"})
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    lines = [problem.line or 0 for problem in prepare([file], State(tmp_path / "state"), now=NOW).problems]
    assert len(lines) > 1
    assert lines == sorted(lines)


def test_a_renamed_plant_is_told_that_its_old_keys_are_elsewhere(tmp_path: Path) -> None:
    messages(tmp_path, "site")
    (message,) = messages(tmp_path, "renamed")
    assert message.endswith("; site in the same state directory has this plantId and other keys")
