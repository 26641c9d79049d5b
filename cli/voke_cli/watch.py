"""Sees that files have changed, by looking: that works on every file system, mounted ones included."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Files that are read from a directory."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""Path, inode, time of change and size of every file."""


def fingerprint(paths: Sequence[Path]) -> Generator[None, None, Fingerprint]:
    """What the files that ``paths`` name are now, in steps of one file. What is not there is left out."""
    found: set[tuple[str, int, int, int]] = set()
    for path in paths:
        with suppress(OSError):  # gone, or not ours to read: planning says what is wrong with it
            seen = path.stat()
            if stat.S_ISDIR(seen.st_mode):
                yield from _below(str(path), found)
            else:
                found.add((str(path), seen.st_ino, seen.st_mtime_ns, seen.st_size))
        yield
    return frozenset(found)


def look(paths: Sequence[Path]) -> Fingerprint:
    """:func:`fingerprint` in one go."""
    steps = fingerprint(paths)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Fingerprint = done.value
            return result


def _below(directory: str, found: set[tuple[str, int, int, int]]) -> Generator[None, None, None]:
    """Hidden files and folders are not meant, and links to folders are not followed."""
    try:
        with os.scandir(directory) as listing:
            entries = sorted((each for each in listing if each.name[0] != "."), key=lambda each: each.name)
    except OSError:
        return
    for entry in entries:
        with suppress(OSError):
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, found)
            elif entry.name.endswith(SUFFIXES):
                seen = entry.stat()
                found.add((entry.path, seen.st_ino, seen.st_mtime_ns, seen.st_size))
        yield
