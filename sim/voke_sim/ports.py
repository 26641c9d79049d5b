"""Ports for what is not listening yet, or will stop listening for a while and come back."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from typing import Final

PORTS: Final = range(15_000, 30_000)
"""Below those that kernels give to connections and to listeners that ask for any: a port of these would be
somebody's soon. Above are Kubernetes' node ports."""


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """So many different ports that nobody has at this moment.

    Raises:
        OSError: there are not so many.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((address, port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"fewer than {count} ports of {address} are free from {PORTS[0]} to {PORTS[-1]}")
