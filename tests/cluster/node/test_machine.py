"""The machine under the node: apart from this computer and from its likes, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest

from tests.cluster.machine import ADDRESS, Machine, MachineError, check_possible

NOBODY = 65534


def test_who_is_not_root_is_told_what_is_needed() -> None:
    os.seteuid(NOBODY)
    try:
        with pytest.raises(MachineError, match="root: run this with sudo"):
            check_possible()
    finally:
        os.seteuid(0)


def test_a_program_that_is_missing_is_named_with_the_remedy() -> None:
    with pytest.raises(MachineError, match=r"not installed: no-such-runtime; scripts/install-node"):
        check_possible("no-such-runtime")


def test_two_have_the_same_address_and_nothing_in_common(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    with Machine.running(places[0]) as one, Machine.running(places[1]) as two:
        with one.entered():
            listener = socket.create_server((ADDRESS, 0))
        with listener:
            port = listener.getsockname()[1]
            with one.entered(), socket.create_connection((ADDRESS, port), timeout=5):
                pass
            with two.entered(), pytest.raises(OSError, match="refused"):
                socket.create_connection((ADDRESS, port), timeout=5)
        assert one.cgroup != two.cgroup
        one.run("/bin/sh", "-c", "echo mine >/run/note")
        assert not (two.directory / "run" / "note").exists()
        assert (one.directory / "run" / "note").read_text() == "mine\n"


def test_what_a_program_let_go_of_ends_with_the_machine(tmp_path: Path) -> None:
    note = tmp_path / "beats"
    with Machine.running(tmp_path) as machine:
        beat = f"setsid sh -c 'while :; do echo >>{note}; sleep 0.05; done' </dev/null >/dev/null 2>&1 &"
        machine.run("/bin/sh", "-c", beat)
        deadline = time.monotonic() + 10
        while not note.exists() or note.stat().st_size < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert beating(note)
        groups = Path("/sys/fs/cgroup")
        (cgroup, *_) = [*groups.glob(machine.cgroup[1:]), *groups.glob(f"*{machine.cgroup}")]
    assert not beating(note)
    assert not cgroup.exists()


def beating(note: Path) -> list[str]:
    """Processes of this computer that have to do with a file."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(note).encode() in each.read_bytes():
                found.append(each.parent.name)
    return found
