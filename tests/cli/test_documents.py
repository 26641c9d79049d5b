"""Which files are read, and where a mistake is said to be."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from voke_cli.documents import read_documents
from voke_cli.judgement import judge

EXAMPLE = (Path(__file__).parents[2] / "examples" / "plant.yaml").read_text()
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_a_mounted_config_map_holds_each_plant_once(tmp_path: Path) -> None:
    version = tmp_path / "..2026_11_22"
    version.mkdir()
    (version / "plant.yaml").write_text(EXAMPLE)
    (tmp_path / "..data").symlink_to(version.name)
    (tmp_path / "plant.yaml").symlink_to("..data/plant.yaml")
    documents = read_documents([tmp_path])
    assert [plant.metadata.name for plant in documents.plants] == ["brno-roof-3"]
    assert documents.problems == []


def test_a_directory_that_contains_itself_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text(EXAMPLE)
    (tmp_path / "again").symlink_to(tmp_path)
    assert len(read_documents([tmp_path]).plants) == 1


def test_a_pipe_that_nobody_writes_to_is_empty_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "plant.yaml"
    os.mkfifo(pipe)
    (problem,) = read_documents([pipe]).problems
    assert "holds no document" in problem.message


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, EXAMPLE.encode())
    os.close(writing)
    assert len(read_documents([Path(f"/dev/fd/{reading}")]).plants) == 1
    os.close(reading)


@pytest.mark.parametrize("name", ["x" * 300, "loop"])
def test_what_cannot_be_opened_is_a_problem_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (problem,) = read_documents([tmp_path / name]).problems
    assert problem.file == str(tmp_path / name)
    assert "cannot be read" in problem.message


@pytest.mark.parametrize("name", ["[1, 2]", '"\\e[31mred"', "{a: b}"])
def test_every_mistake_of_a_plant_whose_name_is_wrong_has_its_line(tmp_path: Path, name: str) -> None:
    file = tmp_path / "plant.yaml"
    file.write_text(EXAMPLE.replace("brno-roof-3", name, 1))
    problems = judge([file], now=NOW).problems
    assert len(problems) > 1
    assert {problem.file for problem in problems} == {str(file)}
    assert all(problem.line for problem in problems)
