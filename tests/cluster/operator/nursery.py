"""Operators that start at once: ``python -m tests.cluster.operator.nursery`` imports everything and forks them.

A line of JSON on standard input asks, a line on standard output answers. A process keeps its number until it was
waited for here, so that a signal never reaches another one. All of them end with the nursery.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

_END_WITH_PARENT: Final = 1


@dataclass
class Forked:
    """An operator that was forked."""

    pid: int
    path: Path
    nursery: Nursery = field(repr=False)
    status: int | None = None

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self.path.read_text()

    @property
    def leads(self) -> bool:
        """Whether it took the Lease, in its life so far."""
        return '"leading"' in self.text

    def signal(self, number: signal.Signals) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def ended(self) -> bool:
        if self.status is None:
            self.status = await self.nursery.ask("poll", self.pid)
        return self.status is not None

    async def wait(self, within: float = 30.0) -> int:
        """Its exit status; negative: the signal that ended it."""
        async with asyncio.timeout(within):
            while not await self.ended():
                await asyncio.sleep(0.01)
        assert self.status is not None
        return self.status


class Nursery:
    """The process that forks. Made by :meth:`running`."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self._process = process
        self._directory = directory
        self._turn = asyncio.Lock()
        self.born: list[Forked] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, directory: Path) -> AsyncIterator[Nursery]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.cluster.operator.nursery"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield cls(process, directory)
        finally:
            process.kill()
            await process.wait()

    async def fork(self, *arguments: str) -> Forked:
        """Start an operator."""
        path = self._directory / f"forked-{len(self.born)}.log"
        path.touch()
        forked = Forked(await self.ask("fork", [str(path), *arguments]), path, self)
        self.born.append(forked)
        return forked

    async def ask(self, what: str, value: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps([what, value]).encode() + b"\n")
            return json.loads(await self._process.stdout.readline())


def _serve() -> None:
    from voke_operator.__main__ import main

    gc.freeze()
    for line in sys.stdin:
        what, value = json.loads(line)
        answer: int | None
        if what == "fork":
            answer = os.fork()
            if answer == 0:
                _live(main, *value)
        else:
            pid, status = os.waitpid(value, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


def _live(main: Any, log: str, *arguments: Sequence[str]) -> None:
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    status = 70
    try:
        status = main(arguments)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
