"""``kubectl voke status``: how Plants are, now."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from voke_cli.kubectl.options import AsJson, Context, Kubeconfig, Namespace, cluster
from voke_cli.terminal import printable, show

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from rich.console import RenderableType
    from rich.table import Table

    from voke_api.status import ConnectionStatus, DeviceStatus, PlantStatus
    from voke_cli.kubectl.edge import Kubectl
    from voke_cli.kubectl.gateways import AskStatus
    from voke_cli.kubectl.overview import Row

EVERY: Final = 2.0
"""Seconds between two looks with --watch."""
_MESSAGES: Final = 10
_STYLES: Final = {"False": "red", "Unknown": "yellow", "True": "green"}


def status(
    *,
    plant: Annotated[
        str | None, typer.Argument(help="Name of a Plant, to see all of it.", metavar="PLANT")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Plants of all namespaces.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again every two seconds until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show how Plants are, worst first, and what to do; of one Plant also its devices and the points that fail.

    Ages, sessions and devices are those of this moment: the gateways are asked. Of a gateway that cannot be asked
    it is said why, and the rest is what the API has.

    Exit status: 0 every Plant is Ready, 1 some are not, or the cluster cannot be asked, 2 wrong usage.
    """
    from voke_cli.kubectl.gateways import by_proxy

    if plant is not None and everywhere:
        raise typer.BadParameter("one Plant is in one namespace: use -n", param_hint="--all-namespaces")
    with (
        cluster(namespace=namespace, context=context, kubeconfig=kubeconfig) as kubectl,
        by_proxy(kubectl) as ask,
        _screen(whole=plant is not None, as_json=as_json, watch=watch) as tell,
    ):
        tell(found := look(kubectl, ask, plant, everywhere=everywhere))
        with suppress(KeyboardInterrupt):
            while watch:
                time.sleep(EVERY)
                tell(found := look(kubectl, ask, plant, everywhere=everywhere))
    raise typer.Exit(0 if all(row.ready == "True" for row in found) else 1)


def look(kubectl: Kubectl, ask: AskStatus, plant: str | None, *, everywhere: bool) -> list[Row]:
    """All Plants, or one, as they are now.

    Raises:
        KubectlError: the cluster cannot be asked, or there is no such Plant.
    """
    from voke_cli.kubectl.gateways import ask_all
    from voke_cli.kubectl.overview import rows
    from voke_cli.kubectl.plants import PlantView

    documents = kubectl.plants(everywhere=everywhere) if plant is None else [kubectl.plant(plant)]
    plants = [PlantView(document) for document in documents]
    return rows(plants, ask_all({(each.namespace, each.gateway) for each in plants if each.gateway}, ask))


def shown(found: Sequence[Row], *, whole: bool, now: float) -> RenderableType:
    """For people; ``whole``: all that is known of each Plant."""
    from rich.console import Group

    if not found:
        return "there are no Plants here (kubectl voke status -A looks everywhere)"
    return Group(*(_whole(found[0], now) if whole else _overview(found, now)))


def age(instant: float | None, now: float) -> str:
    """How long ago, as kubectl writes it."""
    if instant is None or not math.isfinite(instant):
        return "–"
    seconds = max(0, round(now - instant))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _overview(found: Sequence[Row], now: float) -> Iterator[RenderableType]:
    several = len({row.plant.namespace for row in found}) > 1
    table = _table("PLANT", "READY", "REASON", "DEVICES", "LAST READ", "SESSION", "GATEWAY")
    for row in found:
        _add(
            table,
            _name(row, several=several),
            row.ready,
            row.reason,
            row.devices or "–",
            age(row.last_read_at, now),
            row.session if row.plant.gateway else "–",
            row.plant.gateway or "–",
            style="" if row.well else "yellow" if row.ready == "True" else _STYLES.get(row.ready, "yellow"),
        )
    yield table
    to_do = [row for row in found if row.to_do and not row.all_well]
    if to_do:
        yield ""
        yield _bold("What to do first")
    yield from (_text(f"{_name(row, several=several)}: {row.to_do}") for row in to_do[:_MESSAGES])
    if len(to_do) > _MESSAGES:
        yield f"and {len(to_do) - _MESSAGES} more: kubectl voke status PLANT"
    silent = {row.plant.gateway: row.not_asked for row in found if row.not_asked and row.plant.gateway}
    if silent:
        yield ""
        yield _bold("Not asked; what is shown is what the API has")
    yield from (_text(f"{gateway}: {why}") for gateway, why in sorted(silent.items()))


def _whole(row: Row, now: float) -> Iterator[RenderableType]:
    plant = row.plant
    yield _text(f"{plant.namespace}/{plant.name}  {plant.plant_id}", "bold")
    yield _text(f"Ready {row.ready}: {row.reason}", _STYLES.get(row.ready, ""))
    if row.to_do:
        yield _text(row.to_do)
    yield ""
    table = _table("CONDITION", "STATUS", "REASON", "FOR", "MESSAGE")
    for each in plant.conditions:
        if each.type != "Ready":
            _add(table, each.type, each.status, each.reason, age(each.since, now), each.message)
    yield table
    yield ""
    if row.live is None:
        yield _text(f"gateway {plant.gateway or 'none'}, not asked: {row.not_asked}", "yellow")
        return
    yield from _live(row.live, plant.gateway, now)


def _live(live: PlantStatus, gateway: str, now: float) -> Iterator[RenderableType]:
    from voke_cli.kubectl.overview import failing_points

    yield _text(f"gateway {gateway}: {live.state}{f', {live.message}' if live.message else ''}")
    if not live.devices:
        return  # it does not run
    yield from _delivery(live, now)
    yield ""
    yield _connections(live.connections, now)
    yield ""
    yield _devices(live.devices, now)
    points = list(failing_points(live))
    if not points:
        return
    yield ""
    table = _table("POINT", "WHY IT FAILS")
    for external_id, field, kind, detail in points:
        _add(table, f"{external_id} {field}", f"{kind}: {detail}", style="red")
    yield table


def _delivery(live: PlantStatus, now: float) -> Iterator[RenderableType]:
    """What there is between the plant and Voke."""
    from voke_api.resources.common import counted

    if live.read_only:
        yield _text(f"  read-only: {live.read_only}")
    session, outbox = live.session, live.outbox
    state = "up" if session.connected else session.reason or "down"
    said = f": {session.message}" if session.message else ""
    yield _text(f"  session {state} for {age(session.since, now)}{said}")
    delivered = live.last_delivered_at
    yield _text(
        f"  last message delivered: {'none yet' if delivered is None else f'{age(delivered, now)} ago'}"
    )
    if outbox.messages:
        yield _text(
            f"  {counted(outbox.messages, 'message', 'wait')}, the oldest for {age(outbox.oldest_at, now)}"
        )
    if outbox.dropped or outbox.quarantined:
        lost = f"lost since it started: {outbox.dropped}, undeliverable: {outbox.quarantined}"
        yield _text(f"  {lost}", "yellow")
    if live.alarms_active:
        yield _text(f"  alarms: {', '.join(live.alarms_active)}", "yellow")


def _connections(connections: Sequence[ConnectionStatus], now: float) -> Table:
    table = _table("CONNECTION", "CONNECTED", "LAST ANSWER", "LAST ERROR")
    for each in connections:
        _add(
            table,
            each.name,
            "yes" if each.connected else "no",
            age(each.last_success_at, now),
            each.last_error or "–",
            style="" if each.connected else "red",
        )
    return table


def _devices(devices: Sequence[DeviceStatus], now: float) -> Table:
    from voke_cli.kubectl.overview import is_read

    table = _table("DEVICE", "TYPE", "LAST READ", "STATE")
    for each in devices:
        fault = each.fault
        said = "read" if fault is None else f"{fault.kind}: {fault.detail}"
        said = "not asked yet" if fault is None and each.last_read_at is None else said
        notes = [
            *(["tried again slowly"] if each.in_back_off else []),
            *(["expected to be offline"] if each.expect_offline else []),
        ]
        _add(
            table,
            each.external_id,
            each.type,
            age(each.last_read_at, now),
            "; ".join([said, *notes]),
            style="" if is_read(each) or each.expect_offline else "red",
        )
    return table


def _name(row: Row, *, several: bool) -> str:
    return f"{row.plant.namespace}/{row.plant.name}" if several else row.plant.name


@contextmanager
def _screen(*, whole: bool, as_json: bool, watch: bool) -> Iterator[Callable[[Sequence[Row]], None]]:
    """Where looks are shown: JSON line by line, a text, or on a terminal with --watch a table that is redrawn."""
    from rich.console import Console
    from rich.live import Live

    from voke_cli.kubectl.overview import as_document

    if as_json:
        yield lambda found: typer.echo(json.dumps(as_document(found, whole=whole)))
    elif not (watch and sys.stdout.isatty()):
        yield lambda found: show(shown(found, whole=whole, now=time.time()))
    else:
        with Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda found: live.update(shown(found, whole=whole, now=time.time()), refresh=True)


def _table(*headings: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: str, style: str = "") -> None:
    table.add_row(*(_text(cell) for cell in cells), style=style)


def _text(text: str, style: str = "") -> Any:
    """Without what could steer a terminal."""
    from rich.text import Text

    return Text(printable(text), style=style)


def _bold(text: str) -> Any:
    return _text(text, "bold")
