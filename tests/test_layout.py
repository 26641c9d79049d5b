"""Promises about the tree itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_folder_shadows_the_standard_librarys_operator() -> None:
    for folder in ("operator", "tests/operator"):
        assert not (ROOT / folder / "__init__.py").exists(), f"{folder}/__init__.py breaks every `python -m`"
    run = subprocess.run(
        [sys.executable, "-m", "json.tool", "--help"], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr


def test_the_lock_file_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements/dev.txt").read_text()
    assert "://" not in lock
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(pins) > 40
    assert all("==" in pin and pin.endswith("\\") for pin in pins), "every pin is followed by hashes"


def test_the_gateway_starts_without_kubernetes_and_web_frameworks() -> None:
    heavy = ("kopf", "kubernetes", "aiohttp", "typer", "yaml", "hypothesis", "voke_sim", "voke_cli")
    code = (
        f"import sys, voke_gateway.runtime.serve; print([name for name in {heavy!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"
