"""What must be there before the operator can work: its CRDs, and the rights that RBAC gives it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from voke_operator.kube import errors
from voke_operator.kube.client import Client
from voke_operator.kube.resources import ACCESS_REVIEWS, CHILDREN, OURS
from voke_operator.kube.sources import Scope

_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Right:
    """Something that the operator must be allowed to do."""

    verb: str
    group: str
    """Empty for the core group."""
    resource: str
    """Plural; of a subresource as ``plants/status``."""
    name: str | None = None
    """Of the object; None: of any."""


WATCHING: Final = tuple(
    Right(verb, resource.group, resource.plural)
    for resource in (*OURS, *CHILDREN)
    for verb in ("get", "list", "watch")
)
"""What :class:`voke_operator.kube.sources.Sources` needs."""


async def preflight(client: Client, scope: Scope, rights: Iterable[Right] = WATCHING) -> list[str]:
    """What is missing in the cluster, a line each that names the remedy; empty if nothing is.

    Raises:
        errors.RetryError: the API server cannot be asked now.
    """
    return await _missing_kinds(client, scope) + await missing_rights(client, scope.parts, rights)


async def _missing_kinds(client: Client, scope: Scope) -> list[str]:
    missing = []
    for resource in OURS:
        try:
            async for _ in client.pages(resource, scope.parts[0], page=1, metadata_only=True):
                break
        except errors.NotFoundError:
            missing.append(
                f"the CustomResourceDefinition {resource.title} is not installed: "
                "install the chart with crds.enabled=true, or kubectl apply --server-side -f crds/"
            )
        except errors.ForbiddenError:
            pass  # said below, with what to add
    return missing


async def missing_rights(
    client: Client, namespaces: Iterable[str | None], rights: Iterable[Right]
) -> list[str]:
    """Rules that RBAC lacks in each of ``namespaces`` (None: in the whole cluster), a line each.

    Raises:
        errors.RetryError: the API server cannot be asked now.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def allowed(right: Right, namespace: str | None) -> bool:
        resource, _, subresource = right.resource.partition("/")
        attributes = {"verb": right.verb, "group": right.group, "resource": resource}
        if subresource:
            attributes["subresource"] = subresource
        if namespace is not None:
            attributes["namespace"] = namespace
        if right.name is not None:
            attributes["name"] = right.name
        body = {"metadata": {"name": ""}, "spec": {"resourceAttributes": attributes}}
        async with gate:
            return bool((await client.create(ACCESS_REVIEWS, body))["status"]["allowed"])

    asked = [(right, namespace) for namespace in namespaces for right in dict.fromkeys(rights)]
    answers = await asyncio.gather(*(allowed(right, namespace) for right, namespace in asked))
    verbs: dict[tuple[str | None, str, str, str | None], list[str]] = defaultdict(list)
    for (right, namespace), yes in zip(asked, answers, strict=True):
        if not yes:
            verbs[namespace, right.group, right.resource, right.name].append(right.verb)
    return [
        f"RBAC: the operator's service account lacks, {_where(namespace)}, the rule "
        f'{{apiGroups: ["{group}"], resources: ["{plural}"], {_named(name)}verbs: [{", ".join(dict.fromkeys(missing))}]}}'
        for (namespace, group, plural, name), missing in verbs.items()
    ]


def _named(name: str | None) -> str:
    return "" if name is None else f'resourceNames: ["{name}"], '


def _where(namespace: str | None) -> str:
    return "in the whole cluster (ClusterRole)" if namespace is None else f"in namespace {namespace} (Role)"
