"""Watches the directory of a bundle and reads it whenever it changes.

A change is seen by what ``bundle.json`` is: replaced in place, renamed over, or swapped by a symbolic link
further up, as a mounted Secret is. Files that do not fit the manifest are being written: they are looked at
again, and only what stays that way is a problem.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from voke_api.bundle import MANIFEST, BundleUnreadableError
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.slices import Pacer, in_slices
from voke_gateway.runtime.work import Work

LOOK_EVERY: Final = 0.25
"""Seconds between two looks at the manifest."""
PATIENCE: Final = 3.0
"""Seconds that files are given to become a bundle."""
RETRY_EVERY: Final = 5.0
"""Seconds between two readings of a bundle that is still not whole."""

_Look = tuple[int, int, int, int]


class BundleSource:
    """Reads the bundle in ``directory`` and hands it to ``take``.

    ``trouble`` is told why there is no bundle, and with an empty text that there is one again.
    """

    def __init__(
        self,
        directory: Path,
        reader: BundleReader,
        *,
        take: Callable[[Work], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._reader = reader
        self._take = take
        self._trouble = trouble
        self._loop = asyncio.get_running_loop()
        self._taken: _Look | None = None
        """The manifest as it was when the bundle was last read whole."""
        self._tried: _Look | None = None
        self._incomplete_since: float | None = None
        """Since when what is there now has not been a whole bundle."""
        self._retry_at = 0.0

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Read the bundle if it has changed, or was not whole."""
        seen = self._look()
        if seen is not None and seen == self._taken:
            return
        now = self._loop.time()
        if seen != self._tried or self._incomplete_since is None:
            self._tried, self._incomplete_since, self._retry_at = seen, now, 0.0
        if now < self._retry_at:
            return
        waited = now - self._incomplete_since >= PATIENCE
        try:
            files, fits = await self._read()
            if fits or waited:
                self._take(await in_slices(self._reader.read(files)))
                self._trouble("")
        except (BundleUnreadableError, OSError) as error:
            fits = False
            if waited:
                self._trouble(f"no bundle can be read from {self._directory}: {_reason(error)}")
        if fits:
            self._taken, self._incomplete_since, self._retry_at = seen, None, 0.0
        elif waited:
            self._retry_at = now + RETRY_EVERY

    def _look(self) -> _Look | None:
        try:
            seen = (self._directory / MANIFEST).stat()
        except OSError:
            return None
        return seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size

    async def _read(self) -> tuple[dict[str, bytes], bool]:
        """The files that are needed, as far as they are there, and whether all are those of the manifest."""
        pacer = Pacer()
        manifest = _content(self._directory / MANIFEST)
        files = {MANIFEST: manifest}
        needed = self._reader.needed(manifest)
        digests = json.loads(manifest)["files"]
        fits = True
        for name in needed:
            try:
                content = _content(self._directory / Path(name).name)
            except FileNotFoundError:
                fits = False
                continue
            files[name] = content
            fits = fits and sha256(content).hexdigest() == digests.get(name)
            await pacer.pace()
        return files, fits


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error} ({error.filename})"
    return str(error)
