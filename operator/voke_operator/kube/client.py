"""Requests to the API server: plain dicts in and out, errors typed by what the caller should do.

The HTTP connection pool is ``kubernetes.aio``'s. Its generated models are not used: they cost a second and
25 MB to import, and refuse fields that they do not know. Nothing is retried here; who asks decides.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException

from voke_operator.kube import errors
from voke_operator.kube.reach import refused
from voke_operator.kube.request import WRITES, Request, Verb, failure
from voke_operator.kube.resources import PODS, Resource
from voke_operator.names import FIELD_MANAGER

Object = dict[str, Any]
"""An object of the API, as JSON."""

Observe = Callable[[Verb, str, str, float], None]
"""Told of every request: verb, kind, HTTP status (``"0"`` for no answer), seconds; a watch counts when it begins."""

Fence = Callable[[], None]
"""Raises :class:`errors.FencedError` if a write must not be sent now."""

POOL_SIZE: Final = 40
"""Connections, besides one for each watch."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds for one request or one page of a list."""
PAGE: Final = 250
"""Objects per page of a list."""
WATCH_SECONDS: Final = 290
"""How long the server keeps a watch: shorter than what load balancers usually allow an idle connection."""

NOT_THERE: Final = "1"
"""As ``resourceVersion`` of an apply: only if there is no such object. None has this version, which is that of an
empty store."""

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for TCP and TLS."""

_METHODS: Final[Mapping[Verb, str]] = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_MANAGED: Final = {"fieldManager": FIELD_MANAGER}

_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON: Final = "application/json"
_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    items: list[Object]
    resource_version: str
    """Of the whole list: where a watch goes on from."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What a watch tells."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object
    """Whole, or only ``metadata``; of a bookmark only the ``resourceVersion`` in it counts."""


_asked: ContextVar[Fence | None] = ContextVar("fence of the request that this task is sending", default=None)


def _with_pool(configuration: Configuration, size: int) -> Configuration:
    """For so many connections; 0: for any number."""
    made = copy(configuration)
    made.connection_pool_maxsize, made.trace_configs = size, [_fence_at_the_last_moment()]
    return made


def _fence_at_the_last_moment() -> aiohttp.TraceConfig:
    """Waiting for a connection may take long; what is checked before it says little when the bytes leave."""

    async def check(*_: object) -> None:
        if (fence := _asked.get()) is not None:
            fence()

    trace = aiohttp.TraceConfig()
    # In spite of their names they are called before anything is written. Headers wait for the body, a turn of the loop later.
    trace.on_request_headers_sent.append(check)
    trace.on_request_chunk_sent.append(check)
    return trace


class Client:
    """Requests to one API server over one pool of connections. Close it with ``aclose``.

    Every method raises :class:`errors.KubeError`; what kind says what to do. Objects that are written carry
    their own ``metadata.name`` and ``metadata.namespace``, and for ``apply`` also ``apiVersion`` and ``kind``.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        observe: Observe = lambda *_: None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        self._timeout = timeout
        self.configuration = configuration
        """How the server is reached."""
        self._api: Any = ApiClient(_with_pool(configuration, POOL_SIZE))  # its HTTP half has no types
        self._watches: Any = ApiClient(_with_pool(configuration, 0))
        self._observe = observe
        self._fence: Fence | None = None

    def fenced(self, fence: Fence) -> Client:
        """The same connections, but ``fence`` is asked before every write, at the last moment before it is sent."""
        twin = copy(self)
        twin._fence = fence  # noqa: SLF001 – its own
        return twin

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.close()
        await self._watches.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object."""
        return await self._request("get", resource, namespace, name)

    async def get_metadata(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object's ``metadata``."""
        return await self._request("get", resource, namespace, name, accept=_METADATA)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        metadata_only: bool = False,
        page: int = PAGE,
    ) -> AsyncGenerator[Page, None]:
        """All objects of a namespace, or of the cluster, that the resource selects, a page at a time.

        Raises:
            errors.GoneError: the list was not read to its end in time; begin again.
        """
        query = {"limit": str(page)} | _selected(resource)
        accept = _METADATA_LIST if metadata_only else _JSON
        while True:
            answer = await self._request("list", resource, namespace, query=query, accept=accept)
            metadata = answer["metadata"]
            yield Page(answer["items"] or [], metadata["resourceVersion"])
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        metadata_only: bool = False,
    ) -> Page:
        """All of them at once, as one page; for what is known to be few."""
        items: list[Object] = []
        version = ""
        async for page in self.pages(resource, namespace, metadata_only=metadata_only):
            items += page.items
            version = page.resource_version
        return Page(items, version)

    async def count(self, resource: Resource, namespace: str | None = None) -> int:
        """How many there are in a namespace, or in the cluster, of a kind that is not selected by label.

        Raises:
            ValueError: of a selection the server does not count what it leaves out.
        """
        if resource.selector:
            raise ValueError(f"{resource.title} are selected by label: list them to count them")
        answer = await self._request("list", resource, namespace, query={"limit": "1"}, accept=_METADATA_LIST)
        rest: int = answer["metadata"].get("remainingItemCount") or 0
        return len(answer["items"] or []) + rest

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        metadata_only: bool = False,
        seconds: int = WATCH_SECONDS,
    ) -> AsyncGenerator[WatchEvent, None]:
        """What changed since ``resource_version``; ends when the server ends it.

        Bookmarks are asked for: about one a minute. That nothing at all comes is for the caller to notice.

        Raises:
            errors.GoneError: ``resource_version`` is too old; list again.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        } | _selected(resource)
        request = Request("watch", resource, namespace)
        accept = _METADATA if metadata_only else _JSON
        began = time.monotonic()
        code = 0
        with _typed(request):
            try:
                response = await self._send(
                    request, query=query, accept=accept, longest=seconds + self._timeout
                )
                code = response.status
            finally:
                self._observe(request.verb, resource.kind, str(code), time.monotonic() - began)
            async with response:
                if code >= HTTPStatus.BAD_REQUEST:
                    raise failure(request, code, response.headers, await response.read())
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield _event(request, line)

    async def create(self, resource: Resource, body: Object) -> Object:
        """Create an object; returns it as it is now.

        Raises:
            errors.AlreadyExistsError: there is one of that name.
        """
        namespace, _name = _whose(resource, body)
        return await self._request("create", resource, namespace, body=body, query=_MANAGED)

    async def replace(self, resource: Resource, body: Object) -> Object:
        """Replace an object that was read before: ``body`` carries the ``metadata.resourceVersion`` it had.

        Raises:
            errors.ConflictError: it changed since.
            ValueError: without a ``resourceVersion`` this would overwrite whatever is there.
        """
        namespace, name = _whose(resource, body)
        if not body["metadata"].get("resourceVersion"):
            raise ValueError(
                f"{resource.kind} {namespace}/{name} would be replaced without looking: no resourceVersion"
            )
        return await self._request("update", resource, namespace, name, body=body, query=_MANAGED)

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        """Server-side apply: what ``body`` says is so, what others say of other fields stays.

        Without a ``resourceVersion`` (of what was seen, or NOT_THERE) not for what must not be overwritten: a second
        apply by the same manager wins without a word.

        Raises:
            errors.ConflictError: it is not at that version; or, without ``force``, another manager set one of these
                fields.
        """
        namespace, name = _whose(resource, body)
        query = _MANAGED | ({"force": "true"} if force else {})
        return await self._request("patch", resource, namespace, name, body=body, query=query, content=_APPLY)

    async def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        patch: Object,
        *,
        resource_version: str | None,
    ) -> Object:
        """JSON merge patch of an object as it was at ``resource_version``; None: whatever it is like.

        Raises:
            errors.ConflictError: it changed since.
        """
        body = patch
        if resource_version is not None:
            body = patch | {"metadata": patch.get("metadata", {}) | {"resourceVersion": resource_version}}
        return await self._request(
            "patch", resource, namespace, name, body=body, query=_MANAGED, content=_MERGE
        )

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, status: Object, *, resource_version: str
    ) -> Object:
        """JSON merge patch of ``.status`` of an object as it was at ``resource_version``; lists are replaced whole.

        Raises:
            errors.ConflictError: it changed since.
        """
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        return await self._request(
            "patch",
            resource,
            namespace,
            name,
            subresource="status",
            body=body,
            query=_MANAGED,
            content=_MERGE,
        )

    async def annotate_pod(self, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod by way of its status, which needs no right to change what it runs."""
        body = {"metadata": {"annotations": dict(annotations)}}
        await self._request(
            "patch", PODS, namespace, name, subresource="status", body=body, query=_MANAGED, content=_MERGE
        )

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
    ) -> None:
        """Delete the object with that ``uid``, and no other of its name.

        Raises:
            errors.ConflictError: another object has the name by now, or it changed since ``resource_version``.
        """
        unless = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        body = {"preconditions": unless, "propagationPolicy": "Background"}
        await self._request("delete", resource, namespace, name, body=body)

    async def _request(
        self,
        verb: Verb,
        resource: Resource,
        namespace: str | None,
        name: str | None = None,
        *,
        subresource: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        accept: str = _JSON,
        content: str = _JSON,
    ) -> Object:
        request = Request(verb, resource, namespace, name, subresource)
        began = time.monotonic()
        code = 0
        try:
            with _typed(request):
                async with await self._send(
                    request, query=query, body=body, accept=accept, content=content
                ) as response:
                    code = response.status
                    answer = await response.read()
        finally:
            self._observe(verb, resource.kind, str(code), time.monotonic() - began)
        if code >= HTTPStatus.BAD_REQUEST:
            raise failure(request, code, response.headers, answer)
        return _parse(request, answer)

    async def _send(
        self,
        request: Request,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        accept: str = _JSON,
        content: str = _JSON,
        longest: float | None = None,
    ) -> aiohttp.ClientResponse:
        api = self._watches if request.verb == "watch" else self._api
        headers = {"Accept": accept, "Content-Type": content, "User-Agent": FIELD_MANAGER}
        await api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        fence = self._fence if request.verb in WRITES else None
        asked = _asked.set(fence)
        try:
            sent = await api.rest_client.request(
                _METHODS[request.verb],
                api.configuration.host + request.path + (f"?{urlencode(query)}" if query else ""),
                headers=headers,
                body=body,
                _request_timeout=aiohttp.ClientTimeout(
                    total=longest or self._timeout, sock_connect=CONNECT_TIMEOUT
                ),
            )
        finally:
            _asked.reset(asked)
        response: aiohttp.ClientResponse = sent.response
        if response.status == HTTPStatus.UNAUTHORIZED:
            refused(self.configuration)
        return response


@contextmanager
def _typed(request: Request) -> Iterator[None]:
    """Faults of the network, or a token that cannot be read, as :class:`errors.UnavailableError`."""
    try:
        yield
    except TimeoutError as error:
        raise errors.UnavailableError(f"{request}: no answer in time") from error
    except (aiohttp.ClientError, OSError, ConfigException) as error:
        if isinstance(
            error.__cause__, errors.FencedError
        ):  # of the body: aiohttp makes it a fault of the connection
            raise error.__cause__ from None
        raise errors.UnavailableError(f"{request}: {type(error).__name__}: {error}") from error


def _parse(request: Request, answer: bytes) -> Object:
    try:
        parsed: Object = orjson.loads(answer)
    except ValueError:  # its error holds the answer
        raise errors.UnavailableError(
            f"{request}: the answer is not JSON, is there a proxy in between?"
        ) from None
    return parsed


def _event(request: Request, line: bytes) -> WatchEvent:
    event = _parse(request, line)
    if event["type"] == "ERROR":
        code = event["object"].get("code") or HTTPStatus.INTERNAL_SERVER_ERROR
        raise failure(request, code, {}, orjson.dumps(event["object"]))
    return WatchEvent(event["type"], event["object"])


def _selected(resource: Resource) -> dict[str, str]:
    return {"labelSelector": resource.selector} if resource.selector else {}


def _whose(resource: Resource, body: Object) -> tuple[str | None, str]:
    metadata = body["metadata"]
    return (metadata["namespace"] if resource.namespaced else None), metadata["name"]
