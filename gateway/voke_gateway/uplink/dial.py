"""From host and port to a verified TLS socket, without blocking the event loop.

The socket is non-blocking throughout, so a broker that does not answer holds no thread: any number of
connects may hang without slowing the others, and cancelling one closes its socket at once.

What a handshake computes takes 1–3 ms. When a fleet reconnects, one such slice runs per turn of the event
loop: polling goes on in between.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from voke_gateway.names import AddressInfo, resolve
from voke_gateway.uplink.session import ConnectFailedError
from voke_gateway.uplink.tls import handshake_failure

_Address = tuple[Any, ...]


class Dialler:
    """Opens TLS connections."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    def turn(self) -> asyncio.Lock:
        """To be held while a connect computes. It is handed on from one turn of the event loop to the next."""
        return self._turn

    async def dial(self, host: str, port: int, context: ssl.SSLContext, *, deadline: float) -> ssl.SSLSocket:
        """Connect and shake hands before ``deadline`` (the loop's time).

        Raises:
            ConnectFailedError: with cause and remedy.
            CertificateRefusedError: the broker does not take our client certificate.
        """
        async with within(deadline, f"the name {host} did not resolve in time: check DNS"):
            addresses = await _resolve(host)
        raw = await _connect(host, port, addresses, deadline)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wrapped = context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
        except OSError as error:
            raw.close()
            raise handshake_failure(error, host, port) from error
        try:
            async with within(
                deadline, f"{host}:{port} takes connections but did not answer the TLS handshake in time"
            ):
                await self._shake_hands(wrapped)
        except OSError as error:
            wrapped.close()
            raise handshake_failure(error, host, port) from error
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


async def _resolve(host: str) -> list[AddressInfo]:
    try:
        return await resolve(host)
    except OSError as error:
        raise ConnectFailedError(
            f"the name {host} does not resolve ({error.strerror or error}): check spec.voke.host and DNS"
        ) from error


async def _connect(host: str, port: int, addresses: list[AddressInfo], deadline: float) -> socket.socket:
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
