"""A server on loopback that says what it is told to, byte by byte if need be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def answering(*said: bytes, then: Iterable[bytes] = ()) -> Iterator[int]:
    """Port of a server that says this to the first who asks, and ``then`` as long as that one listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    for part in said:
                        connection.sendall(part)
                    for part in then:
                        connection.sendall(part)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()
