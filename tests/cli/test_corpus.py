"""One corpus of bad files, one mistake each, and what each refusal must say.

The folder is the class: who refuses the file (``voke_api.problems.ProblemClass``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.corpus import ENTRIES, Entry
from voke_api.problems import ProblemClass, Severity, dotted
from voke_cli.judgement import judge

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_there_are_enough_entries_in_every_class() -> None:
    assert len(ENTRIES) >= 60
    assert {entry.problem_class for entry in ENTRIES} == set(ProblemClass)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_a_bad_file_gets_its_error_and_no_other(entry: Entry) -> None:
    judgement = judge([entry.file], now=NOW)
    errors = [problem for problem in judgement.problems if problem.severity is Severity.ERROR]
    assert [dotted(error.path) for error in errors] == [entry.path], [error.message for error in errors]
    (error,) = errors
    assert entry.message in error.message
    assert error.problem_class == entry.problem_class
    assert error.file == str(entry.file)
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
