"""What several commands are given in the same way, and the same words when it cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

TermsFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--files",
        help="Plant and GatewayPool files, or directories of them, for topics and windows; may be repeated.",
        metavar="PATH",
    ),
]
"""Files for :func:`voke_cli.messages.terms.read_terms`."""
StateDirectory = Annotated[
    Path | None, typer.Option(help="State directory of voke run.", show_default="~/.local/state/voke")
]
KeyFile = Annotated[
    Path | None, typer.Option(help="File with the plant's HMAC key; left out: the state directory's.")
]
KeyOfPlant = Annotated[str | None, typer.Option(help="Plant whose key is in the state directory.")]


def content_of(file: Path | None) -> bytes:
    """What is in ``file``; None and ``-`` are standard input.

    Raises:
        typer.Exit: it cannot be read, which has been said; status 2.
    """
    if file is None or str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        typer.echo(f"cannot read {file}: {error.strerror}", err=True)
        raise typer.Exit(2) from None


def seconds(duration: str, option: str) -> float:
    """Seconds of a duration such as ``30s``, given with ``option``.

    Raises:
        typer.BadParameter: it is none.
    """
    from voke_api.resources.common import parse_duration

    try:
        return parse_duration(duration)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
