"""A bundle directory as it is written in real life: in place, by renames, by a swapped link, and halfway."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given

from tests.support.bundles import GZIPS, Gzip
from tests.support.fleet import Fleet, entry, point
from tests.support.loops import until
from tests.support.mounted import mount
from voke_api.bundle import MANIFEST
from voke_api.resolve import resolve
from voke_api.resources import Plant
from voke_gateway.runtime import bundle_source
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.bundle_source import BundleSource
from voke_gateway.runtime.work import Work


class Watched:
    """A bundle directory and what its watcher made of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.taken: list[Work] = []
        self.troubles: list[str] = [""]

    def trouble(self, text: str) -> None:
        if text != self.troubles[-1]:
            self.troubles.append(text)

    @property
    def work(self) -> Work:
        return self.taken[-1]


@asynccontextmanager
async def watching(directory: Path) -> AsyncIterator[Watched]:
    watched = Watched(directory)
    source = BundleSource(directory, BundleReader(), take=watched.taken.append, trouble=watched.trouble)
    task = asyncio.create_task(source.watch())
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real time, less of it."""
    monkeypatch.setattr(bundle_source, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(bundle_source, "PATIENCE", 0.3)
    monkeypatch.setattr(bundle_source, "RETRY_EVERY", 0.1)


@pytest.fixture
def patient(fast: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only half there is waited for, however busy the machine is."""
    monkeypatch.setattr(bundle_source, "PATIENCE", 20.0)


def fleet() -> Fleet:
    return Fleet({name: entry(name, f"10.0.0.{n}") for n, name in enumerate("abc")})


def in_place(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / name).write_bytes(content)


def by_rename(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (directory / f".{name}").write_bytes(content)
        (directory / f".{name}").rename(directory / name)


def as_a_mounted_secret(directory: Path, files: dict[str, bytes]) -> None:
    mount(directory, files, json.loads(files[MANIFEST])["generation"])


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("write", [in_place, by_rename, as_a_mounted_secret])
async def test_a_change_is_seen_and_what_has_not_changed_is_the_very_same(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], None]
) -> None:
    written = fleet()
    write(tmp_path, written.files())
    async with watching(tmp_path) as watched:
        await until(lambda: watched.taken)
        first = watched.work
        assert list(first.assignments) == ["a", "b", "c"]
        written.plants["b"].spec["devices"][0]["points"].append(point("more", 7))
        write(tmp_path, written.files())
        await until(lambda: watched.work.generation == 2)
        second = watched.work
        assert second.assignments["a"] is first.assignments["a"]
        assert second.assignments["b"] != first.assignments["b"]
        del written.plants["c"]
        write(tmp_path, written.files())
        await until(lambda: watched.work.generation == 3)
        assert list(watched.work.assignments) == ["a", "b"]
        assert watched.troubles == [""]


@pytest.mark.usefixtures("patient")
async def test_files_that_come_after_their_manifest_are_waited_for(tmp_path: Path) -> None:
    written = fleet()
    in_place(tmp_path, written.files())
    async with watching(tmp_path) as watched:
        await until(lambda: watched.taken)
        written.plants["b"].spec["telemetry"]["interval"] = "5s"
        files = written.files()
        in_place(tmp_path, {MANIFEST: files.pop(MANIFEST)})
        await asyncio.sleep(0.1)
        in_place(tmp_path, files)
        await until(lambda: watched.work.generation == 2)
        assert [work.problems for work in watched.taken] == [{}, {}]
        assert watched.work.assignments["b"].plant.interval == 5


@pytest.mark.usefixtures("fast")
async def test_a_file_that_stays_damaged_costs_its_plant_only_its_change(tmp_path: Path) -> None:
    written = fleet()
    in_place(tmp_path, written.files())
    async with watching(tmp_path) as watched:
        await until(lambda: watched.taken)
        before = watched.work.assignments["b"]
        for name in "ab":
            written.plants[name].spec["telemetry"]["interval"] = "5s"
        files = written.files()
        whole = files["plant-b.json.gz"]
        in_place(tmp_path, {**files, "plant-b.json.gz": whole[:40]})
        await until(lambda: watched.work.generation == 2)
        assert watched.work.assignments["b"] is before
        assert watched.work.assignments["a"].plant.interval == 5
        assert "plant-b.json.gz" in watched.work.problems["b"]
        in_place(tmp_path, {"plant-b.json.gz": whole})
        await until(lambda: not watched.work.problems)
        assert watched.work.assignments["b"].plant.interval == 5


@pytest.mark.usefixtures("fast")
async def test_a_plant_that_is_no_plant_is_reported_and_its_last_good_version_stays(tmp_path: Path) -> None:
    written = fleet()
    in_place(tmp_path, written.files())
    async with watching(tmp_path) as watched:
        await until(lambda: watched.taken)
        before = watched.work.assignments["b"]
        files = written.files()
        manifest = json.loads(files[MANIFEST])
        files["plant-b.json.gz"] = gzip.compress(b'{"plant": {"spec": {}}, "credentials": {}}')
        manifest["files"]["plant-b.json.gz"] = sha256(files["plant-b.json.gz"]).hexdigest()
        in_place(tmp_path, {**files, MANIFEST: json.dumps(manifest).encode()})
        await until(lambda: watched.work.generation == 2)
        assert watched.work.assignments["b"] is before
        assert "plantId" in watched.work.problems["b"]


@pytest.mark.usefixtures("fast")
async def test_a_bundle_that_cannot_be_read_at_all_is_said_and_changes_nothing(tmp_path: Path) -> None:
    written = fleet()
    in_place(tmp_path, written.files())
    async with watching(tmp_path) as watched:
        await until(lambda: watched.taken)
        for bad, said in ((b"{", "is not a bundle's manifest"), (b'{"formatVersion": 99}', "99")):
            (tmp_path / MANIFEST).write_bytes(bad)
            await until(lambda said=said: said in watched.troubles[-1])  # type: ignore[misc]
        (tmp_path / MANIFEST).unlink()
        await until(lambda: "No such file" in watched.troubles[-1])
        assert len(watched.taken) == 1
        in_place(tmp_path, written.files())
        await until(lambda: watched.troubles[-1] == "")
        assert watched.work.generation == 2


@pytest.mark.usefixtures("fast")
async def test_a_gateway_may_come_before_its_bundle(tmp_path: Path) -> None:
    async with watching(tmp_path / "later") as watched:
        await until(lambda: "No such file" in watched.troubles[-1])
        (tmp_path / "later").mkdir()
        in_place(tmp_path / "later", fleet().files())
        await until(lambda: watched.taken)
        assert watched.troubles[-1] == ""


async def test_looking_costs_next_to_nothing_while_nothing_changes(tmp_path: Path) -> None:
    files = fleet().files()
    in_place(tmp_path, files)
    watched = Watched(tmp_path)
    source = BundleSource(tmp_path, BundleReader(), take=watched.taken.append, trouble=watched.trouble)
    await source.look()
    for name in files.keys() - {MANIFEST}:
        (tmp_path / name).unlink()
    for _ in range(100):
        await source.look()
    assert len(watched.taken) == 1, "the files were not even opened"


def test_a_profile_that_changes_changes_the_plants_that_use_it_and_no_other() -> None:
    written = fleet()
    spec = {"type": "METER", "points": [point("p", 9)]}
    written.profiles["meter"] = spec
    written.plants["a"].spec["devices"].append(
        {"externalId": "M", "type": "METER", "connection": "plc1", "unitId": 9, "profile": "meter"}
    )
    reader = BundleReader()
    first = read(reader, written.files())
    written.profiles["meter"] = {**spec, "limits": {"maxRegisters": 10}}
    second = read(reader, written.files())
    assert second.assignments["a"].plant.devices[1].limits.max_registers == 10
    assert second.assignments["b"] is first.assignments["b"]
    files = written.files()
    manifest = json.loads(files[MANIFEST])
    files["profiles.json.gz"] = gzip.compress(b'{"meter": {"spec": {}}}')
    manifest["files"]["profiles.json.gz"] = sha256(files["profiles.json.gz"]).hexdigest()
    files[MANIFEST] = json.dumps(manifest).encode()
    for _ in range(2):
        third = read(reader, files)
        assert third.assignments == second.assignments, "the last good profile stays"
        assert "DeviceProfile meter" in third.remarks[0]


@given(GZIPS)
def test_a_bundle_that_was_compressed_otherwise_changes_no_plant(other: Gzip) -> None:
    written = fleet()
    written.profiles["meter"] = {"type": "METER", "points": [point("p", 9)]}
    written.plants["a"].spec["devices"].append(
        {"externalId": "M", "type": "METER", "connection": "plc1", "unitId": 9, "profile": "meter"}
    )
    reader = BundleReader()
    first = read(reader, written.files())
    second = read(reader, other.bundle(written.files()))
    assert second.generation == first.generation + 1
    assert not second.problems
    assert all(second.assignments[name] is first.assignments[name] for name in "abc")


def test_a_fault_of_ours_in_one_plant_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(plant: Plant, *args: Any, **named: Any) -> Any:
        if plant.metadata.name == "b":
            raise ZeroDivisionError
        return resolve(plant, *args, **named)

    monkeypatch.setattr("voke_gateway.runtime.bundle_reader.resolve", faulty)
    with structlog.testing.capture_logs():
        work = read(BundleReader(), fleet().files())
    assert list(work.assignments) == ["a", "c"]
    assert work.problems == {"b": "internal error, see the log"}


def read(reader: BundleReader, files: dict[str, bytes]) -> Work:
    steps = reader.read(files)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            work: Work = done.value
            return work
