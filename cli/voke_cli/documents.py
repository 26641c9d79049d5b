"""Files and directories of YAML, as resources and Secrets; every problem with its file and line.

This is what ``voke check`` judges and ``voke run`` runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Final

from voke_api.problems import Path, Problem, ProblemClass
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_api.salvage import Salvaged, salvage
from voke_api.validate import KINDS
from voke_cli.secret import read_secret
from voke_cli.watch import SUFFIXES
from voke_cli.yaml_json import YamlDocument, YamlFault, read_yaml
from voke_operator.credentials.secret import Secret

STDIN: Final = "-"
_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Where an object was written: a document of a file, or an item of a List in it."""

    file: str
    document: YamlDocument
    root: Path = ()

    def line(self, path: Path) -> int:
        """Line of the value at ``path``, or of what would hold it."""
        path = self.root + path
        while path and path not in self.document.lines:
            path = path[:-1]
        return self.document.lines.get(path, self.document.line)

    def locate(self, problem: Problem) -> Problem:
        """The problem with its file and line."""
        return replace(problem, file=self.file, line=self.line(problem.path))


@dataclass(slots=True)
class Documents:
    """What the files hold. ``problems`` are those of single documents; nothing is known yet of references."""

    plants: list[Plant] = field(default_factory=list)
    profiles: dict[str, DeviceProfile] = field(default_factory=dict)
    pools: dict[str, GatewayPool] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    """By kind and name; of a name that is used twice the first."""
    broken: set[tuple[str, str]] = field(default_factory=set)
    """Kind and name of what is there but cannot be used; its problems have been said."""
    salvaged: list[Salvaged] = field(default_factory=list)
    """What is left of broken resources without their errors: to be judged, never to be run."""
    missing: set[str] = field(default_factory=set)
    """Files and directories that were named and are not there."""
    stand_ins: dict[tuple[str, str], Source] = field(default_factory=dict)
    """Where they are, by a name that they were given because their own is wrong."""

    def locate(self, problem: Problem) -> Problem:
        """A problem that names its resource, with file and line."""
        key = problem.kind, problem.name
        source = self.sources.get(key) or self.stand_ins.get(key)
        return problem if source is None else source.locate(problem)


def by_place(problem: Problem) -> tuple[str, int]:
    """Sorts problems as a person reads files: from the first line to the last."""
    return problem.file or "", problem.line or 0


def read_documents(paths: Sequence[FilePath]) -> Documents:
    """Read all that ``paths`` hold. Never raises for what is in the files, or for a file that is not there."""
    documents = Documents()
    for file in _files(paths, documents.problems):
        text = _text_of(file, documents)
        if text is not None:
            _take_all(text, str(file), documents)
    return documents


def _take_all(text: str, file: str, into: Documents) -> None:
    empty = True
    for document in read_yaml(text):
        empty = False
        _take(document, file, into)
    if empty:
        into.problems.append(_file_problem(file, "holds no document, only comments or nothing"))


def _files(paths: Sequence[FilePath], problems: list[Problem]) -> list[FilePath]:
    """Each file once, however often and in whatever way it is named."""
    files: dict[FilePath, FilePath] = {}
    for path in paths:
        found = [path]
        if _is_directory(path):
            found = sorted(file for file in path.rglob("*") if _is_meant(file, path))
            if not found:
                problems.append(_file_problem(str(path), f"holds no {', '.join(SUFFIXES)} file"))
        for file in found:
            files.setdefault(file.absolute(), file)
    return list(files.values())


def _is_directory(path: FilePath) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that no file can have; reading it will say so
        return False


def _is_meant(file: FilePath, directory: FilePath) -> bool:
    """Hidden files and folders are not: kubelet mounts every file a second time below ``..data``."""
    hidden = any(part.startswith(".") for part in file.relative_to(directory).parts)
    return file.suffix in SUFFIXES and not hidden and file.is_file()


def _text_of(file: FilePath, documents: Documents) -> str | None:
    try:
        return _text(file)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            documents.missing.add(str(file))
        documents.problems.append(_file_problem(str(file), f"cannot be read: {error.strerror or error}"))
    except ValueError as error:
        documents.problems.append(_file_problem(str(file), str(error)))
    return None


def _text(file: FilePath) -> str:
    """Raises ValueError with a sentence for people."""
    if str(file) == STDIN:
        content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        # A pipe that nobody writes to is empty, instead of being waited for.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            os.set_blocking(descriptor, True)
            content = stream.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"is larger than {_MAX_BYTES // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8: line {line} holds other bytes; save it as UTF-8") from None


def _take(document: YamlDocument, file: str, into: Documents) -> None:
    whole = Source(file, document)
    if document.faults:
        kind, name = _identity(document.value)
        into.problems += [_fault(fault, file, kind, name) for fault in document.faults]
        into.broken.add((kind, name))
        return
    for value, source in _objects(document.value, whole):
        _take_object(value, source, into)


def _objects(value: object, source: Source) -> Iterator[tuple[object, Source]]:
    """The object itself, or the items of a List."""
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            yield item, Source(source.file, source.document, (*source.root, "items", index))
    else:
        yield value, source


def _take_object(value: object, source: Source, into: Documents) -> None:
    kind, name = _identity(value)
    result: object
    if kind == "Secret" and isinstance(value, dict):
        result = read_secret(value, name)
    elif kind and kind not in KINDS:
        result = [
            Problem(
                path=("kind",),
                value=kind,
                kind=kind,
                name=name,
                message=_other_kind(kind),
                problem_class=ProblemClass.SCHEMA,
            )
        ]
    else:
        salvaged = salvage(value)
        result = salvaged.problems or salvaged.resource
        into.salvaged += [salvaged] if salvaged.problems else []
        if salvaged.problems and salvaged.resource is not None:
            into.stand_ins.setdefault((kind, salvaged.resource.metadata.name), source)
    problems = result if isinstance(result, list) else []
    into.problems += [source.locate(problem) for problem in problems]
    if problems:
        into.broken.add((kind, name))
    first = into.sources.setdefault((kind, name), source)
    if first is not source and name:
        message = (
            f"another {kind} has this name, in {first.file} on line {first.line(())}; each needs its own"
        )
        problem = Problem(path=("metadata", "name"), value=name, kind=kind, name=name, message=message)
        into.problems.append(source.locate(problem))
        return
    match result:
        case Plant():
            into.plants.append(result)
        case DeviceProfile():
            into.profiles[name] = result
        case GatewayPool():
            into.pools[name] = result
        case Secret():
            into.secrets[name] = result


def _other_kind(kind: str) -> str:
    close = get_close_matches(kind, [*KINDS, "Secret"], n=1)
    return (
        f"unknown kind; did you mean {close[0]}?"
        if close
        else ("this kind has no meaning here; known kinds are Plant, DeviceProfile, GatewayPool and Secret")
    )


def _identity(value: object) -> tuple[str, str]:
    """Kind and name, as far as they are there."""
    if not isinstance(value, dict):
        return "", ""
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = value.get("kind")
    return kind if isinstance(kind, str) else "", name if isinstance(name, str) else ""


def _fault(fault: YamlFault, file: str, kind: str, name: str) -> Problem:
    return Problem(path=fault.path, message=fault.message, file=file, line=fault.line, kind=kind, name=name)


def _file_problem(file: str, message: str) -> Problem:
    return Problem(path=(), message=message, file=file)
