"""Bundles as another zlib, or another version, would have written them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from hypothesis import strategies as st

from voke_api.bundle import MANIFEST


@dataclass(frozen=True, slots=True)
class Gzip:
    """How somebody else compresses: at a level, and with what gzip notes beside."""

    level: int
    time: int
    name: str

    def file(self, content: bytes) -> bytes:
        """The same content in other bytes."""
        buffer = io.BytesIO()
        with gzip.GzipFile(self.name, "wb", self.level, buffer, self.time) as packed:
            packed.write(gzip.decompress(content))
        return buffer.getvalue()

    def bundle(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """The same bundle, each file in other bytes."""
        others = {name: self.file(content) for name, content in files.items() if name != MANIFEST}
        digests = {name: sha256(content).hexdigest() for name, content in others.items()}
        return {**others, MANIFEST: edited(files[MANIFEST], files=digests)}


GZIPS = st.builds(
    Gzip, st.integers(0, 9), st.integers(0, 2**32 - 1), st.sampled_from(["", "plant.json", "x" * 100])
)
WORST = Gzip(0, 1, "plant.json")
"""Which does not compress at all."""


def edited(manifest: bytes, **changes: object) -> bytes:
    """A manifest with other entries."""
    return json.dumps({**json.loads(manifest), **changes}).encode()
