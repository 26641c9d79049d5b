"""A run that hangs ends by itself and says where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

AFTER_A_TEST = """
import pytest, threading

@pytest.fixture
def stubborn():
    yield
    threading.Event().wait()

def test_that_is_fine(stubborn): pass
"""

AT_THE_END = """
import threading

def test_that_is_fine():
    threading.Thread(target=threading.Event().wait, name="stubborn").start()
"""


@pytest.mark.parametrize(("text", "place"), [(AFTER_A_TEST, "in stubborn"), (AT_THE_END, "in _shutdown")])
def test_who_waits_for_ever_is_shown_and_ended(tmp_path: Path, text: str, place: str) -> None:
    quick = CONFTEST.read_text().replace("= 90.0", "= 1.0").replace("= 30.0", "= 1.0")
    (tmp_path / "conftest.py").write_text(quick)
    (tmp_path / "test_it.py").write_text(text)
    (tmp_path / "pytest.ini").touch()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "Timeout (0:00:01)!" in run.stderr
    assert place in run.stderr
