"""The gateway of the demo: ``voke run`` as a child process, known by its log and its /status alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from voke_api.status import GatewayStatus, read
from voke_sim.children import ending_with_parent

Json = dict[str, Any]

START_WITHIN = 30.0
STOP_WITHIN = 15.0
"""``voke run`` promises ten seconds."""
ANSWER_WITHIN = 2.0


class GatewayError(Exception):
    """The gateway did not start, or ended by itself; the message holds the end of its log."""


class GatewayProcess:
    """A running ``voke run``. Made by :meth:`start`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, hear: Callable[[Json], None]) -> None:
        self._process = process
        self._hear = hear
        self._log = log
        self._last: deque[str] = deque(maxlen=20)
        self._address: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read(), name="gateway log")
        self.delivered_snapshots = 0
        """How many it says to have delivered; known once it has stopped."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls, documents: Path, *, state: Path, log: Path, hear: Callable[[Json], None]
    ) -> AsyncIterator[GatewayProcess]:
        """Run it on the files of a directory; it has stopped, or been killed, when the block ends.

        Raises:
            GatewayError: it did not come up.
        """
        process = await asyncio.create_subprocess_exec(
            *ending_with_parent(
                *(sys.executable, "-m", "voke_cli", "run", str(documents)),
                *("--state", str(state), "--http", "127.0.0.1:0", "--log-format", "json"),
                by=signal.SIGTERM,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        gateway = cls(process, log, hear)
        try:
            await gateway.address()
            yield gateway
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await gateway._reader

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    def failure(self) -> GatewayError:
        """What to tell about a gateway that ended by itself."""
        return GatewayError(
            f"voke run ended with status {self._process.returncode}; its log ends:\n" + "\n".join(self._last)
        )

    async def address(self) -> tuple[str, int]:
        """Where its HTTP server listens, once it does.

        Raises:
            GatewayError: it ended, or did not start in time.
        """
        try:
            async with asyncio.timeout(START_WITHIN):
                return await asyncio.shield(self._address)
        except TimeoutError:
            raise GatewayError(
                f"voke run did not start within {START_WITHIN:g} s; its log ends:\n" + "\n".join(self._last)
            ) from None

    async def status(self) -> GatewayStatus | None:
        """Its /status; None if it does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                host, port = await self.address()
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(
                    f"GET /status HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return None
        return read(answer.partition(b"\r\n\r\n")[2])

    async def stop(self) -> int:
        """Ask it to drain and end; returns its exit status (negative: it had to be killed)."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
        await self._reader
        return await self._process.wait()

    async def _read(self) -> None:
        output = self._process.stderr
        if output is None:
            raise RuntimeError("the gateway's log is not a pipe")
        with self._log.open("ab") as log:
            while line := await output.readline():
                log.write(line)
                log.flush()
                text = line.decode(errors="replace").rstrip()
                self._last.append(text)
                with contextlib.suppress(json.JSONDecodeError):
                    self._take(json.loads(text))
        await self._process.wait()
        if not self._address.done():
            self._address.set_exception(self.failure())
            self._address.exception()  # address() may never be asked again

    def _take(self, line: Json) -> None:
        event = line.get("event")
        if event == "gateway started" and not self._address.done():
            host, _, port = str(line["http"]).rpartition(":")
            self._address.set_result((host, int(port)))
        elif event == "plant stopped":
            self.delivered_snapshots += int(line.get("delivered_telemetry", 0))
        self._hear(line)
