"""A Modbus TCP server for many simulated PLCs in one process.

Written for this project because nothing of the gateway's own stack may judge the gateway, because faults
have to reach down to single bytes and connections, and because one core has to carry the other end of a
benchmark: a request to a unit without faults costs a few microseconds.

Framing as in the Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from struct import Struct
from typing import Self, cast

from voke_sim.plc.bank import Bank, TableName
from voke_sim.plc.faults import Fault, Faults, Plan
from voke_sim.plc.requests import (
    NO_REPLY_FROM_TARGET,
    Request,
    RequestError,
    exception_reply,
    execute,
    parse,
)

_HEADER = Struct(">HHHB")
_SHORTEST, _LONGEST = 2, 254
"""Bounds of the MBAP length field: unit id and a PDU of 1 to 253 bytes."""
_MOST_BUFFERED = 16 * 1024
"""Bytes a client may send ahead of the replies before it is no longer read."""
_LINGER_OFF = Struct("ii").pack(1, 0)
"""SO_LINGER with time 0: closing sends a reset."""


@dataclass(slots=True)
class Unit:
    """What answers to one unit id."""

    bank: Bank
    check: Callable[[Request], int] | None = None
    """Asked before a write; an exception code refuses it, 0 lets it through."""
    written: Callable[[Request], None] | None = None
    """Told after a write."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that was carried out."""

    time: float
    """On the server's clock."""
    unit: int
    table: TableName
    address: int
    count: int
    data: bytes
    """As in :class:`~voke_sim.plc.requests.Request`."""

    @property
    def values(self) -> tuple[int, ...]:
        """Unsigned register values, or the coils as 0 and 1."""
        if self.table == "holding":
            return tuple(int.from_bytes(self.data[i : i + 2]) for i in range(0, len(self.data), 2))
        number = int.from_bytes(self.data, "little")
        return tuple(number >> k & 1 for k in range(self.count))


@dataclass(slots=True)
class ServerStats:
    """Counters of one server; they only ever grow, except ``connections_open``."""

    requests: int = 0
    by_unit: Counter[int] = field(default_factory=Counter)
    by_function: Counter[int] = field(default_factory=Counter)
    exceptions: Counter[int] = field(default_factory=Counter)
    """By code."""
    malformed: int = 0
    """Frames after which the stream could not be trusted any more."""
    connections: int = 0
    """Connections that were accepted and kept."""
    connections_open: int = 0
    connections_peak: int = 0
    """Most that were open at once."""
    connections_turned_away: int = 0
    """Closed at once, because all slots were taken or a fault said so."""


class ModbusServer:
    """One Modbus TCP endpoint: a port, its units, its connection slots, its faults."""

    def __init__(
        self,
        units: Mapping[int, Unit],
        *,
        max_connections: int | None = None,
        unknown_unit: int | None = NO_REPLY_FROM_TARGET,
        any_unit: bool = False,
        random: Random | None = None,
        record_requests: bool = False,
    ) -> None:
        """Make a server that does not listen yet.

        Args:
            units: by unit id.
            max_connections: slots; further connections are closed at once.
            unknown_unit: exception code for a unit id that is not there; None: no answer at all.
            any_unit: the first unit answers to every id, as PLCs without sub-units do.
            random: chance for the faults.
            record_requests: keep every request in ``requests``.
        """
        self.units = dict(units)
        self.max_connections = max_connections
        self.stats = ServerStats()
        self.faults = Faults(clock=self.now, random=random or Random(0))
        self.writes: deque[Write] = deque(maxlen=100_000)
        self.requests: deque[tuple[float, Request]] | None = (
            deque(maxlen=100_000) if record_requests else None
        )
        self._unknown_unit = unknown_unit
        self._fallback = next(iter(self.units.values()), None) if any_unit else None
        self._sessions: set[_Session] = set()
        self._listener: asyncio.Server | None = None
        self._reservation: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.host = ""
        self.port = 0

    def now(self) -> float:
        """The server's clock: the event loop's time."""
        return (self._loop or asyncio.get_running_loop()).time()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Listen; port 0 takes a free one, which ``port`` then tells.

        Raises:
            OSError: somebody else has the port, or it may not be had.
        """
        self._loop = asyncio.get_running_loop()
        bound = _bind(host, port, shared=self._reservation is not None)
        self.host, self.port = bound.getsockname()[:2]
        self._listener = await self._loop.create_server(lambda: _Session(self), sock=bound, backlog=512)
        return self

    async def stop(self) -> None:
        """Close the port and every connection."""
        self._close_listener()
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None
        self.drop_connections()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self if self._listener is not None else await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def drop_connections(self, *, reset: bool = True) -> None:
        """Close all connections, with a TCP reset or in an orderly way."""
        for session in tuple(self._sessions):
            session.hang_up(reset=reset)

    def refuse_connections(self, *, drop: bool = True) -> None:
        """Close the port, as when the PLC is switched off or restarts; the port stays ours."""
        if self._reservation is None:
            self._reservation = _bind(self.host, self.port, shared=True, keeping=True)
        self._close_listener()
        if drop:
            self.drop_connections()

    async def accept_connections(self) -> None:
        """Open the port again."""
        if self._listener is None:
            await self.start(self.host, self.port)
        if self._reservation is not None:
            self._reservation.close()
            self._reservation = None

    def fail(
        self,
        fault: Fault,
        *,
        unit: int | None = None,
        chance: float = 1.0,
        times: int | None = None,
        lasting: float | None = None,
    ) -> Callable[[], None]:
        """Switch a fault on (see :meth:`Faults.add`) and return what switches it off."""
        active = self.faults.add(fault, unit=unit, chance=chance, times=times, lasting=lasting)
        return lambda: self.faults.remove(active)

    def answer(self, unit: Unit, request: Request) -> bytes:
        """Carry out a request and return the reply's PDU.

        Raises:
            RequestError: the unit refuses it.
        """
        if not request.is_write:
            return execute(request, unit.bank)
        if unit.check is not None and (code := unit.check(request)):
            raise RequestError(code)
        reply = execute(request, unit.bank)
        self.writes.append(
            Write(self.now(), request.unit, request.table, request.address, request.quantity, request.data)
        )
        if unit.written is not None:
            unit.written(request)
        return reply

    def frame(self, transaction: int, unit_id: int, pdu: bytes) -> tuple[bytes, Plan | None]:
        """The reply frame to a request, empty for none, and the plan for it if a fault is on."""
        stats = self.stats
        stats.requests += 1
        stats.by_unit[unit_id] += 1
        stats.by_function[pdu[0]] += 1
        unit = self.units.get(unit_id) or self._fallback
        plan: Plan | None = None
        try:
            if unit is None:
                if self._unknown_unit is None:
                    return b"", None
                raise RequestError(self._unknown_unit)  # noqa: TRY301 - one place makes exception replies
            request = parse(unit_id, pdu)
            if self.requests is not None:
                self.requests.append((self.now(), request))
            if self.faults.active:
                plan = self.faults.plan(request)
                if plan.exception and plan.execute:
                    raise RequestError(plan.exception)  # noqa: TRY301
            reply = self.answer(unit, request) if plan is None or plan.execute else b""
        except RequestError as error:
            stats.exceptions[error.code] += 1
            reply = exception_reply(pdu[0], error.code)
        if plan is not None and not plan.reply:
            return b"", plan
        frame = _HEADER.pack(transaction, 0, len(reply) + 1, unit_id) + reply
        if plan is not None:
            for edit in plan.edits:
                frame = edit(frame)
        return frame, plan

    def admit(self, session: _Session) -> bool:
        """Whether a new connection gets a slot."""
        stats = self.stats
        full = self.max_connections is not None and len(self._sessions) >= self.max_connections
        if full or (self.faults.active and self.faults.turns_away()):
            stats.connections_turned_away += 1
            return False
        self._sessions.add(session)
        stats.connections += 1
        stats.connections_open = len(self._sessions)
        stats.connections_peak = max(stats.connections_peak, stats.connections_open)
        return True

    def release(self, session: _Session) -> None:
        """A connection is gone."""
        self._sessions.discard(session)
        self.stats.connections_open = len(self._sessions)

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None


class _Session(asyncio.Protocol):
    """One client's connection: puts frames together from the stream and answers them in order."""

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._buffer = bytearray()
        self._blocked: asyncio.TimerHandle | None = None
        """A reply is on its way; what was sent after its request waits."""
        self._client_is_slow = False
        self._timers: set[asyncio.TimerHandle] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._closing = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the protocol
        self._transport = None
        self._closing = True
        self._server.release(self)
        if self._blocked is not None:
            self._blocked.cancel()
        for timer in self._timers:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._blocked is None and not self._client_is_slow:
            self._serve()
        elif len(self._buffer) > _MOST_BUFFERED and self._transport is not None:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self._client_is_slow = True

    def resume_writing(self) -> None:
        self._client_is_slow = False
        self._go_on()

    def hang_up(self, *, reset: bool) -> None:
        """Close the connection, with a reset or after what was written has been sent."""
        transport = self._transport
        self._closing = True
        if transport is None:
            return
        if not reset:
            transport.close()
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        transport.abort()

    def _serve(self) -> None:
        """Answer the whole frames in the buffer, until one of them makes the rest wait."""
        buffer = self._buffer
        position = 0
        while (
            not self._closing
            and self._blocked is None
            and not self._client_is_slow
            and len(buffer) - position >= _HEADER.size
        ):
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer, position)
            if protocol != 0 or not _SHORTEST <= length <= _LONGEST:
                self._server.stats.malformed += 1
                self.hang_up(reset=False)
                break
            end = position + 6 + length
            if end > len(buffer):
                break
            pdu = bytes(buffer[position + 7 : end])
            position = end
            frame, plan = self._server.frame(transaction, unit, pdu)
            if plan is None:
                self._write(frame)
            else:
                self._carry_out(frame, plan)
        del buffer[:position]

    def _carry_out(self, frame: bytes, plan: Plan) -> None:
        if plan.delay:
            self._blocked = _loop().call_later(plan.delay, self._unblock, frame, plan)
        else:
            self._send_or_wait(frame, plan)

    def _unblock(self, frame: bytes, plan: Plan) -> None:
        self._blocked = None
        self._send_or_wait(frame, plan)
        self._go_on()

    def _send_or_wait(self, frame: bytes, plan: Plan) -> None:
        if plan.late:
            self._later(plan.late, self._send, frame, plan)
        else:
            self._send(frame, plan)

    def _send(self, frame: bytes, plan: Plan) -> None:
        if plan.reset_after is not None:
            if plan.reset_after:
                self._write(frame[: plan.reset_after])
            # A moment later, so that the bytes before the reset leave the process.
            self._later(0.01, self._reset)
        elif plan.piece and frame:
            self._send_pieces(frame, plan.piece)
        else:
            self._write(frame)
        if plan.close:
            self.hang_up(reset=False)

    def _send_pieces(self, rest: bytes, size: int) -> None:
        self._write(rest[:size])
        if len(rest) > size:
            # The replies to pipelined requests must not come in between.
            self._blocked = _loop().call_later(0.001, self._next_piece, rest[size:], size)

    def _next_piece(self, rest: bytes, size: int) -> None:
        self._blocked = None
        self._send_pieces(rest, size)
        self._go_on()

    def _write(self, content: bytes) -> None:
        if content and not self._closing and self._transport is not None:
            self._transport.write(content)

    def _go_on(self) -> None:
        if self._blocked is None and not self._client_is_slow:
            self._serve()
            if not self._closing and self._transport is not None and len(self._buffer) <= _MOST_BUFFERED:
                self._transport.resume_reading()

    def _reset(self) -> None:
        self.hang_up(reset=True)

    def _later(self, seconds: float, act: Callable[..., None], *args: object) -> None:
        def run() -> None:
            self._timers.discard(timer)
            act(*args)

        timer = _loop().call_later(seconds, run)
        self._timers.add(timer)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _bind(host: str, port: int, *, shared: bool, keeping: bool = False) -> socket.socket:
    """A socket at that address.

    Args:
        host: Address.
        port: Port; 0: a free one.
        shared: Although one of ours is there.
        keeping: Against all others, though it will not listen.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, not keeping)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        bound.bind((host, port))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # for one of ours that comes later
    except OSError:
        bound.close()
        raise
    return bound
