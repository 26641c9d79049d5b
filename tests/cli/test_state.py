"""The state directory: made once, kept, for its owner only."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.support.plants import battery_document
from voke_api.resources import Plant
from voke_cli.credentials import describe
from voke_cli.state import State, StateError
from voke_operator.credentials.material import Material, load_private_key

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


LATER = NOW + timedelta(days=500)


def belongs_together(pair: Material) -> bool:
    leaf = x509.load_pem_x509_certificate(pair["tls.crt"])
    return leaf.public_key() == load_private_key(pair["tls.key"]).public_key()


def test_a_certificate_is_renewed_once_when_two_thirds_of_its_life_are_over_and_nothing_else(
    tmp_path: Path,
) -> None:
    first = State(tmp_path)
    before = first.generated(plant(), NOW)
    assert first.look_again is not None
    assert timedelta(days=400) < first.look_again - NOW < timedelta(days=487)
    assert State(tmp_path).generated(plant(), first.look_again - timedelta(seconds=1)) == before

    second = State(tmp_path)
    after = second.generated(plant(), first.look_again)
    assert {name for name in before if before[name] != after[name]} == {"tls.crt", "tls.key"}
    assert belongs_together(after)
    assert (second.renewed, second.made) == (["site"], set()), "Voke need not be told"
    assert second.look_again is not None
    assert second.look_again > LATER

    third = State(tmp_path)
    assert third.generated(plant(), first.look_again) == after
    assert third.renewed == []
    assert second.material("site") == after


@pytest.mark.parametrize("done", range(5))
def test_a_renewal_that_was_interrupted_leaves_a_pair(tmp_path: Path, done: int) -> None:
    """``done`` files were written ahead, or all of them and the rest of ``done`` moved."""
    State(tmp_path / "one").generated(plant(), NOW)
    renewed = State(tmp_path / "one").generated(plant(), LATER)
    before = State(tmp_path / "two").generated(plant(), NOW)
    directory = tmp_path / "two" / "plants" / "site"
    ahead = directory / "next"
    ahead.mkdir()
    files = ("tls.key", "ca.crt", "tls.crt")
    for name in files[: done + 1]:
        (ahead / name).write_bytes(renewed[name])
    for name in files[: max(0, done - 2)]:
        (ahead / name).replace(directory / name)
    found = State(tmp_path / "two").generated(plant(), NOW)
    assert belongs_together(found)
    assert found["tls.crt"] == (renewed if done >= 2 else before)["tls.crt"]
    assert not ahead.exists()


def test_a_certificate_that_cannot_be_read_is_left_for_the_uplink_to_complain_of(tmp_path: Path) -> None:
    State(tmp_path).generated(plant(), NOW)
    (tmp_path / "plants" / "site" / "tls.crt").write_bytes(b"damaged")
    state = State(tmp_path)
    assert state.generated(plant(), LATER)["tls.crt"] == b"damaged"
    assert state.look_again is None
