"""Each row of docs/behaviour.md and docs/failures.md points to a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def rows(document: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in (ROOT / "docs" / document).read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| When |")
    ]


@pytest.mark.parametrize(("document", "least"), [("behaviour.md", 40), ("failures.md", 10)])
def test_every_row_is_shown_by_a_test(document: str, least: int) -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = {
        name for text in sources for name in re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE)
    }
    found = rows(document)
    assert len(found) > least
    for row in found:
        assert len(row) == 3, row
        named = re.findall(r"`(test_\w+)`", row[2])
        assert named, row
        assert set(named) <= known, (row[0], set(named) - known)
