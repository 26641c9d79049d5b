"""What a gateway that runs for months on a small machine does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import {module}
heavy = {{"rich", "prometheus_client", "jwt", "kopf", "kubernetes"}}
print(*sorted(heavy & sys.modules.keys()))
import rich.console
"""


@pytest.mark.parametrize("module", ["voke_gateway.__main__", "voke_cli.main", "voke_gateway.runtime.serve"])
def test_the_gateway_loads_no_library_that_it_may_never_need_and_hides_none_from_others(module: str) -> None:
    program = PROGRAM.format(module=module)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
