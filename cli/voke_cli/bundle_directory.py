"""A bundle as a plain directory: written so that a reader never takes half of it for a whole one.

Each file is replaced at once, those that did not change are left alone, and the manifest comes last.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from voke_api.bundle import MANIFEST, Bundle, BundleUnreadableError, says_the_same, unpack


def read_bundle(directory: Path) -> Bundle | None:
    """The bundle in ``directory``; None if there is none that can be read."""
    try:
        return unpack({path.name: path.read_bytes() for path in directory.iterdir()})
    except (OSError, BundleUnreadableError):
        return None


def write_bundle(directory: Path, files: Mapping[str, bytes]) -> bool:
    """Make ``directory`` hold ``files``, for its owner only; False if it does already, generation aside.

    Raises:
        OSError: it cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = {path.name: path for path in directory.iterdir()}
    if MANIFEST in there and says_the_same(there[MANIFEST].read_bytes(), files[MANIFEST]):
        return False
    for name, content in files.items():
        if name != MANIFEST and not (name in there and there[name].read_bytes() == content):
            _replace(directory, name, content)
    _replace(directory, MANIFEST, files[MANIFEST])
    for name in there.keys() - files.keys():
        there[name].unlink(missing_ok=True)
    return True


def _replace(directory: Path, name: str, content: bytes) -> None:
    part = directory / f".{name}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        part.replace(directory / name)
    finally:
        part.unlink(missing_ok=True)
