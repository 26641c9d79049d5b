"""A cluster as it is reached in many a company: its API under a path, behind a front with a certificate of its own.

So it is with Rancher (``https://rancher.example/k8s/clusters/c-abc``). The certificate is for the front's name, which leads
nowhere: a kubeconfig gives the address and ``tls-server-name``, or a ``proxy-url``. Tokens are passed on, and so are
streams and upgraded connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.control_plane import ControlPlane
from tests.support.pki import Authority

NAME: Final = "rancher.example"
PREFIX: Final = "/k8s/clusters/c-abc"

Connection = tuple[StreamReader, StreamWriter]
Serve = Callable[[StreamReader, StreamWriter], Awaitable[None]]


@dataclass
class Front:
    """The front. Use :func:`running`."""

    plane: ControlPlane
    directory: Path
    """Of kubeconfigs; the certificate of the front's authority is in it as ``front-ca.crt``."""
    address: str = ""
    proxy: str = ""
    """URL of an HTTP proxy that leads here whatever name is asked for."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each request, as the API server gets them."""
    withdrawn: set[str] = field(default_factory=set)
    """Tokens that it does not take."""
    proxied: int = 0
    """Connections by way of the proxy."""
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def cut(self) -> None:
        """Break all connections that there are."""
        for task in tuple(self._under_way):
            task.cancel()

    def kubeconfig(self, user: Path | Mapping[str, Any], *, by_proxy: bool = False, **more: object) -> Path:
        """One that leads here, for the user of another kubeconfig or as given; files in it are relative to it.

        ``more`` is about the cluster, in Python's spelling: ``tls_server_name``.
        """
        given = user
        if isinstance(given, Path):
            given = yaml.safe_load(given.read_text())["users"][0]["user"]
        way: dict[str, object] = (
            {"server": f"https://{NAME}{PREFIX}", "proxy-url": self.proxy}
            if by_proxy
            else {"server": f"https://{self.address}{PREFIX}/", "tls-server-name": NAME}
        )
        name = f"front-{len(list(self.directory.glob('front-*.kubeconfig')))}"
        way |= {"certificate-authority": "front-ca.crt"}
        way |= {key.replace("_", "-"): value for key, value in more.items()}
        context = {"cluster": "company", "user": "somebody", "namespace": f"in-{name}"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "company", "cluster": way}],
            "users": [{"name": "somebody", "user": given}],
            "contexts": [{"name": name, "context": context}],
            "current-context": name,
        }
        path = self.directory / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Pass one request on, and whatever follows from it, in both directions."""
        line, _, headers = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        method, target, version = line.decode().split(" ")
        path = target.removeprefix(PREFIX)
        if path == target:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        if any(token.encode() in headers for token in self.withdrawn):
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        self.asked.append(f"{method} {path.partition('?')[0]}")
        if b"\r\nupgrade:" not in b"\r\n" + headers.lower():
            headers = re.sub(rb"(?im)^connection:.*\r\n", b"", headers)
            headers = b"Connection: close\r\n" + headers
        tls = ssl.create_default_context(cafile=str(self.plane.directory / "ca.crt"))
        beyond = await asyncio.open_connection("127.0.0.1", self.plane.port, ssl=tls)
        beyond[1].write(f"{method} {path} {version}\r\n".encode() + headers)
        await _joined((reader, writer), beyond)

    async def connect(self, reader: StreamReader, writer: StreamWriter) -> None:
        """What an HTTP proxy does with CONNECT."""
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(f"CONNECT {NAME}:443 ".encode()), asked
        self.proxied += 1
        host, port = self.address.rsplit(":", 1)
        beyond = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await _joined((reader, writer), beyond)

    @contextlib.asynccontextmanager
    async def listening(self, serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """The address, as long as the block runs."""

        async def one(reader: StreamReader, writer: StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
                await serve(reader, writer)

        def connected(reader: StreamReader, writer: StreamWriter) -> None:
            task = asyncio.ensure_future(one(reader, writer))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        try:
            yield "{}:{}".format(*server.sockets[0].getsockname())
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*self._under_way, return_exceptions=True)


async def _joined(here: Connection, beyond: Connection) -> None:
    async def copied(source: StreamReader, sink: StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while part := await source.read(65_536):
                sink.write(part)
                await sink.drain()

    with contextlib.closing(beyond[1]):
        await asyncio.gather(copied(here[0], beyond[1]), copied(beyond[0], here[1]))


@contextlib.asynccontextmanager
async def running(plane: ControlPlane, directory: Path) -> AsyncIterator[Front]:
    """A front before ``plane``; ``directory`` takes its files."""
    authority = Authority("authority of the front")
    leaf = authority.issue("front", hosts=(NAME,))
    (directory / "front.pem").write_bytes(leaf.certificate + leaf.key)
    (directory / "front-ca.crt").write_bytes(authority.pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(directory / "front.pem")
    front = Front(plane, directory)
    async with front.listening(front.serve, tls) as front.address, front.listening(front.connect) as proxy:
        front.proxy = f"http://{proxy}"
        yield front
