"""A directory of files as kubelet mounts a Secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def mount(directory: Path, files: Mapping[str, bytes], generation: int) -> None:
    """As its AtomicWriter does it: a new folder, and a link to it that is replaced at once."""
    target = directory / f"..{generation}"
    target.mkdir(parents=True)
    for name, content in files.items():
        (target / name).write_bytes(content)
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data_tmp").symlink_to(target.name)
    (directory / "..data_tmp").rename(directory / "..data")
