"""The references in docs/ are what their generator makes of the types and commands as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.docs_of_commands import commands, exit_statuses
from scripts.docs_of_types import reference
from scripts.generate_docs import DOCS, generated
from voke_cli.main import app

GENERATED = generated()
VISIBLE = [command for command in app.registered_commands if not command.hidden]


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_file_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == GENERATED[name], "run `make docs` and commit the result"


def test_every_field_says_what_it_means() -> None:
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    for row in rows:
        assert len(row) == 5 or "\\|" in "".join(row), row
        assert row[-1].strip(" |"), row


def test_every_command_says_what_its_exit_status_means() -> None:
    for command in VISIBLE:
        assert command.callback is not None
        assert {0, 1} <= set(exit_statuses(command.callback)), command.name


def test_links_inside_the_reference_lead_somewhere() -> None:
    text = reference()
    headings = {line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= headings


def test_every_command_is_described() -> None:
    text = commands()
    for command in VISIBLE:
        assert f"\n## voke {command.name}\n" in text


def test_links_between_the_documents_lead_to_files() -> None:
    for document in [
        *DOCS.glob("*.md"),
        DOCS.parent / "README.md",
        *DOCS.parent.glob("examples/**/README.md"),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / Path(target)).exists(), (document.name, target)
