"""The ``voke demo`` command: its options, its last words, its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from voke_cli.arguments import seconds

Json = dict[str, Any]


def demo(
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="DURATION", help="End after so long, such as 30s. [default: at Ctrl-C]"
        ),
    ] = None,
    as_json: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--json", help="The last line is one JSON object; events go to stderr.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the Plant files, keys and logs in this directory."),
    ] = None,
) -> None:
    """Bridge three simulated plants to a Voke on this machine, with every message verified.

    Exit status: 0 all was verified; 1 something was refused, nothing arrived, or it could not start.
    """
    from voke_cli.demo.performance import DemoError, perform
    from voke_cli.demo.view import view

    lasting = None if for_ is None else seconds(for_, "--for")
    with _directory(keep) as directory:
        try:
            summary = asyncio.run(
                perform(directory, lasting, view(live=sys.stdout.isatty() and not as_json, quiet=as_json))
            )
        except DemoError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None
    typer.echo(json.dumps(summary) if as_json else in_words(summary))
    if not went_well(summary):
        raise typer.Exit(1)


def went_well(summary: Json) -> bool:
    """Whether something was verified and nothing was refused."""
    return bool(summary["snapshots_verified"]) and not summary["messages_refused"]


def in_words(summary: Json) -> str:
    """The summary for people."""
    from voke_api.resources.common import counted

    lines = [
        "",
        f"{counted(summary['plants'], 'plant')}, {counted(summary['devices'], 'device')}, {summary['seconds']:.0f} s",
        "snapshots  {snapshots_verified} verified of {snapshots_sent} sent, {snapshots_refused} refused".format(
            **summary
        ),
        "commands   {commands_completed} completed of {commands_sent} sent, {commands_failed} failed".format(
            **summary
        ),
        "alarms     {alarms_raised} raised, {alarms_resolved} resolved".format(**summary),
    ]
    if summary["messages_refused"]:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in summary["refused_reasons"].items())
        lines.append(f"REFUSED    {reasons}")
    if not summary["snapshots_verified"]:
        lines.append("NOTHING WAS VERIFIED")
    return "\n".join(lines)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="voke-demo-") as made:
        yield Path(made)
