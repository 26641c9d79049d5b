"""One TCP connection to a Modbus server: one request at a time, each with its own reply or none.

Our own rather than pymodbus' client, which lets a late reply answer a newer request in two ways and loses
the right reply behind late ones (``tests/gateway/drivers/modbus/test_pymodbus_client.py`` shows each).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Self, TypeVar, cast

from voke_gateway.drivers.base import FaultKind
from voke_gateway.drivers.modbus.frames import (
    HEADER,
    LONGEST,
    SHORTEST,
    ConnectionLostError,
    ExchangeError,
    MalformedReplyError,
    NoReplyError,
    NotSentError,
    Request,
    payload,
)
from voke_gateway.names import AddressInfo, resolve
from voke_gateway.timeouts import Timeouts

_C = TypeVar("_C", bound=asyncio.Protocol)

_LAST_TRANSACTION = 0xFFFF


class Client(asyncio.Protocol):
    """A connected socket. Used from one task at a time; made by :meth:`connect`.

    Every request has a transaction id of its own (1 … 65,535, never 0, which some servers answer with); a
    frame with another id is late or strange, and is counted and dropped. What is not Modbus ends the
    connection, because where the next frame starts is unknown then.

    Args:
        late: Told the unit id of every frame that answers no request.
        lost: Told once when the connection has ended, for whatever reason.
    """

    def __init__(self, *, late: Callable[[int], None], lost: Callable[[], None]) -> None:
        self._late = late
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._closed = self._loop.create_future()
        self._received = b""
        self._transaction = 0
        self._request: Request | None = None
        self._reply: asyncio.Future[bytes] | None = None
        self._timeouts: Timeouts | None = None
        """Of the length that the last request was given."""
        self._overdue = self._give_up
        self._stray = ""
        self._end = ""
        self.replies = 0
        """Replies to requests of ours, exceptions included."""

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        within: float,
        late: Callable[[int], None],
        lost: Callable[[], None],
    ) -> Self:
        """Resolve ``host`` and connect, trying its addresses one after the other.

        Raises:
            NotSentError: no connection after ``within`` seconds; says why.
        """
        place = f"{host}:{port}"
        try:
            async with asyncio.timeout(within):
                return await _connect(await resolve(host), port, lambda: cls(late=late, lost=lost))
        except TimeoutError:
            raise NotSentError(f"cannot connect to {place}: no answer in {within:g} s") from None
        except socket.gaierror as error:
            raise NotSentError(f"cannot resolve {host}: {_reason(error)}") from None
        except OSError as error:
            raise NotSentError(f"cannot connect to {place}: {_reason(error)}") from None

    @property
    def open(self) -> bool:
        """Neither side has ended the connection."""
        return self._transport is not None and not self._end

    def request(self, request: Request, within: float) -> asyncio.Future[bytes]:
        """Send a request; the future is what its reply brings (:func:`~.frames.payload`).

        Raises:
            NotSentError: the connection had ended before.
            ConnectionLostError: it ended before the reply.
            NoReplyError: no reply after ``within`` seconds. The connection stays usable.
            ExceptionReplyError: the device refused.
            MalformedReplyError: the reply does not fit.
        """
        if self._transport is None or self._end:
            raise NotSentError(f"the connection was closed before {request.about}")
        self._transaction = transaction = self._transaction % _LAST_TRANSACTION + 1
        self._request = request
        self._reply = reply = self._loop.create_future()
        self._stray = ""
        if self._timeouts is None or self._timeouts.seconds != within:
            self._call_off()
            self._timeouts = Timeouts.of(within)
        self._timeouts.begin(self._overdue)
        self._transport.write(transaction.to_bytes(2, "big") + request.tail)
        return reply

    async def close(self) -> None:
        """Close the socket at once and wait until it is."""
        self._finish("closed by us")
        await asyncio.shield(self._closed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._transport = None
        reason = self._end or (
            f"connection lost: {_reason(exc)}" if exc else "connection closed by the device"
        )
        if self._reply is not None and not self._reply.done() and self._request is not None:
            kind = FaultKind.MALFORMED if self._end.startswith("not Modbus") else FaultKind.UNREACHABLE
            self._reply.set_exception(
                ConnectionLostError(
                    f"{reason} on {self._request.about}", answered_before=self.replies > 0, kind=kind
                )
            )
        self._call_off()
        if not self._closed.done():
            self._closed.set_result(None)
            self._lost()

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if self._received:
            data = self._received + data
        start, size = 0, len(data)
        while size - start >= HEADER.size:
            transaction, protocol, length, unit = HEADER.unpack_from(data, start)
            if protocol or not SHORTEST <= length <= LONGEST:
                self._received = b""
                self._finish(f"not Modbus: {data[start : start + HEADER.size].hex(' ')}")
                return
            end = start + 6 + length
            if size < end:
                break
            self._frame(transaction, unit, data[start + HEADER.size : end])
            start = end
        self._received = data[start:]

    def _frame(self, transaction: int, unit: int, pdu: bytes) -> None:
        reply, request = self._reply, self._request
        if reply is None or request is None or reply.done() or transaction != self._transaction:
            self._stray = f" (one with transaction id {transaction} instead of {self._transaction} came)"
            self._late(unit)
            return
        self.replies += 1
        self._request = self._reply = None
        self._call_off()
        if unit != request.unit:
            reply.set_exception(MalformedReplyError(f"reply from unit {unit} on {request.about}"))
            return
        try:
            brought = payload(request, pdu)
        except ExchangeError as error:
            reply.set_exception(error)
        else:
            reply.set_result(brought)

    def _call_off(self) -> None:
        if self._timeouts is not None:
            self._timeouts.call_off(self._overdue)

    def _give_up(self) -> None:
        reply, request = self._reply, self._request
        if reply is None or reply.done() or request is None or self._timeouts is None:
            return
        within = self._timeouts.seconds
        reply.set_exception(NoReplyError(f"no reply in {within:.2g} s on {request.about}{self._stray}"))

    def _finish(self, reason: str) -> None:
        if self._transport is not None:
            self._end = self._end or reason
            self._transport.abort()


async def _connect(addresses: Sequence[AddressInfo], port: int, client: Callable[[], _C]) -> _C:
    """The first of ``addresses`` that takes a connection."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for _, (address, _, *scope) in addresses:
        where = f"{address}%{scope[1]}" if scope and scope[1] else address
        try:
            _, connected = await loop.create_connection(client, where, port)
        except OSError as error:
            failure = error
        else:
            return connected
    raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and error.errno:
        return os.strerror(error.errno).lower()  # event loops put it each in their own words
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
