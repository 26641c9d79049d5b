"""What is wrong with a resource, said so that a person can mend it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Path = tuple[str | int, ...]
"""Keys and list indexes from the document's root, as written in the file (camelCase)."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dotted(path: Path) -> str:
    """A path for people: ``spec.devices[0].unitId``, ``stringData["hmac.key"]``."""
    text = ""
    for step in path:
        if isinstance(step, str) and _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


class ProblemClass(StrEnum):
    """Who refuses a resource that has this problem."""

    SCHEMA = "schema"
    """The API server and ``voke check``, by the structural schema."""
    CEL = "cel"
    """The API server and ``voke check``, by a rule with our message."""
    SEMANTIC = "semantic"
    """``voke check``; in a cluster a condition says it."""


class Severity(StrEnum):
    """Whether a problem keeps the plant from running."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: where, what, and what would be right."""

    path: Path
    message: str
    """What is wrong and what would be right, in one sentence; never holds secret material."""
    value: Any = None
    """The offending value, if showing it helps."""
    problem_class: ProblemClass = ProblemClass.SEMANTIC
    severity: Severity = Severity.ERROR
    kind: str = ""
    """Resource kind, such as Plant."""
    name: str = ""
    """Resource name."""
    file: str | None = None
    line: int | None = None
    """1-based; set by whoever read the file."""


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether one of them keeps a plant from running."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def unique(problems: Iterable[Problem]) -> list[Problem]:
    """Without what is said twice, such as what is wrong with a Secret that two plants share."""
    seen: set[tuple[object, ...]] = set()
    kept = []
    for problem in problems:
        identity = (problem.kind, problem.name, problem.path, problem.message, problem.file, problem.line)
        if identity not in seen:
            seen.add(identity)
            kept.append(problem)
    return kept
