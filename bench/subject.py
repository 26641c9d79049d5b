"""What is measured: the gateway, or something that stands in for it, as a process pinned to one core."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.fleet import Plant, Site, write_documents
from bench.verify import Tally, Verifier
from voke_sim.children import ending_with_parent

STOP_WITHIN = 20.0
_ADDRESS = re.compile(r'"http": "([^":]+):(\d+)"')


class SubjectError(Exception):
    """The process ended by itself or never got going; the message holds the end of its log."""


Write = Callable[[Path, Sequence[Plant], Site, Sequence[str], Sequence[tuple[str, int]]], None]
"""Writes into a new directory what the subject reads: of these plants, of Voke, certificates, and PLCs' addresses."""


@dataclass(frozen=True, slots=True)
class Subject:
    """How it is told what to do, how it is started, and how what it sends is understood."""

    name: str
    command: tuple[str, ...]
    """The program as a path, and its arguments; ``{documents}`` and ``{state}`` in them are filled in."""
    write: Write = write_documents
    tally: Callable[..., Tally] = Verifier
    """Made of plants, with the keyword ``silent``."""
    topics: str = "cpi/+/telemetry"
    """What the subscriber asks the broker for."""
    environment: Mapping[str, str] = field(default_factory=dict)
    files_per_plc: int = 2
    """It takes at most that many open files for each PLC."""
    kept_for: float = 0.0
    """Seconds for which it keeps a message by design before it sends it."""


GATEWAY = Subject(
    "voke run",
    (
        *(sys.executable, "-m", "voke_cli", "run", "{documents}", "--state", "{state}"),
        *("--http", "127.0.0.1:0", "--log-format", "json"),
    ),
)


@dataclass(slots=True)
class Running:
    """A subject that runs."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """Raises SubjectError if it has ended."""
        if self.process.returncode is not None:
            text = self.log.read_text(errors="replace").splitlines()[-15:]
            raise SubjectError(
                f"{self.name} ended with status {self.process.returncode}; its log ends:\n" + "\n".join(text)
            )

    async def get(self, path: str, *, within: float = 30.0) -> bytes:
        """GET from its HTTP server.

        Raises:
            OSError, TimeoutError: it does not answer.
        """
        address = _ADDRESS.search(self.log.read_text(errors="replace"))
        if address is None:
            raise OSError("the gateway's log does not say where its HTTP server listens")
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(address[1], int(address[2]))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
        return answer.partition(b"\r\n\r\n")[2]


def _environment() -> dict[str, str]:
    """Compiled modules are kept, as in any installation: compiling at each start leaves a larger heap behind."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@asynccontextmanager
async def run(subject: Subject, *, core: int, documents: Path, directory: Path) -> AsyncIterator[Running]:
    """Run it on ``core`` alone; it is told to end, and made to, when the block ends."""
    values = {"documents": documents, "state": directory / "state"}
    log = directory / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *ending_with_parent(*(part.format(**values) for part in subject.command)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment() | dict(subject.environment),
        )
    # Long before it makes its first thread; those it makes later inherit the core.
    os.sched_setaffinity(process.pid, {core})
    running = Running(subject.name, process, log)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_WITHIN)
        except TimeoutError:
            process.kill()
            await process.wait()
