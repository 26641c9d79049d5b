"""The demo's live table on terminals of several sizes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from voke_cli.demo.view import LiveView

ROWS = [
    {
        "Plant": plant,
        "Login": "PASSWORD",
        "Session": "up",
        "Devices": "4/5",
        "Snapshots": "123456",
        "Refused": "0",
        "Commands": "1200/1200",
        "Alarms": "310↑ 309↓",
        "Now": "sun 12.5 kW, battery 56.9 %, grid -12.1 kW, plc2 answers late and out of order",
    }
    for plant in ("brno-roof", "ostrava-storage", "plzen-works")
]


def shown(width: int, height: int) -> list[str]:
    """The lines on a terminal after the demo has ended."""
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, force_terminal=False)
    with LiveView(console) as view:
        for number in range(40):
            view.tell(
                "ostrava-storage", f"event {number} of a sentence that is longer than any terminal is wide"
            )
        view.draw(ROWS)
    return output.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 50)])
def test_every_number_is_whole_and_the_newest_events_are_there(width: int, height: int) -> None:
    lines = shown(width, height)
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    head = next(line for line in lines if line.startswith("Plant"))
    assert head.split() == [heading for heading in ROWS[0] if heading != "Now"]
    assert sum("123456" in line and "310↑ 309↓" in line for line in lines) == 3
    assert " ".join(" ".join(lines).split()).count("late and out of order") == 3
    assert "event 39" in lines[-1]


def test_at_100_columns_nothing_is_wrapped() -> None:
    lines = shown(100, 30)
    assert sum("brno-roof" in line for line in lines) == 2
    assert sum(line.endswith("plc2 answers late and out of order") for line in map(str.rstrip, lines)) == 3


def test_on_a_low_terminal_some_events_are_left() -> None:
    assert sum("event" in line for line in shown(80, 10)) == 3
