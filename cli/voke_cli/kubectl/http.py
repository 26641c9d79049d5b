"""One GET and its answer over plain HTTP, whoever it is that answers.

No redirect is followed: a client that adds credentials would bring them to wherever the answer says. Size and time are
bounded, each for the whole of the answer.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h11

from voke_api.status import MAX_BYTES

_HEAD: Final = 65_536
"""Bytes of an answer's head."""
_READ: Final = 65_536

Address = Path | tuple[str, int]
"""A Unix socket, or host and port."""


class NotHttpError(Exception):
    """What came is no HTTP, or more of it than was wanted; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whatever its status."""

    status: int
    body: bytes

    @property
    def redirects(self) -> bool:
        """It sends whoever asks somewhere else."""
        return 300 <= self.status < 400  # noqa: PLR2004 - as HTTP numbers them


def get(address: Address, target: str, *, host: str, within: float, at_most: int = MAX_BYTES) -> Answer:
    """Ask once.

    Args:
        address: Where to.
        target: Path and query.
        host: For the header ``Host``.
        within: Seconds for all of it.
        at_most: Bytes of the body.

    Raises:
        TimeoutError: it has not ended within that time.
        OSError: there is no connection.
        NotHttpError: the answer is no HTTP, or too large.
    """
    deadline = time.monotonic() + within
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
    headers = [("Host", host), ("Accept", "application/json"), ("Connection", "close")]
    asked = connection.send(h11.Request(method="GET", target=target, headers=headers)) or b""
    connection.send(h11.EndOfMessage())
    status, body = 0, bytearray()
    with _connected(address, within) as wire:
        try:
            wire.sendall(asked)
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                match event:
                    case h11.NEED_DATA:
                        connection.receive_data(_received(wire, deadline))
                    case h11.Response():
                        status = event.status_code
                    case h11.Data():
                        body += event.data
                        if len(body) > at_most:
                            raise NotHttpError(f"its answer is larger than {at_most} bytes")
        except (h11.RemoteProtocolError, ConnectionError):
            raise NotHttpError("it cut the connection, or does not speak HTTP") from None
    return Answer(status=status, body=bytes(body))


def _connected(address: Address, within: float) -> socket.socket:
    if not isinstance(address, Path):
        return socket.create_connection(address, within)
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.settimeout(within)
        wire.connect(str(address))
    except OSError:
        wire.close()
        raise
    return wire


def _received(wire: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    wire.settimeout(left)
    return wire.recv(_READ)
