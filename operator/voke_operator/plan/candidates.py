"""What is known of a Plant before it may run: what it resolves to, what its Secrets give it, what is wrong.

One judgement for the operator, ``voke check``, ``voke run`` and ``voke probe``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from voke_api.fleet import Endpoint, check_fleet
from voke_api.problems import Problem, Severity
from voke_api.resolve import resolve
from voke_api.resolved import ResolvedPlant
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_operator.credentials.given import Given, credentials_from_secrets
from voke_operator.credentials.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a Plant may refer to: everything of its namespace."""

    profiles: Mapping[str, DeviceProfile] = field(default_factory=dict)
    pools: Mapping[str, GatewayPool] | None = field(default_factory=dict)
    """None: pools do not matter."""
    secrets: Mapping[str, Secret] | None = field(default_factory=dict)
    """None: Secrets do not matter."""
    broken: Collection[tuple[str, str]] = frozenset()
    """Kind and name of what is there but cannot be used."""
    missing_secret: Severity = Severity.ERROR
    """How bad it is that a Secret which is referred to is not there."""
    searched: str = "the files"
    """Where Secrets were looked for, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A Plant, and what was found out about it."""

    plant: Plant
    pool: GatewayPool | None
    """None: there is none of its name, which only one called default need not have."""
    resolved: ResolvedPlant | None
    """What a gateway is to do for it; None if its documents do not say that clearly."""
    given: Given
    """What its Secrets give it."""
    problems: tuple[Problem, ...]

    @property
    def error(self) -> Problem | None:
        """What keeps it from running, the first of it."""
        return next((each for each in self.problems if each.severity is Severity.ERROR), None)

    @property
    def duplicate(self) -> Problem | None:
        """That another Plant has its plantId and is in the right."""
        return next((each for each in self.problems if each.path == ("spec", "plantId")), None)


def candidate(plant: Plant, around: Surroundings, *, now: datetime) -> Candidate:
    """Judge a Plant by itself.

    Args:
        plant: The Plant.
        around: What it may refer to.
        now: For certificates; with a time zone.
    """
    name = plant.spec.pool
    pool = _any_pool(name) if around.pools is None else around.pools.get(name)
    resolved, problems = resolve(plant, around.profiles, pool)
    if pool is None and ("GatewayPool", name) in around.broken:
        problems.append(_broken_pool(plant))
    given = Given()
    if around.secrets is not None:
        given = credentials_from_secrets(
            plant,
            pool,
            around.secrets,
            now=now,
            missing=around.missing_secret,
            searched=around.searched,
        )
    return Candidate(
        plant=plant, pool=pool, resolved=resolved, given=given, problems=(*problems, *given.problems)
    )


def candidates(
    plants: Iterable[Plant],
    around: Surroundings,
    *,
    now: datetime,
    running: Collection[str] = (),
    holds: Mapping[str, Collection[Endpoint]] = MappingProxyType({}),
) -> list[Candidate]:
    """Judge Plants by themselves and side by side: the one that is in the right comes first.

    Args:
        plants: The Plants of one namespace.
        around: What they may refer to.
        now: For certificates; with a time zone.
        running: Names of those that run.
        holds: PLCs that these are connected to, by name.
    """
    ordered = sorted(plants, key=lambda plant: precedence(plant, running=plant.metadata.name in running))
    between = check_fleet(ordered, holds)
    found = []
    for plant in ordered:
        beside = [each for each in between if each.name == plant.metadata.name]
        alone = candidate(plant, around, now=now)
        found.append(replace(alone, problems=(*beside, *alone.problems)))
    return found


def precedence(plant: Plant, *, running: bool) -> tuple[bool, str, str, str]:
    """Of two Plants with one plantId the lesser is in the right: the one that runs, else the older, else by name."""
    created = (plant.metadata.model_extra or {}).get("creationTimestamp")
    return not running, str(created or ""), plant.metadata.namespace, plant.metadata.name


def _any_pool(name: str) -> GatewayPool:
    return GatewayPool.model_validate({"metadata": {"name": name}})


def _broken_pool(plant: Plant) -> Problem:
    return Problem(
        path=("spec", "pool"),
        value=plant.spec.pool,
        message=f"GatewayPool {plant.spec.pool} cannot be used",
        kind="Plant",
        name=plant.metadata.name,
    )
