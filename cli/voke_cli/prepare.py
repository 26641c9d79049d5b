"""From files and a state directory to a bundle: what ``voke run`` does before it runs, and at every change.

The first time everything has to be right. While plants run, a mistake costs only the plant that it concerns,
and that only its change: it stays in the bundle as it was, with a note that says why. Plants leave only when
it is certain that they are meant to: not while a file cannot be understood, which may be half saved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path as FilePath
from typing import Any, Final

from voke_api.bundle import Bundle, BundlePlant
from voke_api.fleet import check_fleet
from voke_api.problems import Problem, Severity, has_errors, unique
from voke_api.resolve import resolve
from voke_api.resolved import PlantCredentials
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_cli.documents import Documents, read_documents
from voke_cli.secrets_check import credentials_from_secrets
from voke_cli.state import State, StateError
from voke_operator.credentials.material import (
    HMAC_KEY,
    JWT_PRIVATE,
    TLS_CERTIFICATE,
    TLS_KEY,
    UnusableIssuerError,
)

_GENERATED: Final = {
    HMAC_KEY: "hmac_key",
    TLS_CERTIFICATE: "tls_certificate",
    TLS_KEY: "tls_key",
    JWT_PRIVATE: "jwt_private_key",
}
"""Fields of PlantCredentials by name of the generated file."""
_NOT_PLANTS: Final = frozenset({"DeviceProfile", "GatewayPool", "Secret"})


@dataclass(slots=True)
class Prepared:
    """What can run, and what is wrong."""

    plants: list[BundlePlant] = field(default_factory=list)
    profiles: dict[str, DeviceProfile] = field(default_factory=dict)
    pools: dict[str, GatewayPool] = field(default_factory=dict)
    notes: dict[str, Problem] = field(default_factory=dict)
    """Why a plant is not what its file says, by name."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing keeps a plant from running."""
        return not has_errors(self.problems)


@dataclass(slots=True)
class _Candidate:
    """A plant that could be read, and what was found out about it."""

    plant: Plant
    given: dict[str, Any] = field(repr=False)
    problems: list[Problem]

    @property
    def error(self) -> Problem | None:
        return next((each for each in self.problems if each.severity is Severity.ERROR), None)


def prepare(paths: Sequence[FilePath], state: State, *, now: datetime) -> Prepared:
    """Read the files, check the plants, and give each its credentials.

    What is missing and may be generated is made in ``state``, but only if nothing is wrong: a file that is
    refused leaves no trace.

    Raises:
        StateError: the state directory cannot be used.
        UnusableIssuerError: the fleet CA in it cannot issue certificates.
    """
    documents = read_documents(paths)
    candidates = _candidates(documents, now, documents.plants)
    prepared = Prepared(profiles=documents.profiles, pools=documents.pools)
    prepared.problems = _all_problems(documents, candidates)
    if not documents.plants and prepared.ok:
        prepared.problems.append(Problem(path=(), message="there is no Plant in these files"))
    if prepared.ok:
        prepared.plants = [_ready(each, documents, state, now) for each in candidates]
        prepared.problems = _all_problems(documents, candidates)
    return prepared


def prepare_again(paths: Sequence[FilePath], state: State, previous: Bundle, *, now: datetime) -> Prepared:
    """The same while ``previous`` runs: what is wrong keeps only its own plant from changing."""
    documents = read_documents(paths)
    before = {item.plant.metadata.name: item for item in previous.plants}
    running_first = sorted(documents.plants, key=lambda plant: plant.metadata.name not in before)
    candidates = _candidates(documents, now, running_first)
    unclear = _unclear(documents)
    prepared = Prepared(profiles={**previous.profiles, **documents.profiles}, pools=documents.pools)
    for candidate in candidates:
        name = candidate.plant.metadata.name
        error = candidate.error or _missing_pool(candidate.plant, documents, before, unclear)
        if error is None:
            try:
                prepared.plants.append(_ready(candidate, documents, state, now))
                continue
            except (StateError, UnusableIssuerError) as failure:
                error = Problem(path=(), message=str(failure), kind="Plant", name=name)
                candidate.problems.append(error)
        _keep(name, error, before, prepared)
    prepared.problems = _all_problems(documents, candidates)
    named = {candidate.plant.metadata.name for candidate in candidates}
    broken = {name: kind for kind, name in documents.broken if name and kind not in _NOT_PLANTS}
    for name in sorted((before.keys() | broken.keys()) - named):
        if name in broken:
            _keep(name, _problem_of(name, prepared.problems), before, prepared)
        elif unclear is not None:
            _keep(name, unclear, before, prepared)
    return prepared


def _keep(name: str, why: Problem | None, before: Mapping[str, BundlePlant], prepared: Prepared) -> None:
    """Leave a plant as it is."""
    if why is not None:
        prepared.notes[name] = why
    if name in before:
        prepared.plants.append(before[name])


def _candidates(documents: Documents, now: datetime, plants: Sequence[Plant]) -> list[_Candidate]:
    between = check_fleet(plants)
    found = []
    for plant in plants:
        name, pool = plant.metadata.name, documents.pools.get(plant.spec.pool)
        _, problems = resolve(plant, documents.profiles, pool)
        given = credentials_from_secrets(plant, pool, documents.secrets, now=now)
        problems = [*(each for each in between if each.name == name), *problems, *given.problems]
        if pool is None and ("GatewayPool", plant.spec.pool) in documents.broken:
            message = f"GatewayPool {plant.spec.pool} cannot be used"
            path = ("spec", "pool")
            problems.append(
                Problem(path=path, value=plant.spec.pool, message=message, kind="Plant", name=name)
            )
        found.append(_Candidate(plant, given.values, [documents.locate(each) for each in problems]))
    return found


def _all_problems(documents: Documents, candidates: Sequence[_Candidate]) -> list[Problem]:
    return unique([*documents.problems, *(problem for each in candidates for problem in each.problems)])


def _ready(candidate: _Candidate, documents: Documents, state: State, now: datetime) -> BundlePlant:
    plant = candidate.plant
    made = state.generated(plant, now)
    if plant.metadata.name in state.made:
        candidate.problems.append(documents.locate(_unregistered(plant, state)))
    generated: dict[str, Any] = {
        _GENERATED[name]: content for name, content in made.items() if name in _GENERATED
    }
    return BundlePlant(
        plant=plant,
        pool=documents.pools.get(plant.spec.pool),
        credentials=PlantCredentials(**candidate.given, **generated),
    )


def _unregistered(plant: Plant, state: State) -> Problem:
    """New keys mean nothing until Voke knows them, and the broker says nothing of messages that Voke refuses."""
    name = plant.metadata.name
    same = [k.name for k in state.known() if k.plant_id == plant.spec.plant_id and k.name != name]
    other = f"; {same[0]} in the same state directory has this plantId and other keys" if same else ""
    return Problem(
        path=("metadata", "name"),
        kind="Plant",
        name=name,
        severity=Severity.WARNING,
        message=f"new keys were generated, which Voke has to be told: voke credentials {name}{other}",
    )


def _unclear(documents: Documents) -> Problem | None:
    """What may hold plants that are not known of: a file, or a nameless part of one, that cannot be read.

    A file that has left its directory holds none any more. One that was named by itself is expected back: some
    editors and tools take a file away before they write it anew.
    """
    for problem in documents.problems:
        if problem.severity is not Severity.ERROR or problem.name or problem.file is None:
            continue
        if problem.file in documents.missing:
            return replace(
                problem, message="is not there, so what it held runs on; put it back, or restart without it"
            )
        if FilePath(problem.file).is_file():
            return replace(problem, message=f"may be in what cannot be understood: {problem.message}")
    return None


def _missing_pool(
    plant: Plant, documents: Documents, before: Mapping[str, BundlePlant], unclear: Problem | None
) -> Problem | None:
    """A pool called default need not be given, but it may be in what cannot be understood just now."""
    name = plant.metadata.name
    had_one = name in before and before[name].pool is not None
    if unclear is None or not had_one or plant.spec.pool in documents.pools:
        return None
    return unclear


def _problem_of(name: str, problems: Sequence[Problem]) -> Problem | None:
    return next((each for each in problems if each.name == name and each.severity is Severity.ERROR), None)
