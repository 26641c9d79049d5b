"""What ``voke run`` says about its files while it runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.support.loops import until
from voke_cli import replan
from voke_cli.plan_bundle import Outcome
from voke_cli.replan import Replanner
from voke_cli.watch import look

BAD = ("error", "site/a.yaml:3: error: bad")
ODD = ("warning", "site/b.yaml:7: warning: odd")


class Files:
    """A directory, and what planning it comes to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "site"
        self.directory.mkdir()
        self.outcome = Outcome()
        self.planned = 0

    def become(self, *problems: tuple[str, str]) -> None:
        self.outcome = Outcome(problems=problems)
        (self.directory / "a.yaml").write_text(str(self.planned))

    def command(self) -> Sequence[str]:
        self.planned += 1
        return [sys.executable, "-c", f"print({self.outcome.text()!r})"]


@asynccontextmanager
async def followed(files: Files, **more: Any) -> AsyncIterator[None]:
    replanner = Replanner([files.directory], files.command, look([files.directory]), **more)
    task = asyncio.create_task(replanner.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.setattr(replan, "LOOK_EVERY", 0.05)
    return Files(tmp_path)


def said(logs: Sequence[EventDict], event: str) -> list[str]:
    return [log.get("problem", log["log_level"]) for log in logs if log["event"] == event]


async def test_a_mistake_is_logged_once_however_often_the_files_are_planned(files: Files) -> None:
    with capture_logs() as logs:
        async with followed(files):
            for times, problems in enumerate([[BAD], [BAD, ODD], [BAD, ODD]], start=1):
                files.become(*problems)
                await until(lambda: planned(logs) == times)  # noqa: B023 - used at once
            assert said(logs, "problem in files") == [BAD[1], ODD[1]]
            files.become()
            await until(lambda: said(logs, "files planned anew") == ["info"])
            assert said(logs, "files are without problems again") == ["info"]


async def test_an_error_that_stays_is_said_again_now_and_then(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replan, "REMIND_EVERY", 0.3)
    with capture_logs() as logs:
        async with followed(files):
            files.become(BAD, ODD)
            await until(lambda: len(said(logs, "problem in files, still")) > 1)
            assert set(said(logs, "problem in files, still")) == {BAD[1]}, "not the warning"


@pytest.mark.parametrize(
    "outcome", [Outcome(renewed=("site",), look_again=1.0), Outcome(failure="the disk is full")]
)
async def test_certificates_are_seen_to_when_it_is_time_and_not_again_within_an_hour(
    files: Files, outcome: Outcome
) -> None:
    now = 1_999.0
    files.outcome = outcome
    with capture_logs() as logs:
        async with followed(files, look_again=2_000.0, wall_clock=lambda: now):
            for count, moment in enumerate([2_000.0, 2_000.0 + replan.RENEW_EVERY, 1e9], start=1):
                assert files.planned == count - 1
                now = moment
                await until(lambda: files.planned == count)  # noqa: B023 - used at once
                await until(lambda: len(logs) == count)  # noqa: B023
    said_of_it = {"client certificate renewed"} if outcome.renewed else {"files could not be planned"}
    assert {log["event"] for log in logs} == said_of_it


def planned(logs: Sequence[EventDict]) -> int:
    return sum(str(log["event"]).startswith("files planned anew") for log in logs)
