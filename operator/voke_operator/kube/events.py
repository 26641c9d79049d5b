"""kopf as the source of events about our custom resources, and nothing more: it never writes.

It runs on an event loop and in a thread of its own. When kopf ends, it cancels every task of its loop that is younger
than itself, ours included; and parsing what it lists would hold up everything else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import kopf
from kubernetes.aio.client.configuration import Configuration

from voke_operator.kube.client import WATCH_SECONDS
from voke_operator.kube.objects import Known, known_of
from voke_operator.kube.reach import refused
from voke_operator.kube.resources import OURS, Resource
from voke_operator.names import FIELD_MANAGER


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an object."""

    resource: Resource
    known: Known
    gone: bool = False
    """It was deleted; ``known`` is how it was."""
    listed: bool = False
    """It is there, and nothing is said of what happened: the watch was begun anew, and there was a gap before."""


Take = Callable[[Event], None]
"""Given each event, in the loop that :func:`watch` was called in."""

_BACKOFFS: Final = (1, 2, 4, 8, 16, 30)
_CHUNK: Final = 100
"""Objects that it lists at a time. By default it asks for all at once, and holds all of them as dicts."""
_IDLE: Final = 0.05
"""Seconds for which a worker keeps the last object that it has handled."""
_LONGEST_END: Final = 10.0
"""Seconds that kopf gets to end; its thread does not keep the process."""
_GOODBYE: Final = 0.25
"""Seconds for its TLS connections to be closed; aiohttp advises it, for nothing there can be awaited."""


async def watch(configuration: Configuration, namespaces: Iterable[str], take: Take) -> None:
    """Pass on what happens to our custom resources, until cancelled.

    Raises:
        Exception: whatever ended kopf; it is to be begun again.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    stop = threading.Event()

    def pass_on(event: Event) -> None:
        with suppress(RuntimeError):  # the loop is closed: we are at the end
            loop.call_soon_threadsafe(take, event)

    def end(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error or RuntimeError("kopf ended by itself"))

    def run() -> None:
        error: BaseException | None = None
        try:
            asyncio.run(_operator(configuration, tuple(namespaces), pass_on, stop))
        except BaseException as failure:  # noqa: BLE001 – it is raised where it is waited for
            error = failure
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(end, error)

    thread = threading.Thread(target=run, name="kopf", daemon=True)
    thread.start()
    try:
        await ended
    finally:
        stop.set()
        await asyncio.to_thread(thread.join, _LONGEST_END)


async def _operator(
    configuration: Configuration, namespaces: tuple[str, ...], take: Take, stop: threading.Event
) -> None:
    logging.getLogger("kopf._core.reactor.running").addFilter(_no_word_of_signals)
    identity: Any = FIELD_MANAGER  # or kopf asks for the name of who runs it, and a container's user has none
    try:
        await kopf.operator(
            registry=_registry(configuration, take),
            settings=_settings(),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
            identity=identity,
            stop_flag=stop,
        )
    finally:
        stop.set()  # kopf waits for it in a thread, which asyncio waits for
        await asyncio.sleep(_GOODBYE)


def _registry(configuration: Configuration, take: Take) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    logins = itertools.count()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        if next(logins):  # after the first it is asked for when the server refuses what it was given
            refused(configuration)
        return await _connection(configuration)

    async def handle(*, event: Any, param: Any = None, **_: Any) -> None:
        known = known_of(param, event["object"])
        take(Event(param, known, gone=event["type"] == "DELETED", listed=event["type"] is None))

    kopf.on.login(registry=registry)(login)
    for resource in OURS:
        on = kopf.on.event(
            resource.group, resource.version, resource.plural, registry=registry, param=resource
        )
        on(handle)
    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # a Lease decides who leads
    settings.scanning.disabled = True  # our kinds are known: no right to list CRDs and namespaces is needed
    settings.posting.enabled = False  # Events are ours to write
    settings.watching.chunk_size = _CHUNK
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 20
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70  # bookmarks come once a minute
    settings.watching.reconnect_backoff = 1.0  # else a storm of 410 lists the whole fleet ten times a second
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = _BACKOFFS
    settings.queueing.worker_limit = None  # a limit throttles to limit / idle_timeout objects a second
    settings.queueing.idle_timeout = _IDLE
    settings.process.ultimate_exiting_timeout = None  # it would end the whole process
    return settings


class _Tls(ssl.SSLContext):
    """Asks for the certificate of another name than the address has: kopf knows no ``tls-server-name``."""

    server_name: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - as the one that it replaces
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """What asyncio calls for each connection."""
        return super().wrap_bio(incoming, outgoing, server_side, self.server_name or server_hostname, session)


@dataclass(frozen=True, kw_only=True)
class _Connection(kopf.ConnectionInfo):
    """As our own client's: see its configuration."""

    server_name: str | None

    def as_ssl_context(self) -> ssl.SSLContext:
        context = _Tls(ssl.PROTOCOL_TLS_CLIENT)
        context.server_name = self.server_name
        if self.ca_path is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(self.ca_path)
        if self.certificate_path is not None:
            context.load_cert_chain(self.certificate_path, self.private_key_path)
        return context


async def _connection(configuration: Configuration) -> kopf.ConnectionInfo:
    header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    scheme, _, token = (header or "").partition(" ")
    return _Connection(
        server=configuration.host,
        server_name=configuration.tls_server_name,
        ca_path=configuration.ssl_ca_cert,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme or None,
        token=token or None,
        proxy_url=configuration.proxy,
        trust_env=True,
    )


def _no_word_of_signals(record: logging.LogRecord) -> bool:
    """In a thread kopf warns that it cannot handle signals, which is what we want."""
    return not record.getMessage().startswith("OS signals are ignored")
