"""The operator's read-only HTTP server: ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Check = Callable[[], str]
"""Empty if all is well, else what is wrong, in one sentence."""


class HttpServer:
    """Serves until closed."""

    def __init__(
        self, *, healthy: Sequence[Check], ready: Sequence[Check], metrics: Callable[[], bytes]
    ) -> None:
        """``healthy``: what only a restart mends; ``ready``: whether the process does its work."""

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop listening."""
