"""What else is wrong with a document that is already known to be wrong.

A rule across fields can only be judged on an object whose fields are right, and a reference only in a
document that is whole. So the smallest parts with errors are cut out and the rest is judged again: a
person sees all mistakes at once, not one layer after the other. What was cut out is remembered by name,
so that a reference to it is not called dangling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final

from voke_api.explain import UNKNOWN_FIELD
from voke_api.problems import Path, Problem
from voke_api.validate import Resource, validate

PLACEHOLDERS: Final[Mapping[Path, Any]] = {
    ("metadata", "name"): "unnamed",
    ("spec", "plantId"): "00000000-0000-0000-0000-000000000000",
    ("spec", "auth"): {"method": "MTLS"},
}
"""What stands for parts without which nothing else could be judged."""
_ROUNDS: Final = 6
"""An entry of a list, the list's owner, … the spec: there are no deeper layers."""
_REFERENCES: Final = {
    "field": {"field", "scaleFrom"},
    "externalId": {"device"},
    "name": {"connection"},
}
"""Keys that name a part, and the last keys of the paths that refer to it."""
_SOME_ENDPOINT: Final = {"host": "unknown"}
_SPEC_KEY: Final = 2
_COMMAND: Final = 3


@dataclass(slots=True)
class Salvaged:
    """What was found in a document, and what of it can be judged further."""

    problems: list[Problem]
    """With paths of the document."""
    resource: Resource | None = None
    """Without the parts that have errors; None: nothing is left that could be judged."""
    cut: set[str] = field(default_factory=set)
    """Names of what was cut out: devices, fields, alarms."""
    uncertain: set[str] = field(default_factory=set)
    """Keys of references that may have meant something whose name was itself wrong."""
    positions: dict[Path, list[int]] = field(default_factory=dict)
    """For each list that was cut, by its path in the document: the index there of each entry left."""

    def original(self, path: Path) -> Path:
        """A path of ``resource`` as a path of the document."""
        steps: Path = ()
        for step in path:
            left = self.positions.get(steps)
            known = left is not None and isinstance(step, int) and step < len(left)
            steps = (*steps, left[step] if known and left is not None and isinstance(step, int) else step)
        return steps

    def explains(self, problem: Problem) -> bool:
        """Whether a problem of ``resource`` may be there only because something was cut out."""
        if problem.value in PLACEHOLDERS.values() or problem.value == _SOME_ENDPOINT["host"]:
            return True
        return str(problem.value) in self.cut or bool(self.uncertain.intersection(problem.path[-1:]))


def salvage(document: object) -> Salvaged:
    """Validate a document; if it has errors, also what is left without the parts that have them."""
    outcome = validate(document)
    if not isinstance(outcome, list):
        return Salvaged([], outcome)
    found = Salvaged(list(outcome))
    if not isinstance(document, dict):
        return found
    try:
        rest = deepcopy(document)
    except RecursionError:
        return found
    for _ in range(_ROUNDS):
        if not _cut(rest, outcome, found):
            break
        outcome = validate(rest)
        if not isinstance(outcome, list):
            found.resource = outcome
            break
        moved = [replace(problem, path=found.original(problem.path)) for problem in outcome]
        found.problems += [p for p in moved if p not in found.problems and _is_new(p, document, found)]
    return found


def _is_new(problem: Problem, document: dict[str, Any], found: Salvaged) -> bool:
    """Not there only because of a cut: what is called missing is missing in the document too."""
    return not found.explains(problem) and (problem.value is not None or not _has(document, problem.path))


def _cut(document: dict[str, Any], problems: Sequence[Problem], found: Salvaged) -> bool:
    """Take the parts with errors out of ``document``; False if one of them cannot be spared."""
    parts = {_part(document, problem) for problem in problems}
    for part in sorted((part for part in parts if part), reverse=True):
        holder, step = _at(document, part[:-1]), part[-1]
        if isinstance(holder, list) and isinstance(step, int):
            found.cut |= _names(holder[step])
            for key, references in _REFERENCES.items():
                if any(problem.path == (*part, key) for problem in problems):
                    found.uncertain |= references
            left = found.positions.setdefault(found.original(part[:-1]), list(range(len(holder))))
            del holder[step], left[step]
        elif isinstance(holder, dict):
            _replace(document, holder, part)
    return () not in parts


def _replace(document: dict[str, Any], holder: dict[str, Any], part: Path) -> None:
    """Put something right in the place of a part that the rest leans on; take any other out."""
    step = part[-1]
    if part in PLACEHOLDERS:
        holder[str(step)] = deepcopy(PLACEHOLDERS[part])
    elif _is_endpoint(part):
        holder[str(step)] = dict(_SOME_ENDPOINT)
    elif _is_connection_of_device(part):
        holder[str(step)] = _at(document, ("spec", "connections", 0, "name"))
    else:
        holder.pop(str(step), None)


def _is_endpoint(part: Path) -> bool:
    return part[:2] == ("spec", "connections") and part[3:] == ("modbusTcp",)


def _is_connection_of_device(part: Path) -> bool:
    return part[:2] == ("spec", "devices") and part[3:] == ("connection",)


def _part(document: dict[str, Any], problem: Problem) -> Path:
    """The smallest part without which the rest makes sense; () if there is none."""
    path = problem.path
    if problem.message.startswith(UNKNOWN_FIELD):
        return path
    for length in range(len(path), 0, -1):
        part = path[:length]
        if part in PLACEHOLDERS or _is_endpoint(part) or _is_connection_of_device(part):
            return part
        if isinstance(part[-1], int) and _has(document, part):
            return part
        is_entry = part[:2] == ("spec", "commands") and length == _COMMAND
        is_optional = part[0] == "spec" and length == _SPEC_KEY
        if (is_entry or is_optional) and _has(document, part):
            return part
    return ()


def _has(document: Any, path: Path) -> bool:
    return _at(document, path) is not None


def _at(document: Any, path: Path) -> Any:
    for step in path:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _names(part: object) -> set[str]:
    return {str(part[key]) for key in _REFERENCES if key in part} if isinstance(part, dict) else set()
