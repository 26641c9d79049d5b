"""From files and a state directory to a bundle: what ``voke run`` does before it runs, and at every change.

The first time everything has to be right. While plants run, a mistake costs only the plant that it concerns,
and that only its change: it stays in the bundle as it was, with a note that says why. Plants leave only when
it is certain that they are meant to: not while a file cannot be understood, which may be half saved.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Final

from voke_api.bundle import Bundle, BundlePlant
from voke_api.fleet import endpoints
from voke_api.problems import Problem, Severity, has_errors, unique
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_cli.documents import Documents, by_place, read_documents
from voke_cli.state import State, StateError, default_directory
from voke_operator.credentials.bundled import for_bundle
from voke_operator.credentials.material import UnusableIssuerError
from voke_operator.plan.candidates import Candidate, Surroundings, candidates

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


def prepare(paths: Sequence[FilePath], state: State, *, now: datetime) -> Prepared:
    """Read the files, check the plants, and give each its credentials.

    What is missing and may be generated is made in ``state``, but only if nothing is wrong: a file that is
    refused leaves no trace.

    Raises:
        StateError: the state directory cannot be used.
        UnusableIssuerError: the fleet CA in it cannot issue certificates.
    """
    documents = read_documents(paths)
    found = _candidates(documents, now)
    prepared = Prepared(profiles=documents.profiles, pools=documents.pools)
    prepared.problems = _all_problems(documents, found)
    if not documents.plants and prepared.ok:
        prepared.problems.append(Problem(path=(), message="there is no Plant in these files"))
    if prepared.ok:
        prepared.plants = [_ready(each, state, now) for each in found]
        prepared.problems += _unregistered(found, documents, state)
    return prepared


def prepare_again(paths: Sequence[FilePath], state: State, previous: Bundle, *, now: datetime) -> Prepared:
    """The same while ``previous`` runs: what is wrong keeps only its own plant from changing."""
    documents = read_documents(paths)
    before = {item.plant.metadata.name: item for item in previous.plants}
    found = _candidates(documents, now, before)
    failures: list[Problem] = []
    unclear = _unclear(documents)
    prepared = Prepared(profiles={**previous.profiles, **documents.profiles}, pools=documents.pools)
    for candidate in found:
        name = candidate.plant.metadata.name
        error = candidate.error or _missing_pool(candidate.plant, documents, before, unclear)
        if error is None:
            try:
                prepared.plants.append(_ready(candidate, state, now))
                continue
            except (StateError, UnusableIssuerError) as failure:
                error = Problem(path=(), message=str(failure), kind="Plant", name=name)
                failures.append(error)
        _keep(name, error, before, prepared)
    prepared.problems = [
        *_all_problems(documents, found),
        *failures,
        *_unregistered(found, documents, state),
    ]
    named = {candidate.plant.metadata.name for candidate in found}
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


def _candidates(
    documents: Documents, now: datetime, before: Mapping[str, BundlePlant] = MappingProxyType({})
) -> list[Candidate]:
    around = Surroundings(
        profiles=documents.profiles,
        pools=documents.pools,
        secrets=documents.secrets,
        broken=documents.broken,
    )
    holds = {name: endpoints(item.plant) for name, item in before.items()}
    found = candidates(documents.plants, around, now=now, running=before, holds=holds)
    return [
        replace(each, problems=tuple(documents.locate(problem) for problem in each.problems))
        for each in found
    ]


def _all_problems(documents: Documents, found: Sequence[Candidate]) -> list[Problem]:
    all_found = [*documents.problems, *(problem for each in found for problem in each.problems)]
    return unique(sorted(all_found, key=by_place))


def _ready(candidate: Candidate, state: State, now: datetime) -> BundlePlant:
    return BundlePlant(
        plant=candidate.plant,
        pool=candidate.pool,
        credentials=for_bundle(candidate.given.values, state.generated(candidate.plant, now)),
    )


def _unregistered(found: Sequence[Candidate], documents: Documents, state: State) -> Iterator[Problem]:
    """New keys mean nothing until Voke knows them, and the broker says nothing of messages that Voke refuses."""
    for candidate in found:
        name, plant_id = candidate.plant.metadata.name, candidate.plant.spec.plant_id
        if name not in state.made:
            continue
        same = [k.name for k in state.known() if k.plant_id == plant_id and k.name != name]
        other = f"; {same[0]} in the same state directory has this plantId and other keys" if same else ""
        problem = Problem(
            path=("metadata", "name"),
            kind="Plant",
            name=name,
            severity=Severity.WARNING,
            message=f"new keys were generated, which Voke has to be told: {_shown_by(name, state)}{other}",
        )
        yield documents.locate(problem)


def _shown_by(plant: str, state: State) -> str:
    """The command that shows what to register, to be pasted."""
    where = "" if state.directory == default_directory() else f" --state {shlex.quote(str(state.directory))}"
    return f"voke credentials {plant}{where}"


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
