"""Host names to addresses, without holding up the event loop, other names, or the end of the process.

Name resolution has no asynchronous form. In a pool of threads a few names that nobody answers for delay all
others, and the process cannot end before the resolver has given up. So each host in question has a thread of
its own, that is shared by all who ask meanwhile and that nobody has to wait for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

KEPT: Final = 5.0
"""Seconds that an answer is used; well below the life of any DNS answer that matters."""

AddressInfo = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family and socket address (its port is 0)."""

_Lookup = asyncio.Future[list[AddressInfo]]

_lookups: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Lookup]]] = WeakKeyDictionary()


async def resolve(host: str) -> list[AddressInfo]:
    """The addresses of ``host``, which may be one itself, best first. May be cancelled at any time.

    Raises:
        socket.gaierror: it does not resolve.
    """
    with suppress(socket.gaierror, UnicodeError):
        return _ask(host, socket.AI_NUMERICHOST)
    loop = asyncio.get_running_loop()
    lookups = _lookups.setdefault(loop, {})
    lookup = lookups.get(host)
    if lookup is None:
        lookup = lookups[host] = loop.create_future()
        lookup.add_done_callback(partial(_keep, lookups, host))
        thread = threading.Thread(target=_look_up, args=(host, lookup), name=f"resolve-{host}", daemon=True)
        try:
            thread.start()
        except (
            RuntimeError
        ):  # the system gives no more of them: many names wait for name servers that are silent
            lookup.set_exception(
                socket.gaierror(socket.EAI_AGAIN, "too many other names are being looked up")
            )
    return await asyncio.shield(lookup)


def _keep(lookups: dict[str, _Lookup], host: str, lookup: _Lookup) -> None:
    """A fleet that reconnects asks once; a failure, which may have nobody waiting any more, is not kept."""
    if lookup.cancelled() or lookup.exception():
        del lookups[host]
    else:
        lookup.get_loop().call_later(KEPT, lookups.pop, host, None)


def _look_up(host: str, lookup: _Lookup) -> None:
    try:
        found = _ask(host)
    except (OSError, UnicodeError) as error:
        failure = error if isinstance(error, OSError) else _no_name()
        finish = partial(_finish, lookup.set_exception, lookup, failure)
    else:
        finish = partial(_finish, lookup.set_result, lookup, found)
    with suppress(RuntimeError):  # the loop was closed meanwhile
        lookup.get_loop().call_soon_threadsafe(finish)


def _finish(tell: Any, lookup: _Lookup, outcome: object) -> None:
    if not lookup.done():
        tell(outcome)


def _ask(host: str, flags: int = 0) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


def _no_name() -> socket.gaierror:
    return socket.gaierror(socket.EAI_NONAME, "not a host name")
