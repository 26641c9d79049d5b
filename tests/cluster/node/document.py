"""The commands of a document, followed as a person follows them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.cluster.control_plane import ControlPlane


def follow(commands: str, plane: ControlPlane, *, directory: Path, programs: Path) -> str:
    """Run shell commands in a directory, with the cluster's kubectl and other ``programs``; what they print.

    Raises:
        AssertionError: one failed; the message has what was said.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=directory,
        env={
            "KUBECONFIG": str(plane.kubeconfig),
            "PATH": f"{plane.programs}:{programs}:{os.environ['PATH']}",
            "HOME": str(directory),
        },
        check=False,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}"
    return done.stdout
