"""Requests to the API server: plain dicts in and out, errors typed by what the caller should do.

How to reach the server (kubeconfig with its plug-ins, the token in a pod, which is read anew every minute) and
the HTTP connection pool are ``kubernetes.aio``'s. Its generated models are not used: they cost a second and
25 MB to import, and refuse fields that they do not know. Nothing is retried here; who asks decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from kubernetes.aio.client.configuration import Configuration

from voke_operator.kube.resources import Resource

Object = dict[str, Any]
"""An object of the API, as JSON."""

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]

Observe = Callable[[Verb, str, str, float], None]
"""Told of every request: verb, kind, HTTP status (``"0"`` for no answer), seconds; a watch counts when it begins."""

Fence = Callable[[], None]
"""Raises :class:`errors.FencedError` if a write must not be sent now."""

POOL_SIZE: Final = 40
"""Connections; each watch holds one of them."""
REQUEST_TIMEOUT: Final = 30.0
"""Seconds for one request or one page of a list."""
PAGE: Final = 500
"""Objects per page of a list."""
WATCH_SECONDS: Final = 290
"""How long the server keeps a watch: shorter than what load balancers usually allow an idle connection."""

_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_JSON: Final = "application/json"
_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"


class ConfigError(Exception):
    """How to reach the API server is not known, or not safe; a person must act."""


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


async def from_kubeconfig(path: Path | None = None, *, context: str | None = None) -> Configuration:
    """How ``kubectl`` would reach the cluster.

    Raises:
        ConfigError: the file is missing or broken, or it would not have the server's certificate verified.
    """
    raise NotImplementedError


def in_cluster() -> Configuration:
    """How a pod reaches its cluster; the token is read again every minute.

    Raises:
        ConfigError: this is not a pod, or it has no service account's token.
    """
    raise NotImplementedError


class Client:
    """Requests to one API server over one pool of connections. Close it with ``aclose``.

    Every method raises :class:`errors.KubeError`; what kind says what to do. Objects that are written carry
    their own ``apiVersion``, ``kind``, ``metadata.name`` and ``metadata.namespace``.
    """

    def __init__(self, configuration: Configuration, *, observe: Observe = lambda *_: None) -> None:
        raise NotImplementedError

    def fenced(self, fence: Fence) -> Client:
        """The same connections, but ``fence`` is asked before every write, at the last moment before it is sent."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close the connections."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object."""
        raise NotImplementedError

    async def get_metadata(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object's ``metadata``."""
        raise NotImplementedError

    def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        metadata_only: bool = False,
        page: int = PAGE,
    ) -> AsyncIterator[Page]:
        """All objects of a namespace, or of the cluster, a page at a time.

        Raises:
            errors.GoneError: the list was not read to its end in time; begin again.
        """
        raise NotImplementedError

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        metadata_only: bool = False,
    ) -> Page:
        """All of them at once, as one page; for what is known to be few."""
        raise NotImplementedError

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        metadata_only: bool = False,
        seconds: int = WATCH_SECONDS,
    ) -> AsyncIterator[WatchEvent]:
        """What changed since ``resource_version``; ends when the server ends it.

        Bookmarks are asked for: about one a minute. That nothing at all comes is for the caller to notice.

        Raises:
            errors.GoneError: ``resource_version`` is too old; list again.
        """
        raise NotImplementedError

    async def create(self, resource: Resource, body: Object) -> Object:
        """Create an object; returns it as it is now.

        Raises:
            errors.AlreadyExistsError: there is one of that name.
        """
        raise NotImplementedError

    async def replace(self, resource: Resource, body: Object) -> Object:
        """Replace an object that was read before: ``body`` carries the ``metadata.resourceVersion`` it had.

        Raises:
            errors.ConflictError: it changed since.
            ValueError: without a ``resourceVersion`` this would overwrite whatever is there.
        """
        raise NotImplementedError

    async def apply(self, resource: Resource, body: Object, *, force: bool = True) -> Object:
        """Server-side apply: what ``body`` says is so, what others say of other fields stays.

        Not for what must not be overwritten: a second apply by the same manager wins without a word.
        """
        raise NotImplementedError

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, *, resource_version: str
    ) -> Object:
        """JSON merge patch of an object as it was at ``resource_version``.

        Raises:
            errors.ConflictError: it changed since.
        """
        raise NotImplementedError

    async def patch_status(
        self, resource: Resource, namespace: str, name: str, status: Object, *, resource_version: str
    ) -> Object:
        """JSON merge patch of ``.status`` of an object as it was at ``resource_version``; lists are replaced whole.

        Raises:
            errors.ConflictError: it changed since.
        """
        raise NotImplementedError

    async def annotate_pod(self, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        """Set annotations of a pod by way of its status, which needs no right to change what it runs."""
        raise NotImplementedError

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
        raise NotImplementedError
