"""Who on this machine may connect to a PLC: one process, one connection to each ``host:port``.

Many PLCs take one to eight connections, and two programs that both write to one undo each other. So
``voke run`` and ``voke probe`` claim an endpoint before they connect to it. A claim is a locked file (flock)
in a directory of this user's; the kernel frees it when its process ends, however that happens. The file says
who holds it. Other users are not seen: whoever could hold a claim against a gateway could also stop it.

Endpoints are compared by address: a host name is resolved, and each of its addresses is claimed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import quote

from voke_gateway.names import resolve

_BASES: Final = (Path("/run/lock"), Path("/tmp"))  # noqa: S108 - both parties must look in the same place
_STICKY: Final = stat.S_IWOTH | stat.S_ISVTX
_OTHERS: Final = 0o077
_LONGEST_NAME: Final = 200
_LONGEST_HOLDER: Final = 200


class EndpointHeldError(Exception):
    """Somebody else is connected to the endpoint, or about to be; the message says who and what to do."""


class EndpointClaims:
    """Claims endpoints for this process, each once.

    Where the directory cannot be used (a read-only file system, or somebody else made it), claims exclude each
    other inside this process only, and :attr:`trouble` says why.

    Args:
        holder: Who claims, as others will be told, such as ``voke run``.
        directory: Where the locks are, if not where every process of this user looks.
    """

    def __init__(self, holder: str, directory: Path | None = None) -> None:
        self._holder = f"{holder} (process {os.getpid()})"
        self._directory = directory or user_directory()
        self._held: dict[str, str] = {}
        self.trouble = ""
        """Why other processes cannot be told, if they cannot."""
        try:
            _make(self._directory)
        except OSError as error:
            self._cannot(error)

    async def claim(self, host: str, port: int, purpose: str, *, within: float) -> Callable[[], None]:
        """Claim an endpoint; call what is returned to give it back.

        Args:
            host: Name or address.
            port: TCP port.
            purpose: What for, as others will be told, such as ``connection plc1``.
            within: Seconds that resolving the name may take; after that it is claimed as it is written.

        Raises:
            EndpointHeldError: it is held already.
        """
        taken: dict[str, int | None] = {}
        try:
            for address in await _addresses(host, port, within):
                taken[address] = self._take(address, purpose)
        except EndpointHeldError:
            self._give_back(taken)
            raise
        return lambda: self._give_back(taken)

    def _take(self, key: str, purpose: str) -> int | None:
        if key in self._held:
            raise EndpointHeldError(f"{key} is in use by this process already, as {self._held[key]}")
        descriptor: int | None = None
        try:
            descriptor = self._lock(key, f"{self._holder}, {purpose}")
        except OSError as error:
            self._cannot(error)
        self._held[key] = purpose
        return descriptor

    def _cannot(self, error: OSError) -> None:
        self.trouble = f"cannot use {self._directory}: {error.strerror or error}"

    def _lock(self, key: str, holder: str) -> int:
        path = self._path(key)
        _make(self._directory)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(path, descriptor):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, holder.encode()[:_LONGEST_HOLDER], 0)
                    return descriptor
            except BlockingIOError:
                told = os.pread(descriptor, _LONGEST_HOLDER, 0).decode(errors="replace")
                who = "".join(char for char in told if char.isprintable()) or "another process"
                os.close(descriptor)
                raise EndpointHeldError(f"{key} is in use by {who}; a PLC is read by one at a time") from None
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its holder has just taken the file away

    def _give_back(self, taken: dict[str, int | None]) -> None:
        while taken:
            key, descriptor = taken.popitem()
            del self._held[key]
            if descriptor is not None:
                with suppress(OSError):  # somebody has tidied up
                    self._path(key).unlink()
                os.close(descriptor)

    def _path(self, key: str) -> Path:
        name = quote(key, safe=":[]")
        return self._directory / (name if len(name) <= _LONGEST_NAME else sha256(name.encode()).hexdigest())


def user_directory() -> Path:
    """The same for every process of this user, whatever its environment says."""
    for base in _BASES:
        with suppress(OSError):
            if base.stat().st_mode & _STICKY == _STICKY:
                return base / f"voke-{os.geteuid()}"
    return _BASES[-1] / f"voke-{os.geteuid()}"


async def _addresses(host: str, port: int, within: float) -> list[str]:
    """The endpoint as ``address:port``, once for each address of a name."""
    with suppress(ValueError):
        return [_endpoint(str(ip_address(host)), port)]
    try:
        async with asyncio.timeout(within):
            found = await resolve(host)
    except (OSError, TimeoutError):
        return [_endpoint(host.lower(), port)]
    return sorted({_endpoint(str(place[0]), port) for _, place in found})


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _make(directory: Path) -> None:
    """Where everybody may write, anybody may have made it first; a lock in it would then be theirs to hold.

    Raises:
        OSError: it cannot be made, or is not ours alone.
    """
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    there = directory.lstat()
    if not stat.S_ISDIR(there.st_mode):
        raise OSError("it is no directory; remove it")
    if there.st_uid != os.geteuid():
        raise OSError(f"it belongs to user {there.st_uid}; have it removed")
    if there.st_mode & _OTHERS:
        raise OSError("other users may use it; remove it")


def _is(path: Path, descriptor: int) -> bool:
    """Whether the file is still the one at ``path``."""
    ours = os.fstat(descriptor)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
