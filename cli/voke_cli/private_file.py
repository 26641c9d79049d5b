"""Files that hold keys: readable by their owner only, and whole at any moment."""

from __future__ import annotations

import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class NotPrivateError(Exception):
    """Others could get at what is written there; the message says what to do."""


@contextmanager
def private_directory(path: Path) -> Iterator[int]:
    """A directory that only its owner gets into, made if it is not there.

    Yields its descriptor, for :func:`write_private`: whatever takes the place of ``path`` meanwhile, the files go where
    it was looked.

    Raises:
        NotPrivateError: it is somebody else's, open to others, or a link.
        OSError: it is no directory, or cannot be made.
    """
    if path.is_symlink():
        raise NotPrivateError(f"{path} is a symbolic link: name the directory itself")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise NotPrivateError(
                f"{path} belongs to somebody else, who could take or replace what is in it: name a directory that is "
                "not there yet"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise NotPrivateError(
                f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}): chmod 700 "
                f"{shlex.quote(str(path))}, or name a directory that is not there yet"
            )
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes, *, directory: int | None = None) -> None:
    """Put a file there, or another one in its place, mode 0600: a reader sees the old content or the new.

    Args:
        path: Of the file; within ``directory``, if that descriptor is given.
        content: All of it.
        directory: See :func:`private_directory`.

    Raises:
        OSError: it cannot be written; what was there is there.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(part, path, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=directory)
