"""What is printed: text from files and devices, made safe for a terminal, and tables. Cheap to import."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDE: Final = 1000
"""Columns where nothing says how many there are: what is not for a terminal is not folded."""


def printable(text: str) -> str:
    """Without what could steer a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def show(shown: RenderableType) -> None:
    """Print on standard output; where that is no terminal without folding, and without spaces at the ends of lines."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(shown)
        return
    console = Console(highlight=False, width=_WIDE)
    with console.capture() as captured:
        console.print(shown)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())
