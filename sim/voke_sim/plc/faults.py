"""What can be wrong with a PLC, as faults to switch on and off while it runs.

A fault is a small value that reshapes the :class:`Plan` of how a request is treated. Several may be on at
once: they are asked in the order in which they were switched on, and the first exception code stands.
Chance comes from an injected Random and time from an injected clock, so a run can be repeated exactly.

A listener that refuses connections is not here but on the server: ``ModbusServer.refuse_connections``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from voke_sim.plc.bank import TableName
from voke_sim.plc.requests import DEVICE_BUSY, ILLEGAL_ADDRESS, ILLEGAL_VALUE, Request

Edit = Callable[[bytes], bytes]
"""Changes a whole reply frame (MBAP header and PDU)."""

HEADER_SIZE = 7
"""Bytes of the MBAP header, unit id included."""


@dataclass(slots=True)
class Plan:
    """How one request will be treated; faults change it, the server carries it out."""

    random: Random
    """For faults that need chance."""
    exception: int = 0
    """Answer with this exception code and do nothing else; 0: none."""
    execute: bool = True
    """Do what the request asks."""
    reply: bool = True
    delay: float = 0.0
    """Seconds before the reply; the connection's next request waits."""
    late: float = 0.0
    """Seconds before the reply; the connection's next request does not wait."""
    edits: list[Edit] = field(default_factory=list)
    piece: int = 0
    """Send the reply in pieces of this many bytes; 0: whole."""
    reset_after: int | None = None
    """Send this many bytes of the reply, then reset the connection."""
    close: bool = False
    """Close the connection after the reply, if there is one."""


class Fault:
    """Something wrong with how requests are answered."""

    def concerns(self, request: Request) -> bool:  # noqa: ARG002 - some faults look at it
        """Whether the fault strikes this request at all."""
        return True

    def shape(self, plan: Plan) -> None:
        """Change the plan of a request that it strikes."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Silent(Fault):
    """Takes requests and neither acts nor answers; for one unit: a dead unit behind a live gateway."""

    def shape(self, plan: Plan) -> None:
        """Nothing happens."""
        plan.execute = plan.reply = False


@dataclass(frozen=True, slots=True)
class LostReply(Fault):
    """Does what was asked, but the reply never arrives: the client cannot know."""

    def shape(self, plan: Plan) -> None:
        """Act, then say nothing."""
        plan.reply = False


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Takes so many seconds for each request, one after the other."""

    seconds: float

    def shape(self, plan: Plan) -> None:
        """Delay the reply and what comes after it."""
        plan.delay += self.seconds


@dataclass(frozen=True, slots=True)
class Late(Fault):
    """The reply comes so many seconds later, perhaps after that of a newer request."""

    seconds: float

    def shape(self, plan: Plan) -> None:
        """Delay this reply only."""
        plan.late += self.seconds


@dataclass(frozen=True, slots=True)
class ExceptionReply(Fault):
    """Answers everything with one exception code."""

    code: int

    def shape(self, plan: Plan) -> None:
        """Refuse."""
        plan.exception = plan.exception or self.code


BUSY = ExceptionReply(DEVICE_BUSY)
"""Switch it on with ``lasting`` or ``times``: busy for a while."""


@dataclass(frozen=True, slots=True)
class RefusedBlock(Fault):
    """Requests that touch an address of ``first`` … ``last`` get exception 2."""

    first: int
    last: int
    table: TableName | None = None
    """None: in every table."""

    def concerns(self, request: Request) -> bool:
        """Those that overlap."""
        here = self.table in (None, request.table)
        return here and request.address <= self.last and request.last >= self.first

    def shape(self, plan: Plan) -> None:
        """Refuse."""
        plan.exception = plan.exception or ILLEGAL_ADDRESS


@dataclass(frozen=True, slots=True)
class MaxRegisters(Fault):
    """Requests for more than ``limit`` registers get exception 3."""

    limit: int

    def concerns(self, request: Request) -> bool:
        """Those that are too long."""
        return request.table in ("holding", "input") and request.quantity > self.limit

    def shape(self, plan: Plan) -> None:
        """Refuse."""
        plan.exception = plan.exception or ILLEGAL_VALUE


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """Resets the connection after so many bytes of the reply."""

    after: int = 4

    def shape(self, plan: Plan) -> None:
        """Cut the reply with a TCP reset."""
        plan.reset_after = self.after


@dataclass(frozen=True, slots=True)
class CloseInstead(Fault):
    """Closes the connection in place of an answer."""

    def shape(self, plan: Plan) -> None:
        """Hang up."""
        plan.reply = False
        plan.execute = False
        plan.close = True


@dataclass(frozen=True, slots=True)
class WrongFunction(Fault):
    """The reply's function code is another one (0x04 for 0x03 and so on)."""

    def shape(self, plan: Plan) -> None:
        """Flip the bits that tell holding from input."""
        plan.edits.append(
            lambda frame: frame[:HEADER_SIZE] + bytes((frame[HEADER_SIZE] ^ 0x07,)) + frame[HEADER_SIZE + 1 :]
        )


@dataclass(frozen=True, slots=True)
class WrongTransaction(Fault):
    """The reply carries the transaction id of ``back`` requests ago."""

    back: int = 1

    def shape(self, plan: Plan) -> None:
        """Count the transaction id down."""
        plan.edits.append(
            lambda frame: ((int.from_bytes(frame[:2]) - self.back) & 0xFFFF).to_bytes(2) + frame[2:]
        )


@dataclass(frozen=True, slots=True)
class WrongUnit(Fault):
    """The reply comes from another unit id."""

    unit: int

    def shape(self, plan: Plan) -> None:
        """Answer in another's name."""
        plan.edits.append(lambda frame: frame[:6] + bytes((self.unit,)) + frame[HEADER_SIZE:])


@dataclass(frozen=True, slots=True)
class ShortReply(Fault):
    """A well-formed read reply that holds ``missing`` bytes less than asked for."""

    missing: int = 2

    def concerns(self, request: Request) -> bool:
        """Reads."""
        return not request.is_write

    def shape(self, plan: Plan) -> None:
        """Take bytes off the end and mend the lengths."""
        plan.edits.append(self._shorten)

    def _shorten(self, frame: bytes) -> bytes:
        if frame[HEADER_SIZE] & 0x80:
            return frame
        content = frame[HEADER_SIZE + 2 :]
        content = content[: max(0, len(content) - self.missing)]
        length = 3 + len(content)
        return frame[:4] + length.to_bytes(2) + frame[6 : HEADER_SIZE + 1] + bytes((len(content),)) + content


@dataclass(frozen=True, slots=True)
class TruncatedReply(Fault):
    """The frame's last ``missing`` bytes never come, although its length promises them."""

    missing: int = 1

    def shape(self, plan: Plan) -> None:
        """Take bytes off the end and leave the lengths."""
        plan.edits.append(lambda frame: frame[: -self.missing])


@dataclass(frozen=True, slots=True)
class Garbage(Fault):
    """Random bytes in place of the reply."""

    size: int = 40

    def shape(self, plan: Plan) -> None:
        """Replace the frame."""
        noise = plan.random.randbytes(self.size)
        plan.edits.append(lambda _: noise)


@dataclass(frozen=True, slots=True)
class InPieces(Fault):
    """A correct reply that arrives in TCP segments of ``size`` bytes."""

    size: int = 1

    def shape(self, plan: Plan) -> None:
        """Cut the reply up."""
        plan.piece = self.size


@dataclass(frozen=True, slots=True)
class AcceptThenClose(Fault):
    """Takes a connection and closes it at once; connections that are open already live on."""

    def concerns(self, request: Request) -> bool:  # noqa: ARG002 - it strikes connections
        """No request."""
        return False


@dataclass(eq=False, slots=True)
class ActiveFault:
    """A fault that is switched on, and for whom."""

    fault: Fault
    unit: int | None
    """None: for every unit of the server."""
    chance: float
    left: int | None
    """How many more times it strikes; None: for ever."""
    until: float | None
    """On the faults' clock; None: for ever."""
    struck: int = 0
    """How often it has struck."""


class Faults:
    """The faults of one server. Empty, it costs nothing."""

    def __init__(self, *, clock: Callable[[], float], random: Random) -> None:
        self._clock = clock
        self._random = random
        self.active: list[ActiveFault] = []

    def add(
        self,
        fault: Fault,
        *,
        unit: int | None = None,
        chance: float = 1.0,
        times: int | None = None,
        lasting: float | None = None,
    ) -> ActiveFault:
        """Switch a fault on.

        Args:
            fault: what is wrong.
            unit: only for this unit id; None: for the whole server.
            chance: share of the requests that it strikes.
            times: it is gone after so many strikes.
            lasting: seconds until it is gone.
        """
        until = None if lasting is None else self._clock() + lasting
        active = ActiveFault(fault, unit, chance, times, until)
        self.active.append(active)
        return active

    def remove(self, active: ActiveFault) -> None:
        """Switch one fault off; it may be gone already."""
        if active in self.active:
            self.active.remove(active)

    def clear(self) -> None:
        """Switch all faults off."""
        self.active.clear()

    def plan(self, request: Request) -> Plan:
        """How this request will be treated."""
        plan = Plan(self._random)
        for active in tuple(self.active):
            mine = active.unit in (None, request.unit) and active.fault.concerns(request)
            if mine and self._strikes(active):
                active.fault.shape(plan)
        return plan

    def turns_away(self) -> bool:
        """Whether a new connection is closed at once."""
        return any(
            isinstance(active.fault, AcceptThenClose) and self._strikes(active)
            for active in tuple(self.active)
        )

    def _strikes(self, active: ActiveFault) -> bool:
        if active.until is not None and self._clock() >= active.until:
            self.remove(active)
            return False
        if active.chance < 1.0 and self._random.random() >= active.chance:
            return False
        active.struck += 1
        if active.left is not None:
            active.left -= 1
            if active.left <= 0:
                self.remove(active)
        return True
