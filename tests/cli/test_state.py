"""The state directory: made once, kept, for its owner only."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.plants import battery_document
from voke_api.resources import Plant
from voke_cli.credentials import describe
from voke_cli.state import State, StateError

NOW = datetime.now(UTC)


def plant(**spec: Any) -> Plant:
    return Plant.model_validate_json(json.dumps(battery_document(**spec)), strict=True)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({"auth": {"method": "MTLS"}}, {"hmac.key", "tls.crt", "tls.key", "ca.crt"}),
        ({"auth": {"method": "JWT"}}, {"hmac.key", "jwt-private.pem"}),
        (
            {"auth": {"method": "MTLS"}, "credentials": {"hmac": {"secretRef": {"name": "s"}}}},
            {"tls.crt", "tls.key", "ca.crt"},
        ),
    ],
)
def test_what_a_plant_needs_and_does_not_bring_is_made_once(
    tmp_path: Path, spec: dict[str, Any], names: set[str]
) -> None:
    first = State(tmp_path / "s").generated(plant(**spec), NOW)
    assert set(first) == names
    again = State(tmp_path / "s")
    assert again.generated(plant(**spec), NOW) == first
    assert again.made == set()


def test_everything_is_for_its_owner_only(tmp_path: Path) -> None:
    State(tmp_path / "s").generated(plant(), NOW)
    for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_what_is_to_be_registered_is_not_in_its_repr(tmp_path: Path) -> None:
    state = State(tmp_path / "s")
    key = state.generated(plant(), NOW)["hmac.key"]
    registration = describe(state, state.known()[0])
    assert registration.files["hmac.key"] == key
    assert key.decode() not in repr(registration)


def test_a_first_run_that_was_interrupted_is_finished_by_the_second(tmp_path: Path) -> None:
    directory = tmp_path / "plants" / "site"
    directory.mkdir(parents=True)
    (directory / "tls.key").write_bytes(b"half of a pair")
    made = State(tmp_path).generated(plant(), NOW)
    assert made["tls.key"] != b"half of a pair"


def test_keys_are_not_handed_to_another_plant_of_the_same_name(tmp_path: Path) -> None:
    State(tmp_path).generated(plant(), NOW)
    other = plant(plantId="00000000-0000-4000-8000-000000000000")
    with pytest.raises(StateError, match="holds the keys of plant 3f2c1a9e"):
        State(tmp_path).generated(other, NOW)


def test_one_gateway_at_a_time_uses_a_directory(tmp_path: Path) -> None:
    with State(tmp_path).locked():
        with pytest.raises(StateError, match="another voke run is using"), State(tmp_path).locked():
            pass
    with State(tmp_path).locked():
        pass


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="give another --state"):
        State(tmp_path / "file" / "s").generated(plant(), NOW)


def test_a_lock_that_cannot_be_opened_is_said_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateError, match=r"cannot open .*lock: Is a directory; give another --state"):
        State(tmp_path).locked().__enter__()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"plantId": "x"}'])
def test_a_damaged_entry_is_never_taken_for_a_new_plant(tmp_path: Path, content: bytes) -> None:
    State(tmp_path).generated(plant(), NOW)
    (entry,) = tmp_path.glob("plants/*/plant.json")
    entry.write_bytes(content)
    with pytest.raises(StateError, match=r"plant\.json is damaged"):
        State(tmp_path).generated(plant(), NOW)
    with pytest.raises(StateError, match=r"plant\.json is damaged"):
        State(tmp_path).known()
    assert entry.read_bytes() == content
