"""How gateways are asked: plain HTTP inside the cluster, with bounds on time and size."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self

import aiohttp

from voke_api.status import MAX_BYTES
from voke_operator.status.poll import FetchError


class HttpFetch:
    """Fetches bodies; one connection pool for all gateways. An async context manager."""

    def __init__(self, *, timeout: float = 3.0, max_bytes: int = MAX_BYTES) -> None:
        """``timeout``: seconds for the whole of one request. ``max_bytes``: of its body."""
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the pool."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,  # a proxy for the outside world cannot reach pods
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __call__(self, url: str) -> bytes:
        """The body of a 200.

        Raises:
            FetchError: anything else.
        """
        assert self._session is not None, "used as an async context manager"
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status != 200:  # noqa: PLR2004 - its own name
                    raise FetchError(f"it answers HTTP {response.status}")
                return await self._body(response)
        except TimeoutError:
            raise FetchError(f"no answer within {self._timeout:g} s") from None
        except aiohttp.ClientConnectorError as error:
            code = error.os_error.errno  # its text holds the address, which every pod has anew
            raise FetchError(os.strerror(code).lower() if code else "no connection") from None
        except (aiohttp.ClientError, OSError):
            raise FetchError("it cut the connection, or does not speak HTTP") from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            body += chunk
            if len(body) > self._max_bytes:
                raise FetchError(f"its answer is larger than {self._max_bytes} bytes")
        return bytes(body)
