"""The demo: real PLC sockets, the real gateway as a child, a real broker, and a judge that is not our code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest

from tests.support.children import ending
from tests.support.modbus import eventually
from voke_api.status import GatewayStatus
from voke_cli.demo.command import in_words, went_well
from voke_cli.demo.documents import write_documents
from voke_cli.demo.gateway import GatewayError, GatewayProcess
from voke_cli.demo.performance import perform
from voke_cli.demo.view import PlainView, view
from voke_cli.state import State
from voke_sim.demo import SITES, Demo, Stage
from voke_sim.plc.site import Site
from voke_sim.voke import LocalVoke

COMMAND = [sys.executable, "-m", "voke_cli", "demo", "--json"]
DEADLINE = 60


def ignore(*_: object) -> None:
    """What the gateway logs does not matter."""


@contextmanager
def running_demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    demo = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield demo
    finally:
        demo.kill()
        demo.communicate(timeout=DEADLINE)


def until_said(demo: subprocess.Popen[str], words: str) -> None:
    assert demo.stderr is not None
    with ending(demo, within=DEADLINE):
        for line in demo.stderr:
            if words in line:
                return
    raise AssertionError(f"the demo ended without saying {words!r}")


def children(pid: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name_and_rest = stat.read_text()
        except OSError:
            continue
        if int(name_and_rest.rpartition(")")[2].split()[1]) == pid:
            found.add(int(stat.parent.name))
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_every_message_of_three_plants_is_verified() -> None:
    demo = subprocess.run(
        [*COMMAND, "--for", "16s"], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert demo.returncode == 0, demo.stderr
    summary = json.loads(demo.stdout.splitlines()[-1])
    print(summary)
    assert summary["plants"] == 3
    assert summary["devices"] >= 12, "the faulty one may be silent all the time on a busy machine"
    assert summary["snapshots_sent"] == summary["snapshots_verified"] >= 3 * 8
    assert summary["snapshots_refused"] == summary["messages_refused"] == 0
    assert summary["commands_completed"] >= 3 * 2
    assert summary["commands_completed"] == summary["commands_sent"]
    assert summary["commands_failed"] == summary["commands_unanswered"] == 0
    assert summary["alarms_resolved"] >= 3
    assert summary["alarms_raised"] >= summary["alarms_resolved"]
    for options in SITES:
        assert f"{options.name:16} CHARGE" in demo.stderr
        assert f"{options.name:16} alarm cabinet-door resolved" in demo.stderr


def test_ctrl_c_ends_it_in_order() -> None:
    with running_demo() as demo:
        until_said(demo, "plzen-works      GET_INFO done")
        family = children(demo.pid)
        assert len(family) == 3  # gateway, broker, judge
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        out, err = demo.communicate(timeout=DEADLINE)
        assert demo.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["snapshots_verified"] >= 3
        assert not [pid for pid in family if runs(pid)]


async def test_no_child_outlives_it() -> None:
    with running_demo() as demo:
        until_said(demo, "brno-roof        GET_INFO done")
        family = children(demo.pid)
        assert len(family) == 3
        demo.kill()
        demo.wait(DEADLINE)
        await eventually(lambda: not any(runs(pid) for pid in family), within=20)


def test_a_duration_that_is_none_is_wrong_usage() -> None:
    demo = subprocess.run(
        [*COMMAND, "--for", "a while"], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert demo.returncode == 2
    assert "--for" in demo.stderr
    assert "500ms" in demo.stderr


class Saboteur:
    """A view that, once a plant was verified, makes Voke forget the plant's key, and ends when that was noticed."""

    def __init__(self) -> None:
        self.done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def tell(self, plant: str, sentence: str) -> None:
        """Nobody listens."""

    def hear(self, line: dict[str, Any]) -> None:
        """Nobody listens."""

    def update(self, demo: Demo, _: GatewayStatus | None) -> None:
        if not self.done and demo.voke.counters.total_accepted(kind="telemetry"):
            self.done = True
            demo.voke.rotate_hmac(demo.stages[0].plant_id, "another-secret-of-32-characters!")
        if demo.voke.counters.total_refused(kind="telemetry"):
            os.kill(os.getpid(), signal.SIGINT)


async def test_a_message_that_the_judge_refuses_fails_the_demo(tmp_path: Path) -> None:
    summary = await perform(tmp_path, 60.0, Saboteur())
    assert summary["snapshots_verified"]
    assert summary["snapshots_refused"]
    assert not went_well(summary)
    assert "REFUSED" in in_words(summary)


async def test_what_the_registers_say_is_what_voke_gets(tmp_path: Path) -> None:
    stages = [Stage(Site(options)) for options in SITES]
    async with LocalVoke.start(tmp_path / "voke") as voke:
        demo = Demo(voke, stages, ignore, Random(0))
        for stage in stages:
            stage.site.advance(0.5)
            await stage.site.start()
        state = tmp_path / "state"
        await write_documents(demo, tmp_path / "plants", State(state))
        gateway = GatewayProcess.start(
            tmp_path / "plants", state=state, log=tmp_path / "gateway.log", hear=ignore
        )
        async with gateway as running:
            for stage in stages:
                for device, truth in stage.site.truth().items():
                    await voke.wait_for(partial(voke.latest, stage.plant_id, device), 20)
                    latest = voke.latest(stage.plant_id, device)
                    assert latest is not None
                    assert (latest.values or latest.raw) == truth
            assert await running.stop() == 0
        for stage in stages:
            for server in stage.site.servers.values():
                assert server.stats.connections_peak == 1
            await stage.site.stop()
        assert not voke.refused


async def test_a_gateway_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "plant.yaml").write_text("kind: Plant\n")
    with pytest.raises(GatewayError, match="apiVersion"):
        async with GatewayProcess.start(
            tmp_path / "plant.yaml", state=tmp_path / "state", log=tmp_path / "log", hear=ignore
        ):
            raise AssertionError("it started")


def test_plain_lines_tell_what_the_gateway_warns_of(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view(live=False, quiet=True)
    assert isinstance(shown, PlainView)
    with shown:
        shown.hear({"level": "info", "event": "plant started", "plant": "a"})
        shown.hear({"level": "warning", "event": "plant is read-only", "plant": "a", "reason": "[because]"})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.rstrip().endswith("a                gateway: plant is read-only reason=[because]")


def test_nothing_verified_is_a_failure() -> None:
    summary = {
        "plants": 3,
        "devices": 0,
        "seconds": 3.0,
        "snapshots_sent": 0,
        "snapshots_verified": 0,
        "snapshots_refused": 0,
        "messages_refused": 0,
        "commands_sent": 0,
        "commands_completed": 0,
        "commands_failed": 0,
        "alarms_raised": 0,
        "alarms_resolved": 0,
    }
    assert not went_well(summary)
    assert "NOTHING WAS VERIFIED" in in_words(summary)
