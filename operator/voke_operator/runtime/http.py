"""The operator's read-only HTTP server: ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiohttp import web

from voke_operator.runtime.metrics import CONTENT_TYPE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[], Iterable[str]]
"""What is wrong, a sentence each; nothing if all is well."""


class AddressInUseError(Exception):
    """The address cannot be listened on; the message says what to do."""


class HttpServer:
    """Serves until closed."""

    def __init__(
        self, *, healthy: Sequence[Check], ready: Sequence[Check], metrics: Callable[[], bytes]
    ) -> None:
        """``healthy``: what only a restart mends; ``ready``: whether the process does its work."""
        application = web.Application(client_max_size=0)
        application.add_routes(
            [
                web.get("/healthz", _probe(healthy)),
                web.get("/readyz", _probe(ready)),
                web.get("/metrics", _metrics(metrics)),
            ]
        )
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, keepalive_timeout=10.0
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port.

        Raises:
            AddressInUseError: the address is taken or is not ours.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise AddressInUseError(
                f"cannot listen on {host}:{port} ({error.strerror or error}): choose another address"
            ) from error
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


def _probe(checks: Sequence[Check]) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        problems = [problem for check in checks for problem in check()]
        return web.Response(text="\n".join([*problems, ""]) or "ok\n", status=503 if problems else 200)

    return answer


def _metrics(render: Callable[[], bytes]) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=render(), headers={"Content-Type": CONTENT_TYPE})

    return answer
