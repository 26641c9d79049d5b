"""What a probe shows: a table per device, once or again and again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Protocol, Self

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from voke_api.problems import dotted
from voke_cli.probe.facts import Guess
from voke_cli.probe.report import Places, Row, rows, yaml_of
from voke_cli.probe.run import ConnectionReport, DeviceReport
from voke_cli.terminal import printable

_MOST_RAW: Final = 24
_CHANGES_SHOWN: Final = 4
_HEADINGS: Final = ("field", "address", "raw", "value", "unit")

Values = dict[tuple[str, str, str], Any]
"""By plant, device and field."""


class View(Protocol):
    """Where passes are shown. A context: it leaves the terminal as it was."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def show(self, reports: list[ConnectionReport]) -> None:
        """One pass."""


class TableView:
    """The whole table, then one line for each value that changed."""

    def __init__(self, places: Places, console: Console | None = None) -> None:
        self._places = places
        self._console = console or Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._before: Values | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def show(self, reports: list[ConnectionReport]) -> None:
        """Print what is new."""
        now = values_of(reports)
        if self._before is None:
            for line in lines(reports, self._places, {}):
                self._console.print(line)
        else:
            time = datetime.now().astimezone().strftime("%H:%M:%S")
            for (plant, device, field), value in now.items():
                old = self._before.get((plant, device, field))
                if old != value:
                    self._console.print(Text(f"{time} {plant} {device} {field}: {old} → {value}"))
        self._before = now


class LiveView:
    """A table that is redrawn; what changed since the last pass stands out."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._before: Values = {}
        self._live = Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, reports: list[ConnectionReport]) -> None:
        """Draw again."""
        ending = Text("Ctrl-C ends", style="dim")
        self._live.update(Group(*lines(reports, self._places, self._before), ending), refresh=True)
        self._before = values_of(reports)


def values_of(reports: list[ConnectionReport]) -> Values:
    """What each point shows."""
    return {
        (report.plant, one.device.external_id, row.field): _value(row)
        for report in reports
        for one in report.devices
        for row in rows(one)
    }


def lines(reports: list[ConnectionReport], places: Places, before: Values) -> Iterator[Text]:
    """Everything for people; values that differ from ``before`` are marked."""
    for report in reports:
        tcp = report.spec.modbus_tcp
        assert tcp is not None
        yield _text(f"{report.plant} {report.spec.name} {tcp.host}:{tcp.port}", "bold")
        yield from _guesses(report.guesses, places, report, "", "  ")
        for one in report.devices:
            yield from _device(one, places, report, before)


def _device(one: DeviceReport, places: Places, report: ConnectionReport, before: Values) -> Iterator[Text]:
    device = one.device
    shown = rows(one)
    read = sum(row.fault is None and row.value is not None for row in shown)
    head = _text(f"  {device.external_id} ({device.type}, unit {device.unit_id}): ")
    if (one.fault is not None and one.facts.silent is not None) or not one.facts.asked:
        head.append(f"not read, {one.fault.detail if one.fault else ''}", style="red")
        yield head
        yield from _guesses(one.guesses.device, places, report, device.external_id, "    ")
        return
    head.append(f"{read} of {len(shown)} read in {1000 * one.seconds:.0f} ms")
    yield head
    yield from _guesses(one.guesses.device, places, report, device.external_id, "    ")
    cells = [(row.field, row.address, _raw(row), _value(row), "" if row.fault else row.unit) for row in shown]
    fitting = [cell for cell, row in zip(cells, shown, strict=True) if row.fault is None]
    widths = [
        max(map(cell_len, [heading, *(cell[n] for cell in (cells if n < 3 else fitting))]))  # noqa: PLR2004
        for n, heading in enumerate(_HEADINGS)
    ]
    yield Text("    " + _aligned(_HEADINGS, widths), style="dim")
    for row, cell in zip(shown, cells, strict=True):
        changed = before.get((report.plant, device.external_id, row.field), cell[3]) != cell[3]
        style = "red" if row.fault is not None else "reverse" if changed else ""
        yield _text("    " + _aligned(cell, widths), style)
        yield from _guesses(row.guesses, places, report, device.external_id, "      ")


def _guesses(
    guesses: tuple[Guess, ...], places: Places, report: ConnectionReport, device: str, indent: str
) -> Iterator[Text]:
    for each in guesses:
        yield _text(f"{indent}guess ({each.kind}): {each.evidence}", "yellow")
        for change in each.changes[:_CHANGES_SHOWN]:
            place = places.of(report.plant, report.spec.name, device, change)
            where = f"{place.file}:{place.line}" if place.file else f"{place.kind} {place.name}"
            yield _text(f"{indent}  {where} {dotted(place.path)}: {yaml_of(change)}", "yellow")
        if len(each.changes) > _CHANGES_SHOWN:
            yield _text(f"{indent}  and {len(each.changes) - _CHANGES_SHOWN} more like these", "yellow")


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(
        cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)
    ).rstrip()


def _raw(row: Row) -> str:
    return row.raw if len(row.raw) <= _MOST_RAW else row.raw[:_MOST_RAW] + " …"


def _value(row: Row) -> str:
    if row.fault is not None:
        return f"{row.fault.kind}: {row.fault.detail}"
    if row.field == "mask" and isinstance(row.value, int):
        return f"0x{row.value:X}"
    if isinstance(row.value, bool):
        return str(row.value).lower()
    return "" if row.value is None else str(row.value)


def _text(text: str, style: str = "") -> Text:
    """Without what could steer a terminal."""
    return Text(printable(text), style=style)
