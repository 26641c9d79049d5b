"""A read-only HTTP server for a handful of paths: probes, metrics and status.

h11 parses; one response per request, small bodies, nothing to configure. A client that is slow or silent is
dropped, and beyond the limit one of the address that has most, so that a probe always gets its answer: whoever
looks at the gateway must not be able to hold it up.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

import h11
import structlog

MAX_CLIENTS: Final = 64
MAX_PORT: Final = 65_535
IDLE_LIMIT: Final = 10.0
"""Seconds that a client may take for a request, for taking the response, or be silent between two."""
FRESH: Final = 1.0
"""Seconds for which an answer that is costly to make is given again."""

_HOST: Final = re.compile(r"(\[[^]]*]|[^][:]*)(?::\d*)?")
"""A header Host: a name or an address, with or without a port."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Response:
    """What a path answers."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Routes = Mapping[str, Callable[[], Response]]
Query = Mapping[str, list[str]]
"""What was asked behind the path: values by name."""
Questions = Mapping[str, Callable[[Query], Awaitable[Response]]]
"""Paths whose answer depends on what was asked, and may take as long as it takes."""


def at_most_a_second_old(
    make: Callable[[], Response], *, now: Callable[[], float] = time.monotonic
) -> Callable[[], Response]:
    """What ``make`` answers, made once in ``FRESH`` seconds however often it is asked for."""
    made: Response | None = None
    made_at = 0.0

    def answer() -> Response:
        nonlocal made, made_at
        asked_at = now()
        if made is None or asked_at - made_at >= FRESH:
            made, made_at = make(), asked_at
        return made

    return answer


class AddressInUseError(Exception):
    """The address cannot be listened on; the message says what to do."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9100``, ``[::1]:9100``, ``localhost:9100`` or ``:9100`` (all interfaces).

    Raises:
        ValueError: it is none of these.
    """
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9100")
    if ":" in host:
        ipaddress.IPv6Address(host)
    return host or "0.0.0.0", int(port)  # noqa: S104 - all interfaces, because it was asked for


def parse_loopback(text: str) -> tuple[str, int]:
    """The same, for what only this machine, or this pod, may ask.

    Raises:
        ValueError: it is not of that form, or not a loopback address.
    """
    host, port = parse_address(text)
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"{text!r} is not a loopback address with a port, such as 127.0.0.1:9101")
    return host, port


class HttpServer:
    """Serves ``routes`` and ``questions`` until closed."""

    def __init__(
        self, routes: Routes, questions: Questions | None = None, *, by_address: bool = False
    ) -> None:
        """``by_address``: only requests to an address or to localhost are answered, none to a name.

        A web page whose own name leads to a loopback address (DNS rebinding) could have a browser ask otherwise.
        """
        self._routes = routes
        self._by_address = by_address
        self._questions = questions or {}
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], str] = {}
        """The address of each, in order of arrival."""

    async def start(self, host: str, port: int, *, option: str = "--http") -> int:
        """Listen; port 0 takes a free one. Returns the port. ``option`` is where the address was given.

        Raises:
            AddressInUseError: the address is taken or is not ours.
        """
        try:
            self._server = await asyncio.start_server(self._accept, host, port, limit=16_384)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name can be like this
            reason = (isinstance(error, OSError) and error.strerror) or error
            raise AddressInUseError(
                f"cannot listen on {host}:{port} ({reason}): choose another with {option}"
            ) from error
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    async def close(self) -> None:
        """Stop listening and drop the clients."""
        if self._server is not None:
            self._server.close()
        for client in tuple(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= MAX_CLIENTS:
            self._drop_one()
        self._clients[task] = str((writer.get_extra_info("peername") or ("",))[0])  # none: it is gone already
        try:
            with suppress(OSError, TimeoutError, h11.RemoteProtocolError, h11.LocalProtocolError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # close() ends this task, and nobody waits for its result
        finally:
            self._clients.pop(task, None)
            writer.transport.abort()

    def _drop_one(self) -> None:
        """The first of an address that has most: thus a flood takes the place of its own, and of no probe."""
        counts = Counter(self._clients.values())
        most = max(counts.values())
        first = next(client for client, address in self._clients.items() if counts[address] == most)
        del self._clients[first]
        first.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16_384)
        writer.transport.set_write_buffer_limits(high=0)
        while True:
            request = None
            async with asyncio.timeout(IDLE_LIMIT):
                while True:
                    event = connection.next_event()
                    if event is h11.NEED_DATA:
                        connection.receive_data(await reader.read(8192))
                    elif isinstance(event, h11.Request):
                        request = event
                    elif isinstance(event, h11.EndOfMessage):
                        break
                    elif isinstance(event, h11.ConnectionClosed):
                        return
            assert request is not None
            writer.write(_sent(connection, request, await self._answer(request)))
            async with asyncio.timeout(IDLE_LIMIT):
                await writer.drain()  # all of it, see above: what is left would be held for who does not read
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            if connection.trailing_data[0]:
                return  # requests sent ahead of their responses would be served without letting others in
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            return Response(b"only GET is served here\n", status=405)
        if self._by_address and not _is_address(request):
            return Response(b"ask by address, such as http://127.0.0.1:PORT\n", status=421)
        path, _, asked = request.target.decode("ascii", "replace").partition("?")
        try:
            if path in self._routes:
                return self._routes[path]()
            if path in self._questions:
                return await self._questions[path](parse_qs(asked))
        except Exception:  # a fault in a report must not end the server
            log.exception("http handler failed", path=path)
            return Response(b"internal error, see the log\n", status=500)
        known = " ".join(sorted([*self._routes, *self._questions]))
        return Response(f"not found; there is: {known}\n".encode(), status=404)


def _is_address(request: h11.Request) -> bool:
    """Whether a request is to an address, as its header Host says; a client without one is no browser."""
    given = next((value.decode("latin-1") for name, value in request.headers if name == b"host"), "localhost")
    found = _HOST.fullmatch(given)
    host = "" if found is None else found[1].strip("[]").lower()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def _sent(connection: h11.Connection, request: h11.Request, response: Response) -> bytes:
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ]
    body = b"" if request.method == b"HEAD" else response.body
    sent = connection.send(h11.Response(status_code=response.status, headers=headers)) or b""
    sent += connection.send(h11.Data(data=body)) or b""
    return sent + (connection.send(h11.EndOfMessage()) or b"")
