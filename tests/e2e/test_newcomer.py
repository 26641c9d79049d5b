"""A newcomer's way: a clean clone, an empty home, the README's first command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(420)
def test_make_run_shows_three_plants_bridged_from_a_clean_clone(tmp_path: Path) -> None:
    home, clone = tmp_path / "home", tmp_path / "clone"
    home.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    ).stdout
    for name in filter(None, files.split("\0")):
        target = clone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "XDG_", "VIRTUAL_ENV", "PYTEST", "MAKE", "MFLAGS"))
    }
    environment["HOME"] = str(home)
    environment["PATH"] = ":".join(p for p in environment["PATH"].split(":") if "/.venv/" not in p)
    run = subprocess.run(
        ["make", "run", "ARGS=--for 30s --json"],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    summary = json.loads(run.stdout.splitlines()[-1])
    print(summary)
    assert summary["plants"] == 3
    assert summary["snapshots_refused"] == 0
    assert summary["snapshots_verified"] >= 60
    assert summary["commands_completed"] >= 3
    assert summary["alarms_raised"] >= 1
    assert summary["alarms_resolved"] >= 1
