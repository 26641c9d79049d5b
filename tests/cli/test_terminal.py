"""What is printed where there is no terminal."""

from __future__ import annotations

import pytest
from rich.table import Table

from voke_cli.terminal import show


def test_a_table_in_a_file_is_neither_folded_nor_filled_up_with_spaces(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = Table("NAME", "MESSAGE", box=None, pad_edge=False)
    table.add_row("a", "word " * 60 + "end")
    table.add_row("b", "short")
    show(table)
    assert [line.split("  ")[-1].lstrip() for line in capsys.readouterr().out.splitlines()] == [
        "MESSAGE",
        "word " * 60 + "end",
        "short",
    ]
