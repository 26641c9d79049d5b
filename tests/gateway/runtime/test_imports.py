"""What a gateway that runs for months on a small machine does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"rich", "prometheus_client", "jwt", "kopf", "kubernetes"}
PROGRAM = """
import sys
import {module}
print(*sys.modules.keys())
import rich.console
"""


@pytest.mark.parametrize("module", ["voke_gateway.__main__", "voke_cli.main", "voke_gateway.runtime.serve"])
def test_the_gateway_loads_no_library_that_it_may_never_need_and_hides_none_from_others(module: str) -> None:
    program = PROGRAM.format(module=module)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert HEAVY & set(result.stdout.split()) == set()


def test_nor_does_voke_run(tmp_path: Path) -> None:
    missing = tmp_path / "plant.yaml"  # all is imported by the time that this is noticed
    command = [sys.executable, "-X", "importtime", "-m", "voke_cli", "run", missing, "--state", tmp_path]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert result.returncode == 1
    assert "voke_gateway.runtime.serve" in imported
    assert "rich.console" not in imported  # importtime lists an attempt at rich itself, too
    assert imported & (HEAVY - {"rich"}) == set()
