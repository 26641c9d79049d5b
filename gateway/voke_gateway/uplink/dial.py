"""From host and port to a verified TLS socket, without blocking the event loop.

The socket is non-blocking throughout, so a broker that does not answer holds no thread: any number of
connects may hang without slowing the others, and cancelling one closes its socket at once. Only name
resolution has no asynchronous form; each host in question gets one short-lived thread.

What a handshake computes takes 1–3 ms. When a fleet reconnects, one such slice runs per turn of the event
loop: polling goes on in between.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from voke_gateway.uplink.session import ConnectFailedError
from voke_gateway.uplink.tls import handshake_problem

_LOOKUP_KEPT = 5.0  # seconds; well below the life of any DNS answer that matters

_Address = tuple[Any, ...]
_AddressInfo = tuple[socket.AddressFamily, _Address]


class Dialler:
    """Opens TLS connections."""

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Future[list[_AddressInfo]]] = {}
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn of the event loop in which no other connect computes."""
        await self._turn.acquire()
        try:
            yield
        finally:
            asyncio.get_running_loop().call_soon(self._turn.release)

    async def dial(self, host: str, port: int, context: ssl.SSLContext, *, deadline: float) -> ssl.SSLSocket:
        """Connect and shake hands before ``deadline`` (the loop's time).

        Raises:
            ConnectFailedError: with cause and remedy.
        """
        async with within(deadline, f"the name {host} did not resolve in time: check DNS"):
            addresses = await self._resolve(host)
        raw = await _connect(host, port, addresses, deadline)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrapped = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        except OSError as error:
            raw.close()
            raise ConnectFailedError(f"{host}:{port}: {handshake_problem(error, host)}") from error
        try:
            async with within(
                deadline, f"{host}:{port} takes connections but did not answer the TLS handshake in time"
            ):
                await self._shake_hands(wrapped)
        except OSError as error:
            wrapped.close()
            raise ConnectFailedError(f"{host}:{port}: {handshake_problem(error, host)}") from error
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    async def _shake_hands(self, wrapped: ssl.SSLSocket) -> None:
        while True:
            try:
                async with self.turn():
                    return wrapped.do_handshake()
            except ssl.SSLWantReadError:
                await _readable(wrapped)
            except ssl.SSLWantWriteError:
                await _writable(wrapped)

    async def _resolve(self, host: str) -> list[_AddressInfo]:
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.get_running_loop().create_future()
            lookup.add_done_callback(partial(self._keep, host))
            threading.Thread(
                target=_look_up, args=(host, lookup), name=f"resolve-{host}", daemon=True
            ).start()
        try:
            return await asyncio.shield(lookup)
        except OSError as error:
            raise ConnectFailedError(
                f"the name {host} does not resolve ({error.strerror or error}): check spec.voke.host and DNS"
            ) from error

    def _keep(self, host: str, lookup: asyncio.Future[list[_AddressInfo]]) -> None:
        """A fleet that reconnects asks once; a failure, which may have nobody waiting any more, is not kept."""
        if lookup.cancelled() or lookup.exception():
            del self._lookups[host]
        else:
            lookup.get_loop().call_later(_LOOKUP_KEPT, self._lookups.pop, host, None)


@asynccontextmanager
async def within(deadline: float, problem: str) -> AsyncIterator[None]:
    """Raise ConnectFailedError with ``problem`` if the body is not done by ``deadline``."""
    try:
        async with asyncio.timeout_at(deadline) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ConnectFailedError(problem) from None


def _look_up(host: str, lookup: asyncio.Future[list[_AddressInfo]]) -> None:
    found = _addresses(host)

    def finish() -> None:
        if lookup.done():
            return
        if isinstance(found, OSError):
            lookup.set_exception(found)
        else:
            lookup.set_result(found)

    with suppress(RuntimeError):  # the loop was closed meanwhile
        lookup.get_loop().call_soon_threadsafe(finish)


def _addresses(host: str) -> list[_AddressInfo] | OSError:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError:
        return OSError(errno.EINVAL, "not a host name")
    return [(family, address) for family, _, _, _, address in found]


async def _connect(host: str, port: int, addresses: list[_AddressInfo], deadline: float) -> socket.socket:
    """Try one address after the other; each gets its share of the time that is left."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for tried, (family, address) in enumerate(addresses):
        share = (deadline - loop.time()) / (len(addresses) - tried)
        raw = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            async with asyncio.timeout(share):
                await _connect_one(raw, (address[0], port, *address[2:]))
        except OSError as error:
            raw.close()
            failure = error
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    reason = os.strerror(failure.errno) if failure and failure.errno else "no answer in time"
    raise ConnectFailedError(
        f"{host}:{port} is out of reach ({reason}): check host, port and firewall"
    ) from failure


async def _connect_one(raw: socket.socket, address: _Address) -> None:
    code = raw.connect_ex(address)
    if code == errno.EINPROGRESS:
        await _writable(raw)
        code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


async def _readable(sock: socket.socket) -> None:
    loop, descriptor = asyncio.get_running_loop(), sock.fileno()
    ready = loop.create_future()
    loop.add_reader(descriptor, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def _writable(sock: socket.socket) -> None:
    loop, descriptor = asyncio.get_running_loop(), sock.fileno()
    ready = loop.create_future()
    loop.add_writer(descriptor, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
