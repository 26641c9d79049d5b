"""Asks Node: what JavaScript makes of a JSON text, whether it accepts our signatures, and what it signs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from voke_sim.node import node_executable

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = b"test-secret-32-characters-long!!"
TS = 1_700_000_000_000
NONCE = "0123456789abcdef"

_SCRIPT = Path(__file__).with_name("judge.mjs")


def canonical_and_signature(texts: Iterable[str]) -> list[tuple[bytes, str] | None]:
    """Canonical form and telemetry signature (of PLANT_ID, TS, NONCE) of each text; None: not JSON."""
    answers = _ask("canonical", [json.dumps(text).encode() for text in texts])
    pairs = [answer.rpartition(b"\t") for answer in answers]
    return [(pair[0], pair[2].decode()) if pair[2] != b"!" else None for pair in pairs]


def accepts(messages: Iterable[tuple[str, bytes]]) -> list[bool]:
    """Whether Node verifies the signature of each wire message, given with its kind."""
    answers = _ask("verify", [kind.encode() + b"\t" + message for kind, message in messages])
    return [answer == b"ok" for answer in answers]


def signed_commands(parameters: Iterable[str | None]) -> list[bytes]:
    """A command signed by Node for each JSON text of ``p``; None: without ``p``.

    The i-th has cmdId ``cmd-i``, ts TS + i and type CHARGE.
    """
    return _ask("command", [json.dumps(text or "").encode() for text in parameters])


def _ask(task: str, lines: list[bytes]) -> list[bytes]:
    done = subprocess.run(
        [node_executable(), _SCRIPT, KEY.decode(), task],
        input=b"".join(line + b"\n" for line in lines),
        capture_output=True,
        check=False,
        timeout=300,  # a million documents come in pieces of 20,000
    )
    if done.returncode != 0:
        raise RuntimeError(f"the judge failed: {done.stderr.decode(errors='replace')}")
    answers = done.stdout.split(b"\n")[:-1]
    assert len(answers) == len(lines), "one answer for each line"
    return answers
