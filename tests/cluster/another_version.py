"""A package of another version: ``python -m tests.cluster.another_version FORMATS PACKAGE …``.

It knows other bundle formats, which are told apart by their numbers alone, and its base image compresses otherwise.
"""

from __future__ import annotations

import gzip
import runpy
import sys
from functools import partial
from unittest.mock import patch

from voke_api import bundle
from voke_api.bundle import form


def program(package: str, *formats: int) -> tuple[str, ...]:
    """What Python is to run for a package that knows these formats, the oldest first."""
    return "-m", "tests.cluster.another_version", ",".join(map(str, formats)), package


if __name__ == "__main__":
    _, known, *sys.argv = sys.argv
    formats = tuple(map(int, known.split(",")))
    with (
        patch.object(form, "FORMATS", formats),
        patch.object(bundle, "FORMATS", formats),
        patch.object(gzip, "compress", partial(gzip.compress, compresslevel=1)),
    ):
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
