"""Servers and connections to them on the virtual clock: what is sent arrives at once and in order.

For tests of time-outs against a server of the same test, where a busy machine must not decide who was too slow.
What sockets themselves do, resets among it, is for tests on real ones.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from tests.support.virtual_time import VirtualTimeLoop, run

Protocols = Callable[[], asyncio.BaseProtocol]


class VirtualNetworkLoop(VirtualTimeLoop):
    """A virtual clock on which TCP works as far as its own servers."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: dict[int, Protocols] = {}
        self._free_ports = count(50_000)

    async def create_server(self, protocol_factory: Protocols, host: Any, port: int, **_: Any) -> Any:  # type: ignore[override]
        """Listen; port 0 is a free one."""
        port = port or next(self._free_ports)
        self.listeners[port] = protocol_factory
        return _Server(self.listeners, port)

    async def create_connection(self, protocol_factory: Protocols, host: Any, port: int, **_: Any) -> Any:  # type: ignore[override]
        """Connect to one of this loop's servers; refused if there is none on that port."""
        listener = self.listeners.get(port)
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        here, there = _End(protocol_factory()), _End(listener())
        here.other, there.other = there, here
        there.protocol.connection_made(there)
        here.protocol.connection_made(here)
        return here, here.protocol


class _Server:
    """What little of ``asyncio.Server`` tests use; also stands for its only socket."""

    def __init__(self, listeners: dict[int, Protocols], port: int) -> None:
        self.sockets = (self,)
        self._listeners = listeners
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self._port

    def close(self) -> None:
        self._listeners.pop(self._port, None)


class _End(asyncio.Transport):
    """One end of a connection."""

    other: _End

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self._loop.call_soon(self.other.receive, bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)
            self._loop.call_soon(self.other.hear_the_end)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def receive(self, data: bytes) -> None:
        if not self._closing:
            self.protocol.data_received(data)

    def hear_the_end(self) -> None:
        if not self._closing and not self.protocol.eof_received():
            self.close()


def on_virtual_network(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is run on a new :class:`VirtualNetworkLoop`, where a minute takes no time."""

    def run_it() -> None:
        run(test(), loop_factory=VirtualNetworkLoop)

    run_it.__name__ = test.__name__
    return run_it
