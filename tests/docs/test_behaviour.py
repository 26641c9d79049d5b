"""Each row of docs/behaviour.md points to a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "behaviour.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| When |")
]


def test_every_row_is_shown_by_a_test() -> None:
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    known = {
        name for text in sources for name in re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE)
    }
    assert len(ROWS) > 40
    for row in ROWS:
        assert len(row) == 3, row
        named = re.findall(r"`(test_\w+)`", row[2])
        assert named, row
        assert set(named) <= known, (row[0], set(named) - known)
