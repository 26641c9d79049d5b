"""From a parsed document to a resource, or to everything that is wrong with it.

Documents are judged as JSON: "1" is not 1, 1 is not true. Paths are those of the document. A ``status``, as
``kubectl get -o yaml`` shows it, is the operator's and is not judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from voke_api.explain import BOUNDS, explain
from voke_api.problems import Path, Problem, ProblemClass
from voke_api.resources import API_VERSION, DeviceProfile, GatewayPool, Plant
from voke_api.resources.common import RULE_ERROR

Resource = Plant | DeviceProfile | GatewayPool
_Judged = TypeVar("_Judged", bound=BaseModel)
KINDS: Final[Mapping[str, type[Resource]]] = {
    "Plant": Plant,
    "DeviceProfile": DeviceProfile,
    "GatewayPool": GatewayPool,
}

_CLASSES = {error: problem_class for problem_class, error in RULE_ERROR.items()}
_MARKS = {"[key]", "object", "none"}
_SECRET = re.compile(r"credential|secret|passw|token|hmac|private|\.key", re.IGNORECASE)
_NO_OBJECT = {"model_type", "model_attributes_type"}
_LONGEST_VALUE = 200


def validate(document: object) -> Resource | list[Problem]:
    """The resource in ``document``, or its problems: never both, never neither, never an exception."""
    if not isinstance(document, dict):
        return [_problem((), "a resource is an object with apiVersion, kind, metadata and spec")]
    kind = document.get("kind")
    name = _name(document)
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None or not isinstance(kind, str):
        return [_unknown_kind(kind, name)]
    version = document.get("apiVersion")
    if version != API_VERSION:
        message = f"apiVersion must be {API_VERSION}" + ("" if version is not None else "; it is missing")
        return [_problem(("apiVersion",), message, _shown(("apiVersion",), version), kind=kind, name=name)]
    if model is not DeviceProfile:
        document = {key: value for key, value in document.items() if key != "status"}
    return judge(model, document, kind=kind, name=name)


def judge(
    model: type[_Judged], document: object, *, kind: str = "", name: str = ""
) -> _Judged | list[Problem]:
    """``document`` as a ``model``, or its problems, which are said to be of the resource ``kind`` ``name``."""
    try:
        return model.model_validate_json(json.dumps(document), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
    except (TypeError, ValueError, RecursionError):
        message = "cannot be written as JSON (a cycle, nesting without end, or keys that are not text)"
        return [_problem((), message, kind=kind, name=name)]
    return [_explained(detail, document, model, kind, name) for detail in details if _is_own(detail, details)]


def _unknown_kind(kind: object, name: str) -> Problem:
    if kind is None:
        return _problem(("kind",), f"kind is missing; it is one of {', '.join(KINDS)}", name=name)
    close = get_close_matches(str(kind), KINDS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known kinds are {', '.join(KINDS)}"
    return _problem(("kind",), f"unknown kind; {hint}", _shown(("kind",), kind), name=name)


def _is_own(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Not the echo of another error: a list whose entries are wrong is also reported as too short."""
    loc = detail["loc"]
    return detail["type"] != "too_short" or not any(
        len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in details
    )


def _explained(
    detail: ErrorDetails, document: object, model: type[BaseModel], kind: str, name: str
) -> Problem:
    path, given = _place(detail, document)
    type_ = detail["type"]
    problem_class = _class(detail, given)
    value = None if type_ in {"extra_forbidden", "missing", "json_invalid"} else _shown(path, given)
    return _problem(path, explain(detail, path, given, model), value, problem_class, kind=kind, name=name)


def _class(detail: ErrorDetails, given: object) -> ProblemClass:
    type_ = detail["type"]
    out_of_bounds = type_ in BOUNDS and isinstance(given, str)
    if "object" in detail["loc"]:
        # One of two types, which a structural schema cannot say: it is checked only in part, and CEL does not see it.
        unchecked = type_ == "extra_forbidden" or (type_ in _NO_OBJECT and isinstance(given, bool))
        return ProblemClass.SEMANTIC if out_of_bounds or unchecked else ProblemClass.SCHEMA
    if out_of_bounds or "[key]" in detail["loc"]:
        return ProblemClass.CEL  # neither durations nor keys of a map have a structural rule
    return _CLASSES.get(type_, ProblemClass.SCHEMA)


def _place(detail: ErrorDetails, document: object) -> tuple[Path, object]:
    """Where an error is, without the marks pydantic adds for keys and alternatives, and what is written there."""
    path: list[int | str] = []
    here: Any = document
    for step in detail["loc"]:
        inside = (isinstance(here, dict) and step in here) or (
            isinstance(here, list) and isinstance(step, int) and step < len(here)
        )
        if not inside and step in _MARKS:
            continue
        here = here[step] if inside else None
        path.append(step)
    given = detail["input"] if here is None or detail["type"] in _CLASSES else here
    return tuple(path), given


def _shown(path: Path, value: object) -> Any:
    """The value if it is short, plain and certainly no secret."""
    if not isinstance(value, str | int | float) or _SECRET.search(".".join(map(str, path))):
        return None
    return value if len(str(value)) <= _LONGEST_VALUE else f"{str(value)[:_LONGEST_VALUE]}…"


def _name(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _problem(
    path: Path,
    message: str,
    value: Any = None,
    problem_class: ProblemClass = ProblemClass.SCHEMA,
    *,
    kind: str = "",
    name: str = "",
) -> Problem:
    return Problem(path=path, message=message, value=value, problem_class=problem_class, kind=kind, name=name)
