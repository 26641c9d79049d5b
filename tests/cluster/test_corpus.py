"""The API server and ``voke check`` refuse the same files, at the same place, in the same words where they are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

from tests.cluster.refusals import PLURALS, Refusal, refusals
from tests.support.corpus import ENTRIES, Entry
from voke_api.problems import ProblemClass
from voke_api.validate import validate

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("**/*.yaml"))


NOT_JSON = "schema/scale-not-a-number"
"""NaN: no client can send it."""


def of(problem_class: ProblemClass) -> list[Any]:
    return [
        pytest.param(entry, id=entry.id)
        for entry in ENTRIES
        if entry.problem_class == problem_class and entry.id != NOT_JSON
    ]


def said(client: kubernetes.client.ApiClient, entry: Entry) -> list[Refusal]:
    return [refusal for document in entry.documents for refusal in refusals(client, document)]


def leads_to(refusal: Refusal, path: str) -> bool:
    """The server's path is the whole, or as much of it as the server gives: often the list and not its entry."""
    return path == refusal.path or path.startswith((f"{refusal.path}.", f"{refusal.path}["))


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("entry", of(ProblemClass.SCHEMA))
def test_what_the_schema_forbids_is_refused_at_the_same_place(
    admin: kubernetes.client.ApiClient, entry: Entry
) -> None:
    found = said(admin, entry)
    assert found
    assert any(leads_to(refusal, entry.path) or refusal.path.startswith(entry.path) for refusal in found), (
        found
    )


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("entry", of(ProblemClass.CEL))
def test_what_a_rule_forbids_is_refused_in_our_words(
    admin: kubernetes.client.ApiClient, entry: Entry
) -> None:
    (document,) = entry.documents
    problems = validate(document)
    assert isinstance(problems, list)
    (problem,) = problems
    (refusal,) = said(admin, entry)
    assert leads_to(refusal, entry.path), refusal
    assert problem.message.startswith(refusal.message)


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("entry", of(ProblemClass.SEMANTIC))
def test_what_only_the_operator_can_see_is_accepted(admin: kubernetes.client.ApiClient, entry: Entry) -> None:
    for document in entry.documents:
        if document["kind"] in PLURALS:
            assert refusals(admin, document) == []


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(file.parents[1])))
def test_the_examples_are_accepted(admin: kubernetes.client.ApiClient, file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        if document["kind"] in PLURALS:
            assert refusals(admin, document) == []
