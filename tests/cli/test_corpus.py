"""One corpus of bad files, one mistake each, and what each refusal must say.

The folder is the class: who refuses the file (``voke_api.problems.ProblemClass``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from voke_api.problems import ProblemClass, Severity, dotted
from voke_cli.judgement import judge

CORPUS = Path(__file__).parents[1] / "corpus"
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
ENTRIES = sorted(CORPUS.glob("*/*.yaml"))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def expected(entry: Path) -> tuple[str, str]:
    header = entry.read_text().split("\napiVersion", 1)[0]
    path, message = re.findall(r"^# (?:path|message): (.*)$", header, re.MULTILINE)
    return path, message


def test_there_are_enough_entries_in_every_class() -> None:
    assert len(ENTRIES) >= 60
    assert {entry.parent.name for entry in ENTRIES} == {str(each) for each in ProblemClass}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.parent.name}/{entry.stem}")
def test_a_bad_file_gets_its_error_and_no_other(entry: Path) -> None:
    path, message = expected(entry)
    judgement = judge([entry], now=NOW)
    errors = [problem for problem in judgement.problems if problem.severity is Severity.ERROR]
    assert [dotted(error.path) for error in errors] == [path], [error.message for error in errors]
    (error,) = errors
    assert message in error.message
    assert error.problem_class == entry.parent.name
    assert error.file == str(entry)
    assert error.line is not None
    assert not judgement.ok


def test_the_examples_are_accepted_together_as_they_stand() -> None:
    judgement = judge(EXAMPLES, now=NOW)
    assert judgement.ok, judgement.problems
    assert [report.plant.name for report in judgement.plants] == ["brno-roof-3"]


def test_what_is_not_active_yet_makes_the_example_read_only_and_says_so() -> None:
    judgement = judge(EXAMPLES, now=NOW)
    assert {dotted(problem.path) for problem in judgement.problems} == {
        "spec.failSafe",
        "spec.heartbeats",
        "spec.commands.CHARGE.revertAfter",
    }
    assert judgement.plants[0].plant.read_only
