"""Documents walked block by block, as a reader would: in an empty directory, with an empty home."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from voke_sim.ports import free_ports

DOCS = Path(__file__).parents[2] / "docs"
PORTS = ("15020", "9100")
WITHIN = 120
"""Seconds for all of it."""


def blocks_of(document: str) -> list[tuple[str, str]]:
    """Kind and content of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / document).read_text(), re.DOTALL | re.MULTILINE)


def walk(blocks: list[tuple[str, str]], home: Path) -> str:
    """Do what the ``sh`` blocks say, in ``home/work``; what was printed. Fails if it takes too long.

    A ``yaml`` block that begins with a file's name in a comment is saved there at once.
    """
    work = home / "work"
    work.mkdir()
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    script = ["set -eo pipefail"]
    for kind, text in blocks:
        content = re.sub("|".join(PORTS), lambda port: ports[port[0]], text)
        first = content.splitlines()[0]
        if kind == "yaml" and first.startswith("# "):
            (work / first.removeprefix("# ")).write_text(content)
        else:
            assert kind == "sh", (kind, first)
            script += [f"echo {shlex.quote(f'== {first}')}", content]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "VOKE"))}
    environment |= {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = home / "output.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            ["bash", "-c", "\n".join(script)],
            cwd=work,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        process.wait(timeout=WITHIN)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still busy:\n{log.read_text()[-5000:]}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)
    output = log.read_text()
    print(output)
    return output
