"""A cluster as it is reached in many a company: its API under a path, behind a front with a certificate of its own.

So it is with Rancher (``https://rancher.example/k8s/clusters/c-abc``). The certificate is for the front's name, which leads
nowhere: a kubeconfig gives the address and ``tls-server-name``, or a ``proxy-url``. Tokens are passed on, and so are
streams and upgraded connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

from tests.cluster.control_plane import ControlPlane
from tests.support.pki import Authority

NAME: Final = "rancher.example"
PREFIX: Final = "/k8s/clusters/c-abc"
_OF_THE_CONNECTION: Final = frozenset({"host", "connection", "transfer-encoding", "content-length"})
_OF_THE_UPGRADE: Final = "sec-websocket"


@dataclass
class Front:
    """The front. Use :func:`running`."""

    plane: ControlPlane
    directory: Path
    """Of kubeconfigs; the certificate of the front's authority is in it as ``front-ca.crt``."""
    session: aiohttp.ClientSession
    address: str = ""
    proxy: str = ""
    """URL of an HTTP proxy that leads here whatever name is asked for."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each request, as the API server gets them."""
    proxied: int = 0
    """Connections by way of the proxy."""

    def kubeconfig(self, user_of: Path | dict[str, Any], *, by_proxy: bool = False, **cluster: Any) -> Path:
        """One that leads here, for the user of another kubeconfig or as given; files in it are relative to it."""
        user = user_of
        if isinstance(user, Path):
            user = yaml.safe_load(user.read_text())["users"][0]["user"]
        way = (
            {"server": f"https://{NAME}{PREFIX}", "proxy-url": self.proxy}
            if by_proxy
            else {"server": f"https://{self.address}{PREFIX}/", "tls-server-name": NAME}
        )
        number = len(list(self.directory.glob("front-*.kubeconfig")))
        path = self.directory / f"front-{number}.kubeconfig"
        context = {"cluster": "company", "user": "somebody", "namespace": f"space-{number}"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "company", "cluster": {**way, "certificate-authority": "front-ca.crt", **cluster}}
            ],
            "users": [{"name": "somebody", "user": user}],
            "contexts": [{"name": f"front-{number}", "context": context}],
            "current-context": f"front-{number}",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and its answer as it comes."""
        path = request.rel_url.raw_path_qs.removeprefix(PREFIX)
        if path == request.rel_url.raw_path_qs:
            return web.Response(status=404, text="a page of the front, and no API")
        self.asked.append(f"{request.method} {path.partition('?')[0]}")
        headers = [
            (key, value)
            for key, value in request.headers.items()
            if key.lower() not in _OF_THE_CONNECTION and not key.lower().startswith(_OF_THE_UPGRADE)
        ]
        url = self.plane.url + path
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._joined(request, url, headers)
        body = request.content if request.can_read_body else None
        async with self.session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {
                key: value
                for key, value in answer.headers.items()
                if key.lower() in {"content-type", "location"}
            }
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    async def _joined(
        self, request: web.Request, url: str, headers: list[tuple[str, str]]
    ) -> web.StreamResponse:
        kept = [(key, value) for key, value in headers if key.lower() != "upgrade"]
        spoken = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        async with self.session.ws_connect(url, headers=kept, protocols=spoken) as beyond:
            here = web.WebSocketResponse(protocols=[beyond.protocol] if beyond.protocol else ())
            await here.prepare(request)
            await asyncio.wait(
                [asyncio.ensure_future(_pumped(here, beyond)), asyncio.ensure_future(_pumped(beyond, here))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            await here.close()
            return here

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What an HTTP proxy does with CONNECT."""
        asked = await reader.readuntil(b"\r\n\r\n")
        assert asked.startswith(f"CONNECT {NAME}:443 ".encode()), asked
        self.proxied += 1
        host, port = self.address.rsplit(":", 1)
        beyond_reader, beyond_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copied(reader, beyond_writer), _copied(beyond_reader, writer))


_Ends = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pumped(source: _Ends, sink: _Ends) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
        else:
            await sink.send_str(message.data)


async def _copied(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await source.read(65_536):
            sink.write(part)
            await sink.drain()
    sink.close()


@contextlib.asynccontextmanager
async def running(plane: ControlPlane, directory: Path) -> AsyncIterator[Front]:
    """A front before ``plane``; ``directory`` takes its files."""
    authority = Authority("authority of the front")
    leaf = authority.issue("front", hosts=(NAME,))
    (directory / "front.pem").write_bytes(leaf.certificate + leaf.key)
    (directory / "front-ca.crt").write_bytes(authority.pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(directory / "front.pem")
    upstream = ssl.create_default_context(cafile=str(plane.directory / "ca.crt"))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=upstream),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    ) as session:
        front = Front(plane, directory, session)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", front.serve)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        front.address = "{}:{}".format(*runner.addresses[0])
        proxy = await asyncio.start_server(front.connected, "127.0.0.1", 0)
        front.proxy = "http://{}:{}".format(*proxy.sockets[0].getsockname())
        try:
            yield front
        finally:
            proxy.close()
            await runner.cleanup()
