"""How gateways are asked: plain HTTP inside the cluster, with bounds on time and size."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class HttpFetch:
    """Fetches bodies; one connection pool for all gateways. An async context manager."""

    def __init__(self, *, timeout: float = 3.0, max_bytes: int = 16 * 1024 * 1024) -> None:
        """``timeout``: seconds for the whole of one request."""

    async def __aenter__(self) -> Self:
        """Open the pool."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""

    async def __call__(self, url: str) -> bytes:
        """The body of a 200.

        Raises:
            FetchError: anything else.
        """
        raise NotImplementedError
