"""Where :class:`Objects` comes from: kopf for the custom resources, watches of our own for the children, lists against gaps.

kopf tells of what is there, never of what vanished while its watch was broken. So everything is listed at the
start and every ten minutes, and what is known but not listed is gone. Nothing here ever writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from voke_operator.kube.client import Client
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import Resource

RELIST: Final = 600.0
"""Seconds between lists of everything."""
SILENCE: Final = 150.0
"""Seconds without an event or a bookmark (there is one a minute) after which a watch counts as dead."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the operator looks."""

    namespaces: tuple[str, ...] = ()
    """Empty: the whole cluster."""

    @property
    def parts(self) -> tuple[str | None, ...]:
        """What to ask for, one request each; None is the whole cluster."""
        return self.namespaces or (None,)


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """Something that the operator must be allowed to do."""

    verb: str
    resource: Resource
    subresource: str = ""


async def preflight(client: Client, scope: Scope, rights: Sequence[Right]) -> list[str]:
    """What is missing in the cluster, a line each that names the remedy; empty if all is there.

    Raises:
        errors.RetryError: the API server cannot be asked now.
    """
    raise NotImplementedError


class Sources:
    """Keeps ``objects`` as the cluster is, until cancelled."""

    def __init__(
        self,
        client: Client,
        objects: Objects,
        *,
        scope: Scope,
        relist: float = RELIST,
        silence: float = SILENCE,
    ) -> None:
        raise NotImplementedError

    @property
    def synced(self) -> asyncio.Event:
        """Set once everything has been listed: absence means something from then on."""
        raise NotImplementedError

    async def run(self) -> None:
        """Watch and list until cancelled; faults are retried for ever, and logged."""

    def ages(self) -> Mapping[str, float]:
        """Seconds since each kind was last heard of: event, bookmark, or list."""
        raise NotImplementedError

    def restarts(self) -> Mapping[str, int]:
        """How often the watch of each kind ended otherwise than in time."""
        raise NotImplementedError
