"""An API server that misbehaves: a proxy before the real one that refuses, delays, cuts and falls silent on demand.

It speaks TLS with a certificate of its own. Requests with a token pass as they are, others as the administrator.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from aiohttp import web

from tests.cluster.control_plane import ADMIN, ControlPlane
from tests.support.pki import Authority
from voke_sim.ports import free_ports

_REASONS: Final = {
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_METHODS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(kw_only=True)
class Fault:
    """What happens to the next ``times`` requests that match."""

    verb: str | None = None
    """As RBAC names it; None for any."""
    resource: str | None = None
    """Plural; None for any."""
    times: int | None = 1
    """None for ever."""
    code: int | None = None
    """Answered instead of asking the real server."""
    reason: str | None = None
    retry_after: float | None = None
    body: str | None = None
    """Sent instead of a ``Status`` object."""
    in_stream: bool = False
    """Of a watch: 200, and the error as its first event."""
    delay: float = 0.0
    """Seconds before anything else happens."""
    delay_answer: float = 0.0
    """Seconds between the real server's doing it and the answer."""
    lose_answer: bool = False
    """The real server does it, and the connection breaks before the answer."""

    def matches(self, verb: str, resource: str) -> bool:
        """Whether it is for this request."""
        return self.times != 0 and self.verb in (None, verb) and self.resource in (None, resource)


@dataclass
class _Stream:
    resource: str
    request: web.Request


@dataclass
class FaultyApi:
    """The proxy. Use :func:`running`."""

    plane: ControlPlane
    kubeconfig: Path
    port: int
    faults: list[Fault] = field(default_factory=list)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by verb and resource, whatever came of them."""
    silent: set[str] = field(default_factory=set)
    """Resources whose watches let nothing through."""
    before: Callable[[str, str], bool] = lambda *_: True
    """Told verb and resource of every request before it is passed on; if False, the connection breaks instead."""
    after: Callable[[str, str], object] = lambda *_: None
    """Told when the real server has done it, before the answer is passed on."""
    _streams: list[_Stream] = field(default_factory=list)
    _runner: web.AppRunner | None = None
    _session: aiohttp.ClientSession | None = None
    _tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._as_given = ssl.create_default_context(cafile=str(self.plane.directory / "ca.crt"))
        self._as_admin = ssl.create_default_context(cafile=str(self.plane.directory / "ca.crt"))
        self._as_admin.load_cert_chain(
            self.plane.directory / f"{ADMIN}.crt", self.plane.directory / f"{ADMIN}.key"
        )

    def add(self, **what: Any) -> Fault:
        """Have a :class:`Fault` happen; remove it from ``faults`` to end it."""
        fault = Fault(**what)
        self.faults.append(fault)
        return fault

    def for_user_of(self, kubeconfig: Path) -> Path:
        """A kubeconfig of the same user that leads here."""
        config = yaml.safe_load(kubeconfig.read_text())
        config["clusters"][0]["cluster"] = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0][
            "cluster"
        ]
        path = self.kubeconfig.with_name(f"faulty-{kubeconfig.name}")
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def watches(self, resource: str) -> int:
        """How many are open."""
        return sum(stream.resource == resource for stream in self._streams)

    def cut_watches(self, resource: str) -> None:
        """Break the connections of all watches of a resource, in the middle."""
        for stream in tuple(self._streams):
            if stream.resource == resource and stream.request.transport is not None:
                stream.request.transport.abort()

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Connections are refused inside the block, and those that were open are gone."""
        await self._close()
        try:
            yield
        finally:
            await self._listen()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True
        ).start()

    async def _close(self) -> None:
        for stream in tuple(self._streams):
            if stream.request.transport is not None:
                stream.request.transport.abort()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        verb, resource = _what(request)
        self.asked[verb, resource] += 1
        assert request.transport is not None
        if not self.before(verb, resource):
            request.transport.abort()
            return web.Response(status=499)
        fault = next((each for each in self.faults if each.matches(verb, resource)), None)
        if fault is not None:
            if fault.times is not None:
                fault.times -= 1
            await asyncio.sleep(fault.delay)
            if fault.code is not None:
                return _refusal(fault)
        response = await self._forward(request, verb, resource)
        self.after(verb, resource)
        if fault is not None:
            await asyncio.sleep(fault.delay_answer)
        if fault is not None and fault.lose_answer and request.transport is not None:
            request.transport.abort()
        return response

    async def _forward(self, request: web.Request, verb: str, resource: str) -> web.StreamResponse:
        assert self._session is not None
        kept = ("Accept", "Content-Type", "Authorization", "User-Agent")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        url = f"{self.plane.url}{request.raw_path}"
        tls = self._as_given if "Authorization" in headers else self._as_admin
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=await request.read() or None, ssl=tls
            ) as answer:
                if verb != "watch" or answer.status != HTTPStatus.OK:
                    passed = ("Content-Type", "Retry-After")
                    return web.Response(
                        status=answer.status,
                        body=await answer.read(),
                        headers={name: answer.headers[name] for name in passed if name in answer.headers},
                    )
                return await self._stream(request, answer, resource)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))

    async def _stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, resource: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        stream = _Stream(resource, request)
        self._streams.append(stream)
        try:
            async for chunk in answer.content.iter_any():
                if resource not in self.silent:
                    await response.write(chunk)
        finally:
            self._streams.remove(stream)
        return response


def _what(request: web.Request) -> tuple[str, str]:
    parts = request.path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    resource = parts[0] if parts else ""
    if request.method != "GET":
        return _METHODS.get(request.method, request.method), "/".join([resource, *parts[2:]])
    if request.query.get("watch") in ("true", "1"):
        return "watch", resource
    return ("get" if len(parts) > 1 else "list"), resource


def _refusal(fault: Fault) -> web.Response:
    assert fault.code is not None
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    if fault.body is not None:
        return web.Response(status=fault.code, text=fault.body, headers=headers)
    status = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": fault.code,
        "reason": fault.reason or _REASONS.get(fault.code, "Unknown"),
        "message": "made up by a test",
    }
    if fault.in_stream:
        return web.Response(text=json.dumps({"type": "ERROR", "object": status}) + "\n")
    return web.json_response(status, status=fault.code, headers=headers)


@contextlib.asynccontextmanager
async def running(plane: ControlPlane, directory: Path) -> AsyncIterator[FaultyApi]:
    """A proxy before ``plane`` without faults yet; ``directory`` takes its files."""
    authority = Authority("authority of the faulty")
    leaf = authority.issue("faulty", hosts=("127.0.0.1",))
    (directory / "faulty.pem").write_bytes(leaf.certificate + leaf.key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(directory / "faulty.pem")
    [port] = free_ports(1)
    kubeconfig = directory / "faulty.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(port, authority.pem)))
    faulty = FaultyApi(plane, kubeconfig, port, _tls=tls)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        faulty._session = session
        await faulty._listen()
        try:
            yield faulty
        finally:
            await faulty._close()


def _kubeconfig(port: int, authority: bytes) -> dict[str, Any]:
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "faulty", "cluster": cluster}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "faulty", "context": {"cluster": "faulty", "user": "nobody"}}],
        "current-context": "faulty",
    }
