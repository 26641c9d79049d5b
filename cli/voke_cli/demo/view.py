"""What the demo shows: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from voke_api.status import GatewayStatus, PlantStatus
from voke_sim.demo import Demo, Stage

Json = dict[str, Any]

SUMMARY_EVERY = 5.0
"""Seconds between two plain summaries."""
_MOST_EVENTS = 30
_FEWEST_EVENTS = 3


class View(Protocol):
    """Where the demo is shown. A context: it leaves the terminal as it was."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def tell(self, plant: str, sentence: str) -> None:
        """Something happened at a plant."""

    def hear(self, line: Json) -> None:
        """The gateway logged a line."""

    def update(self, demo: Demo, status: GatewayStatus | None, /) -> None:
        """How everything stands now."""


def view(*, live: bool, quiet: bool) -> View:
    """The view for a terminal (``live``), or plain lines; ``quiet``: they go to stderr."""
    return LiveView() if live else PlainView(Console(file=sys.stderr if quiet else sys.stdout))


class PlainView:
    """One line per event, and how the plants stand every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._next_summary = SUMMARY_EVERY

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def tell(self, plant: str, sentence: str) -> None:
        """One line."""
        elapsed = time.monotonic() - self._started
        self._console.print(
            f"{elapsed:6.1f} s  {plant:16} {sentence}", markup=False, highlight=False, soft_wrap=True
        )

    def hear(self, line: Json) -> None:
        """One line for what the gateway finds worth a warning."""
        if (told := gateway_says(line)) is not None:
            self.tell(*told)

    def update(self, demo: Demo, status: GatewayStatus | None) -> None:
        """A line per plant every few seconds."""
        if time.monotonic() - self._started < self._next_summary:
            return
        self._next_summary += SUMMARY_EVERY
        plants = _by_name(status)
        for stage in demo.stages:
            row = _row(stage, demo, plants.get(stage.name))
            self.tell(stage.name, f"{row['Snapshots']} verified, {row['Refused']} refused; {row['Now']}")


class LiveView:
    """A table that is redrawn, what the plants do now, and the last events: as much as a terminal has room for.

    ``console`` is where, standard output if left out.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._started = time.monotonic()
        self._events: deque[str] = deque(maxlen=_MOST_EVENTS)
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        self._live.update(Text("Starting the local Voke, the PLCs and the gateway …"), refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def tell(self, plant: str, sentence: str) -> None:
        """Shown below the table."""
        self._events.append(f"{time.monotonic() - self._started:6.1f} s  {plant:16} {sentence}")

    def hear(self, line: Json) -> None:
        """Shown below the table, if it is worth a warning."""
        if (told := gateway_says(line)) is not None:
            self.tell(*told)

    def update(self, demo: Demo, status: GatewayStatus | None) -> None:
        """Draw everything again."""
        plants = _by_name(status)
        self.draw([_row(stage, demo, plants.get(stage.name)) for stage in demo.stages])

    def draw(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Draw these rows, one for each plant."""
        table = Table(box=None, padding=(0, 1), pad_edge=False, collapse_padding=True)
        for heading in rows[0]:
            if heading != "Now":
                table.add_column(heading, justify="right" if heading in _NUMBERS else "left", no_wrap=True)
        now = Table.grid(padding=(0, 1))
        now.add_column(no_wrap=True)
        for row in rows:
            table.add_row(*(text for heading, text in row.items() if heading != "Now"))
            now.add_row(row["Plant"], row["Now"])
        title = Text("PLCs → gateway → Voke, every message verified (Ctrl-C ends)", style="bold")
        above = Group(title, table, Text(), now, Text())
        room = max(_FEWEST_EVENTS, self._console.height - len(self._console.render_lines(above)) - 1)
        events = Text("\n".join(list(self._events)[-room:]), no_wrap=True, overflow="ellipsis")
        self._live.update(Group(above, events), refresh=True)


_NUMBERS = {"Devices", "Snapshots", "Refused", "Commands", "Alarms"}


def gateway_says(line: Json) -> tuple[str, str] | None:
    """Plant and sentence of a line of the gateway's log; None if it is of no interest here."""
    if line.get("level") not in ("warning", "error", "critical"):
        return None
    hidden = {"level", "event", "time", "plant", "logger", "exception"}
    details = " ".join(f"{key}={value}" for key, value in line.items() if key not in hidden)
    return str(line.get("plant", "")), f"gateway: {line.get('event')} {details}".rstrip()


def _by_name(status: GatewayStatus | None) -> dict[str, PlantStatus]:
    return {} if status is None else {plant.name: plant for plant in status.plants}


def _row(stage: Stage, demo: Demo, plant: PlantStatus | None) -> dict[str, str]:
    counters = demo.voke.counters
    tally = stage.tally
    devices = () if plant is None else plant.devices
    reading = sum(device.fault is None for device in devices)
    return {
        "Plant": stage.name,
        "Login": stage.site.options.auth_method,
        "Session": _session(plant),
        "Devices": f"{reading}/{len(stage.site.maps) + 1}",
        "Snapshots": str(counters.total_accepted(plant_id=stage.plant_id, kind="telemetry")),
        "Refused": str(counters.total_refused(plant_id=stage.plant_id)),
        "Commands": f"{tally.completed}/{tally.sent}",
        "Alarms": f"{stage.alarms_raised}↑ {stage.alarms_resolved}↓",
        "Now": _now(stage, demo),
    }


def _session(plant: PlantStatus | None) -> str:
    if plant is None:
        return "starting"
    return "up" if plant.session.connected else plant.session.reason or "connecting"


def _now(stage: Stage, demo: Demo) -> str:
    """What Voke knows of the plant, and what the bad PLC does."""

    def value(device: str, field: str) -> Any:
        latest = demo.voke.latest(stage.plant_id, device)
        return None if latest is None else latest.values.get(field)

    shown = [
        f"{label} {found:.1f} {unit}"
        for label, device, field, unit in (
            ("sun", "INV1", "activePowerKw", "kW"),
            ("battery", "BAT1", "socPercent", "%"),
            ("grid", "M1", "activePowerKw", "kW"),
        )
        if (found := value(device, field)) is not None
    ]
    if stage.weather:
        shown.append(f"plc2 {stage.weather}")
    return ", ".join(shown)
