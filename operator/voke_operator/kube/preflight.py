"""What must be there before the operator can work: its CRDs, and the rights that RBAC gives it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from voke_operator.kube import errors
from voke_operator.kube.client import Client
from voke_operator.kube.resources import ACCESS_REVIEWS, CHILDREN, OURS, Resource
from voke_operator.kube.sources import Scope

_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Right:
    """Something that the operator must be allowed to do."""

    verb: str
    resource: Resource
    subresource: str = ""


WATCHING: Final = tuple(
    Right(verb, resource) for resource in (*OURS, *CHILDREN) for verb in ("get", "list", "watch")
)
"""What :class:`voke_operator.kube.sources.Sources` needs."""


async def preflight(client: Client, scope: Scope, rights: Iterable[Right] = WATCHING) -> list[str]:
    """What is missing in the cluster, a line each that names the remedy; empty if nothing is.

    Raises:
        errors.RetryError: the API server cannot be asked now.
    """
    return await _missing_kinds(client, scope) + await _missing_rights(client, scope, rights)


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


async def _missing_rights(client: Client, scope: Scope, rights: Iterable[Right]) -> list[str]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def allowed(right: Right, namespace: str | None) -> bool:
        attributes = {
            "verb": right.verb,
            "group": right.resource.group,
            "version": right.resource.version,
            "resource": right.resource.plural,
        }
        if right.subresource:
            attributes["subresource"] = right.subresource
        if namespace is not None:
            attributes["namespace"] = namespace
        body = {"metadata": {"name": ""}, "spec": {"resourceAttributes": attributes}}
        async with gate:
            return bool((await client.create(ACCESS_REVIEWS, body))["status"]["allowed"])

    asked = [(right, namespace) for namespace in scope.parts for right in dict.fromkeys(rights)]
    answers = await asyncio.gather(*(allowed(right, namespace) for right, namespace in asked))
    verbs: dict[tuple[str | None, str, str], list[str]] = defaultdict(list)
    for (right, namespace), yes in zip(asked, answers, strict=True):
        if not yes:
            plural = (
                f"{right.resource.plural}/{right.subresource}" if right.subresource else right.resource.plural
            )
            verbs[namespace, right.resource.group, plural].append(right.verb)
    return [
        f"RBAC: the operator's service account lacks, {_where(namespace)}, the rule "
        f'{{apiGroups: ["{group}"], resources: ["{plural}"], verbs: [{", ".join(dict.fromkeys(missing))}]}}'
        for (namespace, group, plural), missing in verbs.items()
    ]


def _where(namespace: str | None) -> str:
    return "in the whole cluster (ClusterRole)" if namespace is None else f"in namespace {namespace} (Role)"
