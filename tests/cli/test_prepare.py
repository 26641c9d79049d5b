"""What voke run is told before it runs: new keys are said once, with what to do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from tests.support.plants import battery_document
from voke_cli.prepare import prepare
from voke_cli.state import State

NOW = datetime.now(UTC)


def messages(directory: Path, name: str) -> list[str]:
    document = battery_document()
    document["metadata"]["name"] = name
    file = directory / "plant.json"
    file.write_text(json.dumps(document))
    prepared = prepare([file], State(directory / "state"), now=NOW)
    assert prepared.ok
    return [problem.message for problem in prepared.problems]


def test_new_keys_are_said_once(tmp_path: Path) -> None:
    assert messages(tmp_path, "site") == [
        "new keys were generated, which Voke has to be told: voke credentials site"
    ]
    assert messages(tmp_path, "site") == []


def test_a_renamed_plant_is_told_that_its_old_keys_are_elsewhere(tmp_path: Path) -> None:
    messages(tmp_path, "site")
    (message,) = messages(tmp_path, "renamed")
    assert message.endswith("; site in the same state directory has this plantId and other keys")
