"""From changed files to the next bundle: mistakes keep their own plant from changing, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.plants import battery_document
from voke_api.bundle import Bundle, pack, unpack
from voke_cli.bundle_directory import read_bundle, write_bundle
from voke_cli.plan_bundle import Outcome
from voke_cli.prepare import Prepared, prepare, prepare_again
from voke_cli.state import State
from voke_cli.watch import look

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOST = {"voke": {"host": "voke.test"}}


class Files:
    """A directory of plants a, b and c with a pool of their own, planned once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "site"
        self.directory.mkdir()
        self.state = State(directory / "state")
        for number, name in enumerate("abc"):
            self.write(name, self.plant(name, number))
        self.write("pool", self.document("GatewayPool", "default", HOST))
        first = prepare([self.directory], self.state, now=NOW)
        assert first.ok, first.problems
        self.bundle = self.packed(first)

    def document(self, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        return {
            "apiVersion": "voke.lovinka.com/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }

    def plant(self, name: str, number: int, **spec: Any) -> dict[str, Any]:
        found = battery_document(
            plantId=f"00000000-0000-4000-8000-00000000000{number}", auth={"method": "JWT"}, **spec
        )
        found["metadata"]["name"] = name
        found["spec"]["connections"] = [{"name": "plc1", "modbusTcp": {"host": f"10.0.0.{number}"}}]
        return found

    def write(self, name: str, *documents: dict[str, Any]) -> None:
        text = "\n---\n".join(json.dumps(document) for document in documents)
        (self.directory / f"{name}.yaml").write_text(text)

    def packed(self, prepared: Prepared) -> Bundle:
        notes = {name: problem.message for name, problem in prepared.notes.items()}
        return unpack(pack(prepared.plants, prepared.profiles, generation=1, notes=notes, max_bytes=None))

    def again(self, *named: Path) -> Bundle:
        """The bundle after the files have changed; the directory is ``named``, or only these."""
        paths = named or (self.directory,)
        self.bundle = self.packed(prepare_again(paths, self.state, self.bundle, now=NOW))
        return self.bundle

    def intervals(self) -> dict[str, float]:
        return {p.plant.metadata.name: p.plant.spec.telemetry.interval for p in self.bundle.plants}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


FAST = {"telemetry": {"interval": "1s"}}


def test_a_change_changes_its_plant(files: Files) -> None:
    before = {p.plant.metadata.name: p.credentials for p in files.bundle.plants}
    files.write("b", files.plant("b", 1, **FAST))
    files.again()
    assert files.intervals() == {"a": 10, "b": 1, "c": 10}
    assert files.bundle.notes == {}
    assert {p.plant.metadata.name: p.credentials for p in files.bundle.plants} == before


def test_a_deleted_file_removes_its_plants_and_a_new_one_adds_its(files: Files) -> None:
    (files.directory / "b.yaml").unlink()
    files.write("d", files.plant("d", 7))
    files.again()
    assert list(files.intervals()) == ["a", "c", "d"]
    for file in files.directory.glob("*.yaml"):
        file.unlink()
    assert files.again().plants == ()


def test_a_mistake_keeps_its_plant_as_it_was_with_a_note(files: Files) -> None:
    bad = files.plant("b", 1, **FAST)
    bad["spec"]["devices"][0]["connection"] = "nowhere"
    files.write("b", bad)
    files.write("a", files.plant("a", 0, **FAST))
    files.again()
    assert files.intervals() == {"a": 1, "b": 10, "c": 10}
    assert "nowhere" in files.bundle.notes["b"]
    files.write("b", files.plant("b", 1, **FAST))
    files.again()
    assert files.intervals()["b"] == 1
    assert files.bundle.notes == {}


@pytest.mark.parametrize("text", ["{kind: Plant, metadata: {name: b", "", "\tkind: [", "kind: Plant\n"])
def test_while_a_file_cannot_be_understood_no_plant_goes(files: Files, text: str) -> None:
    (files.directory / "b.yaml").write_text(text)
    (files.directory / "c.yaml").unlink()
    files.write("a", files.plant("a", 0, **FAST))
    files.again()
    assert files.intervals() == {"a": 1, "b": 10, "c": 10}, "not even the one whose file has gone"
    assert set(files.bundle.notes) == {"b", "c"}


def test_a_file_that_was_named_and_is_gone_is_expected_back(files: Files) -> None:
    named = [files.directory / f"{name}.yaml" for name in ("a", "b", "c", "pool")]
    named[1].unlink()
    files.write("a", files.plant("a", 0, **FAST))
    files.again(*named)
    assert files.intervals() == {"a": 1, "b": 10, "c": 10}
    assert set(files.bundle.notes) == {"b"}
    assert files.bundle.notes["b"].startswith("is not there, so what it held runs on")
    files.write("b", files.plant("b", 1, **FAST))
    files.again(*named)
    assert files.intervals() == {"a": 1, "b": 1, "c": 10}
    assert files.bundle.notes == {}


def test_so_is_a_directory(files: Files) -> None:
    files.directory.rename(files.directory.with_name("aside"))
    files.again()
    assert files.intervals() == {"a": 10, "b": 10, "c": 10}
    assert set(files.bundle.notes) == {"a", "b", "c"}
    files.directory.with_name("aside").rename(files.directory)
    assert files.again().notes == {}


def test_a_pool_that_cannot_be_understood_sends_nobody_to_another_voke(files: Files) -> None:
    (files.directory / "pool.yaml").write_text("{kind: GatewayPool, metadata")
    files.write("a", files.plant("a", 0, **FAST))
    files.again()
    assert files.intervals() == {"a": 10, "b": 10, "c": 10}
    assert {p.pool.spec.voke.host for p in files.bundle.plants if p.pool} == {"voke.test"}
    files.write("pool", files.document("GatewayPool", "default", {"voke": {"hots": "typo"}}))
    files.again()
    assert {p.pool.spec.voke.host for p in files.bundle.plants if p.pool} == {"voke.test"}
    (files.directory / "pool.yaml").unlink()
    files.again()
    assert {p.pool for p in files.bundle.plants} == {None}, "gone on purpose: the default applies"


def test_the_plant_that_runs_keeps_its_plant_id(files: Files) -> None:
    files.write("0", files.plant("0", 2))
    files.again()
    assert list(files.intervals()) == ["a", "b", "c"]
    assert "plantId" in files.bundle.notes["0"]


def test_the_plant_that_is_connected_to_a_plc_keeps_it(files: Files) -> None:
    taken = files.plant("a", 0, **FAST)
    taken["spec"]["connections"] = [{"name": "plc1", "modbusTcp": {"host": "10.0.0.1"}}]
    files.write("a", taken)
    files.write("b", files.plant("b", 1, **FAST))
    bundle = files.again()
    assert files.intervals() == {"a": 10.0, "b": 1.0, "c": 10.0}, "what b has is b's, although a comes first"
    assert bundle.notes["a"].startswith("Plant b connects to 10.0.0.1:502 already")


def test_a_kind_that_is_misspelt_is_no_deletion(files: Files) -> None:
    files.write("b", {**files.plant("b", 1), "kind": "Plnat"})
    files.again()
    assert list(files.intervals()) == ["a", "b", "c"]
    assert "Plnat" in str(files.bundle.notes["b"]) or "unknown kind" in files.bundle.notes["b"]


def test_a_bundle_directory_is_private_and_only_what_changed_is_written(files: Files, tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    packed = pack(files.bundle.plants, {}, generation=1)
    assert write_bundle(directory, packed)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    inodes = {path.name: path.stat().st_ino for path in directory.iterdir()}
    assert not write_bundle(directory, pack(files.bundle.plants, {}, generation=2)), "nothing has changed"
    assert write_bundle(directory, pack(files.bundle.plants[:2], {}, generation=3))
    after = {path.name: path.stat().st_ino for path in directory.iterdir()}
    assert after["plant-a.json.gz"] == inodes["plant-a.json.gz"]
    assert after.keys() == inodes.keys() - {"plant-c.json.gz"}
    again = read_bundle(directory)
    assert again is not None
    assert again.generation == 3
    assert read_bundle(tmp_path / "nothing") is None


def test_what_the_planning_process_says_is_understood() -> None:
    said = Outcome(ok=False, failure="no", problems=(("error", "a.yaml:3: bad"),), renewed=("site",))
    assert Outcome.parse(said.text()) == said


def test_every_way_to_change_a_file_is_seen(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    file = site / "a.yaml"
    file.write_text("a")
    seen = [look([site])]

    def now_differs() -> bool:
        seen.append(look([site]))
        return seen[-1] != seen[-2]

    assert not now_differs()
    file.write_text("ab")
    assert now_differs()
    (site / "new").write_text("ac")
    (site / "new").rename(file)
    assert now_differs()
    (site / "sub").mkdir()
    (site / "sub" / "b.yml").write_text("b")
    assert now_differs()
    (site / "README.md").write_text("not read")
    (site / ".hidden.yaml").write_text("neither")
    assert not now_differs()
    file.unlink()
    assert now_differs()
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "a.yaml").write_text("one")
    (tmp_path / "..2").mkdir()
    (tmp_path / "..2" / "a.yaml").write_text("two")
    (tmp_path / "..data").symlink_to("..1")
    file.symlink_to("../..data/a.yaml")
    assert now_differs()
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to("..2")
    assert now_differs(), "the link that was swapped is further up"
