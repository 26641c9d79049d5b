"""Everything that can be known offline about the plants in some files: the judgement behind ``voke check``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path as FilePath
from typing import TypeVar

from voke_api.blocks import Block, plan_device, requests_per_second
from voke_api.fleet import check_fleet
from voke_api.problems import Path, Problem, Severity, has_errors, unique
from voke_api.resolved import ResolvedDevice, ResolvedPlant
from voke_api.resources import DeviceProfile, Plant
from voke_cli.documents import Documents, by_place, read_documents
from voke_cli.hints import hints
from voke_gateway.protocol.envelope import MAX_BYTES
from voke_gateway.protocol.split import TooLargeError, worst_case_bytes
from voke_operator.plan.candidates import Surroundings, candidate


@dataclass(frozen=True, slots=True)
class PlantReport:
    """What a plant without errors will do."""

    plant: ResolvedPlant
    blocks: dict[str, tuple[Block, ...]]
    """Read requests of one pass, by device."""
    requests_per_second: dict[str, float]
    """By connection."""
    worst_case_bytes: int
    """Of one snapshot; beyond 8,192 it is split."""


@dataclass(slots=True)
class Judgement:
    """What is wrong, and what the plants will do that are right."""

    problems: list[Problem] = field(default_factory=list)
    """In order of file and line."""
    plants: list[PlantReport] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing keeps a plant from running."""
        return not has_errors(self.problems)


def judge(paths: Sequence[FilePath], *, now: datetime) -> Judgement:
    """Read the files and judge them; never raises for what is in them."""
    documents = read_documents(paths)
    judgement = Judgement()
    judge_plant = _Judge(documents, now)
    found = check_fleet([*documents.plants, *_salvaged(documents, Plant)])
    beside = {problem.name for problem in found if problem.severity is Severity.ERROR}
    for plant in documents.plants:
        report, problems = judge_plant(plant)
        found += problems
        judgement.plants += [report] if report is not None and plant.metadata.name not in beside else []
    for salvaged in documents.salvaged:
        if isinstance(salvaged.resource, Plant):
            _, problems = judge_plant(salvaged.resource)
            found += [replace(problem, path=salvaged.original(problem.path)) for problem in problems]
    found += hints(documents)
    located = [documents.locate(problem) for problem in found if not _said(problem, documents)]
    judgement.problems = unique(sorted([*documents.problems, *located], key=by_place))
    if not judgement.problems and not documents.sources:
        judgement.problems.append(Problem(path=(), message="there is nothing to check"))
    return judgement


class _Judge:
    """Judges one plant after another by what the documents hold."""

    def __init__(self, documents: Documents, now: datetime) -> None:
        self._documents = documents
        self._now = now
        partial = {profile.metadata.name: profile for profile in _salvaged(documents, DeviceProfile)}
        self._around = Surroundings(
            profiles=partial | documents.profiles,
            pools=documents.pools,
            secrets=documents.secrets,
            broken=documents.broken,
            missing_secret=Severity.WARNING,
        )

    def __call__(self, plant: Plant) -> tuple[PlantReport | None, list[Problem]]:
        found = candidate(plant, self._around, now=self._now)
        report, problems = None, list(found.problems)
        if found.resolved is not None:
            report, more = _report(found.resolved)
            problems += more
        used = {device.profile for device in plant.spec.devices}
        broken = any(("DeviceProfile", name) in self._documents.broken for name in used)
        sound = not broken and not has_errors(problems)
        return report if sound else None, problems


_R = TypeVar("_R", Plant, DeviceProfile)


def _salvaged(documents: Documents, kind: type[_R]) -> list[_R]:
    return [each.resource for each in documents.salvaged if isinstance(each.resource, kind)]


def _said(problem: Problem, documents: Documents) -> bool:
    """It leads to something that is there but broken, and that has been said."""
    kinds = {"profile": "DeviceProfile", "pool": "GatewayPool", "name": "Secret"}
    kind = kinds.get(str(problem.path[-1])) if problem.path else None
    return (kind is not None and (kind, problem.value) in documents.broken) or any(
        salvaged.explains(problem) for salvaged in documents.salvaged
    )


def _report(plant: ResolvedPlant) -> tuple[PlantReport | None, list[Problem]]:
    problems = [*_too_large(plant), *_too_slow(plant)]
    if has_errors(problems):
        return None, problems
    report = PlantReport(
        plant,
        {device.external_id: plan_device(device) for device in plant.devices},
        requests_per_second(plant),
        worst_case_bytes(plant.devices),
    )
    return report, problems


def _too_large(plant: ResolvedPlant) -> Iterator[Problem]:
    """Values that could be too long for a message of their own."""
    for index, device in enumerate(plant.devices):
        try:
            worst_case_bytes([device])
        except TooLargeError as error:
            message = f"{error}; make the string shorter, or publish: false ({MAX_BYTES} bytes are the limit)"
            yield _problem(plant, ("spec", "devices", index), message)


def _too_slow(plant: ResolvedPlant) -> Iterator[Problem]:
    """Pauses alone that take longer than the time between two ticks."""
    for index, connection in enumerate(plant.connections):
        devices = [device for device in plant.devices if device.connection == connection.name]
        pause = sum(_pause(device) / device.every for device in devices)
        if pause >= plant.interval:
            message = (
                f"the pauses after its requests take {pause:g} s of every {plant.interval:g} s: ticks will be "
                "left out; raise the interval, or every of some devices, or merge requests (maxGap)"
            )
            yield _problem(plant, ("spec", "connections", index), message, Severity.WARNING)


def _pause(device: ResolvedDevice) -> float:
    return device.limits.pause * len(plan_device(device)) if device.limits.pause else 0.0


def _problem(plant: ResolvedPlant, path: Path, message: str, severity: Severity = Severity.ERROR) -> Problem:
    return Problem(path=path, message=message, severity=severity, kind="Plant", name=plant.name)
