"""Plans anew whenever a source file changes or a certificate has to be renewed, while the gateway runs."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from voke_cli.plan_bundle import Outcome
from voke_cli.watch import Fingerprint, fingerprint
from voke_gateway.clock import WallClock, system_clock
from voke_gateway.runtime.slices import in_slices

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files; more if a look takes long."""
SHARE: Final = 0.01
"""Most of the time that is spent on looking."""
REMIND_EVERY: Final = 600.0
"""Seconds after which what is still wrong is logged again."""
RENEW_EVERY: Final = 3600.0
"""Seconds at least between a planning and the next one for a certificate's sake."""

log = structlog.get_logger()


class Replanner:
    """Looks at ``paths`` and runs ``command`` when they have changed and are still again, or when it is time."""

    def __init__(
        self,
        paths: Sequence[Path],
        command: Callable[[], Sequence[str]],
        seen: Fingerprint,
        *,
        look_again: float | None = None,
        wall_clock: WallClock = system_clock,
    ) -> None:
        """``seen``: the files as they were just before they were planned first; ``look_again``: what came of that."""
        self._paths = paths
        self._command = command
        self._planned = seen
        self._said: frozenset[tuple[str, str]] = frozenset()
        self._look_again = look_again
        self._wall_clock = wall_clock

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        last = self._planned
        told = loop.time()
        while True:
            began = loop.time()
            now = await in_slices(fingerprint(self._paths))
            pause = max(LOOK_EVERY, (loop.time() - began) / SHARE)
            if now != self._planned and now == last:
                # Twice the same: nobody is in the middle of writing.
                self._planned = now
                self._tell(await self._plan())
                told = loop.time()
            elif self._look_again is not None and self._wall_clock() >= self._look_again:
                self._tell(await self._plan(), changed=False)
            elif loop.time() - told >= REMIND_EVERY:
                self._remind()
                told = loop.time()
            last = now
            await asyncio.sleep(pause)

    async def _plan(self) -> Outcome:
        outcome = await _outcome(self._command())
        soonest = self._wall_clock() + RENEW_EVERY
        if outcome.failure:
            self._look_again = soonest
        else:
            self._look_again = None if outcome.look_again is None else max(outcome.look_again, soonest)
        return outcome

    def _remind(self) -> None:
        """Plants that only run on as they were must not be forgotten."""
        for _, text in sorted(problem for problem in self._said if problem[0] == "error"):
            log.error("problem in files, still", problem=text)

    def _tell(self, outcome: Outcome, *, changed: bool = True) -> None:
        """Log what is wrong, once, and what was done. ``changed``: the files are others than before."""
        for plant in outcome.renewed:
            log.info("client certificate renewed", plant=plant)
        problems = frozenset(outcome.problems)
        if outcome.failure:
            log.error("files could not be planned", problem=outcome.failure)
            return
        has_errors = any(severity == "error" for severity, _ in problems)
        for severity, text in outcome.problems:
            if (severity, text) not in self._said:
                (log.error if severity == "error" else log.warning)("problem in files", problem=text)
        if self._said and not problems:
            log.info("files are without problems again")
        self._said = problems
        if not changed:
            return
        if has_errors:
            log.warning("files planned anew; what has errors stays as it was", problems=len(problems))
        else:
            log.info("files planned anew", problems=len(problems))


async def _outcome(command: Sequence[str]) -> Outcome:
    """Run the child to its end; in a session of its own, so that Ctrl-C is for the gateway alone.

    Popen starts it by vfork, which a large heap does not slow down.
    """
    loop = asyncio.get_running_loop()
    output = asyncio.StreamReader()
    child = subprocess.Popen(  # noqa: ASYNC220, S603 - returns at once; the command is our own
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), child.stdout
        )
        said = await output.read()
        transport.close()
    except BaseException:
        child.kill()
        raise
    finally:
        status = child.wait()
    try:
        return Outcome.parse(said)
    except ValueError:
        return Outcome(ok=False, failure=f"the planning process ended with status {status}")
