"""``voke canonical``: JSON documents in the form that Voke signs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer


def canonical(
    file: Annotated[
        Path | None,
        typer.Argument(help="One JSON document per line; left out or -: standard input.", metavar="FILE"),
    ] = None,
) -> None:
    """Print the canonical form of each input line, one per line.

    Exit status: 0 all lines were JSON, 1 some were not (each is named on standard error and left out).
    """
    if file is None or str(file) == "-":
        raise typer.Exit(_convert(sys.stdin.buffer, "standard input"))
    try:
        with file.open("rb") as lines:
            raise typer.Exit(_convert(lines, str(file)))
    except OSError as error:
        typer.echo(f"{file}: {error.strerror}", err=True)
        raise typer.Exit(1) from None


def _convert(lines: BinaryIO, name: str) -> int:
    from voke_gateway.protocol.canonical import NotJsonError, parse
    from voke_gateway.protocol.canonical import canonical as canonical_form

    status = 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip(b"\r\n")
        if not text.strip():
            continue
        try:
            form = canonical_form(parse(text))
        except NotJsonError as error:
            typer.echo(f"{name}:{number}: {error}", err=True)
            status = 1
        else:
            sys.stdout.buffer.write(form + b"\n")
    sys.stdout.buffer.flush()
    return status
