"""From files and a state directory to plants that can run: what ``voke run`` does before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path as FilePath
from typing import Any

from voke_api.fleet import check_fleet
from voke_api.problems import Problem, Severity
from voke_api.resolve import resolve
from voke_api.resolved import PlantCredentials
from voke_api.resources import GatewayPool, Plant
from voke_cli.documents import read_documents
from voke_cli.secrets_check import credentials_from_secrets, unique
from voke_cli.state import State
from voke_gateway.runtime.gateway import Assignment
from voke_operator.credentials.material import HMAC_KEY, JWT_PRIVATE, TLS_CERTIFICATE, TLS_KEY

_GENERATED = {
    HMAC_KEY: "hmac_key",
    TLS_CERTIFICATE: "tls_certificate",
    TLS_KEY: "tls_key",
    JWT_PRIVATE: "jwt_private_key",
}
"""Fields of PlantCredentials by name of the generated file."""


@dataclass(slots=True)
class Prepared:
    """What can run, and what is wrong."""

    assignments: list[Assignment] = field(default_factory=list)
    pools: dict[str, GatewayPool] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing keeps a plant from running."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)


def prepare(paths: Sequence[FilePath], state: State, *, now: datetime, read_only: bool) -> Prepared:
    """Read the files, resolve the plants, and give each its credentials.

    What is missing and may be generated is made in ``state``, but only if nothing is wrong: a file that is
    refused leaves no trace.

    Raises:
        StateError: the state directory cannot be used.
        UnusableIssuerError: the fleet CA in it cannot issue certificates.
    """
    documents = read_documents(paths)
    prepared = Prepared(pools=documents.pools)
    found: list[Problem] = [*check_fleet(documents.plants)]
    ready: list[tuple[Plant, Any, dict[str, Any]]] = []
    reason = "voke run was started with --read-only" if read_only else None
    for plant in documents.plants:
        pool = documents.pools.get(plant.spec.pool)
        resolved, problems = resolve(plant, documents.profiles, pool, read_only=reason)
        given = credentials_from_secrets(plant, pool, documents.secrets, now=now)
        found += [*problems, *given.problems]
        ready.append((plant, resolved, given.values))
    prepared.problems = unique([*documents.problems, *(documents.locate(problem) for problem in found)])
    if not documents.plants and prepared.ok:
        prepared.problems.append(Problem(path=(), message="there is no Plant in these files"))
    if prepared.ok:
        for plant, resolved, values in ready:
            credentials = PlantCredentials(**values, **_generated(state, plant, now))
            prepared.assignments.append(Assignment(resolved, credentials))
    return prepared


def _generated(state: State, plant: Plant, now: datetime) -> dict[str, Any]:
    made = state.generated(plant, now)
    return {_GENERATED[name]: content for name, content in made.items() if name in _GENERATED}
