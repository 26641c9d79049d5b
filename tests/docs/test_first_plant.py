"""The way of docs/first-plant.md, walked block by block in an empty directory."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "first-plant.md"
PORTS = ("15020", "9100")


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.timeout(180)
def test_the_snippets_lead_from_the_data_sheet_to_a_message_that_voke_takes(tmp_path: Path) -> None:
    text = DOCUMENT.read_text()
    for port in PORTS:
        text = text.replace(port, free_port())
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks].count("yaml") == 1
    work = tmp_path / "work"
    work.mkdir()
    script = ["set -eo pipefail"]
    for kind, content in blocks:
        if kind == "yaml":
            name = content.splitlines()[0].removeprefix("# ")
            (work / name).write_text(content)
        else:
            assert kind == "sh", kind
            first = content.splitlines()[0]
            script += [f"echo '== {first}'", content]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "VOKE"))}
    environment |= {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = tmp_path / "output.txt"
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
        process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        pytest.fail(f"still busy:\n{log.read_text()[-5000:]}")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    output = log.read_text()
    print(output)
    assert "\n== tail" in output, output[-5000:]
    verdict = output[output.index("\n== tail") :]
    assert verdict.count(" ok ") == 6, output[-5000:]
    assert "Voke takes it: telemetry of plant 7c9e6679" in verdict
    assert "0 errors, 0 warnings" in output
    refused = [line for line in output.splitlines() if "refused:" in line]
    assert not refused


def test_the_document_stays_short() -> None:
    assert len(DOCUMENT.read_text().splitlines()) < 140
