"""The ``voke probe`` command: its options, what it needs of the files, its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # what is imported here takes longer than the rest of the command line
    from voke_api.problems import Problem
    from voke_api.resolved import ResolvedPlant
    from voke_cli.documents import Documents
    from voke_cli.probe.run import ConnectionReport, Probe
    from voke_cli.probe.view import View

Chosen = list[tuple["ResolvedPlant", frozenset[str]]]


def probe(
    files: Annotated[
        list[Path],
        typer.Argument(help="Plant and DeviceProfile files, or directories of them.", metavar="FILE…"),
    ],
    plant: Annotated[str | None, typer.Option(help="Only this Plant.", metavar="NAME")] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; may be repeated.", metavar="ID")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again at every interval until Ctrl-C.")] = False,  # noqa: FBT002 - a flag
    as_json: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--json", help="One JSON object instead of tables; with --watch one per line.")
    ] = False,
) -> None:
    """Read every point of a Plant once and say which register is wrong, and what could make it right.

    Reads as a gateway would, over one connection to each PLC, and never writes. Where a value cannot be right
    or was refused, a few more reads are made for a guess; guesses are guesses, the data sheet decides.

    Exit status: 0 every point has a value, 1 some have none or the files cannot be used, 2 wrong usage.
    """
    import json

    from voke_cli.documents import read_documents
    from voke_cli.probe.report import Places, as_document
    from voke_cli.probe.run import Probe
    from voke_cli.probe.view import LiveView, TableView
    from voke_gateway.clock import system_clock
    from voke_gateway.drivers.claims import EndpointClaims

    documents = read_documents(files)
    chosen = choose(documents, plant, device or [])
    places = Places(documents)
    last: list[ConnectionReport] = []

    def tell(reports: list[ConnectionReport]) -> None:
        last[:] = reports
        if as_json:
            sys.stdout.write(json.dumps(as_document(reports, places)) + "\n")
            sys.stdout.flush()
        else:
            view.show(reports)

    view: View = LiveView(places) if watch and sys.stdout.isatty() and not as_json else TableView(places)
    claims = EndpointClaims("voke probe")
    with view, contextlib.suppress(KeyboardInterrupt):
        interval = min(each.interval for each, _ in chosen) if watch else None
        asyncio.run(_perform(lambda: Probe(chosen, claims=claims, wall_clock=system_clock), interval, tell))
    if claims.trouble:
        typer.echo(f"cannot see whether a gateway on this machine holds a PLC: {claims.trouble}", err=True)
    complete = bool(last) and all(one.complete for report in last for one in report.devices)
    raise typer.Exit(0 if complete else 1)


async def _perform(
    make: Callable[[], Probe], interval: float | None, tell: Callable[[list[ConnectionReport]], None]
) -> None:
    from voke_cli.probe.run import probe_again_and_again, probe_once

    if interval is None:
        tell(await probe_once(make()))
    else:
        await probe_again_and_again(make(), interval, tell)


def choose(documents: Documents, only: str | None, devices: list[str]) -> Chosen:
    """The plants to read and, of each, the devices; none: all. Ends the command if there is none to read.

    Pools and Secrets do not matter here: what is wrong with them keeps nobody from reading a PLC.
    """
    from datetime import UTC, datetime

    from voke_api.problems import Severity, has_errors
    from voke_cli.check import problem_text
    from voke_operator.plan.candidates import Surroundings, candidate

    known = {name for kind, name in documents.sources if kind == "Plant"}
    if only is not None and known and only not in known:
        raise typer.BadParameter(f"there is no Plant {only}; there is {_list(known)}", param_hint="--plant")
    problems = [
        problem
        for problem in documents.problems
        if problem.kind not in {"Secret", "GatewayPool"}
        and not (problem.kind == "Plant" and only not in {None, problem.name})
    ]
    around = Surroundings(profiles=documents.profiles, pools=None, secrets=None)
    chosen: Chosen = []
    for plant in documents.plants:
        if only not in {None, plant.metadata.name}:
            continue
        found = candidate(plant, around, now=datetime.now(UTC))
        problems += [documents.locate(each) for each in found.problems if each.severity is Severity.ERROR]
        if found.resolved is not None:
            there = {device.external_id for device in found.resolved.devices}
            chosen.append((found.resolved, frozenset(devices) & there))
    for problem in problems:
        typer.echo(problem_text(_explained(problem)), err=True)
    if has_errors(problems):
        raise typer.Exit(1)
    if not chosen:
        typer.echo("there is no Plant in these files", err=True)
        raise typer.Exit(1)
    there = {device.external_id for plant, _ in chosen for device in plant.devices}
    if unknown := set(devices) - there:
        raise typer.BadParameter(
            f"there is no device {_list(unknown)}; there is {_list(there)}", param_hint="--device"
        )
    return [(plant, wanted) for plant, wanted in chosen if wanted or not devices]


def _explained(problem: Problem) -> Problem:
    """With a guess for an address that only a data sheet has: 400011."""
    from voke_api.resources.points import from_data_sheet

    value = problem.value
    if problem.path[-1:] != ("address",) or not isinstance(value, int):
        return problem
    place = from_data_sheet(value)
    if place is None:
        return problem
    table, address = place
    guess = f"guess: a data sheet's number for table: {table}, address: {address}"
    return replace(problem, message=f"{problem.message}; {guess}")


def _list(names: Iterable[str]) -> str:
    from voke_api.resources.common import listed

    return listed(sorted(names))
