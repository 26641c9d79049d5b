"""YAML as Kubernetes sees it: as JSON, with the line of every value, and without surprises.

Where YAML readers disagree, this one reads as kubectl does (dates are text, 1e3 is a number, yes is true)
or, where that would surprise (010 is 8; of two equal keys one vanishes), refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from voke_api.problems import Path

_MAX_VALUES: Final = 1_000_000
"""Of one document, aliases expanded: a bound on what a small file can blow up to."""
_MAX_DEPTH: Final = 100
_MAX_COMPOSED: Final = _MAX_DEPTH + 2
_TOO_DEEP: Final = "nests too deep, or an alias contains itself"
_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_TOKENS: Final = {"',' or ']'": "a comma or ]", "',' or '}'": "a comma or }", "'-' indicator": "-"}
"""What the parser expects, in words that are not taken for a quoted value."""
_QUOTED = re.compile(r"(['\"]).{2,}?\1")
_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_INTEGER = re.compile(
    r"[-+]?(0|[1-9][0-9_]*|0[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0o_*[0-7][0-7_]*|0b_*[01][01_]*)"
)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL: Final = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), "nan"),
    **{f"{sign}{word}": f"{sign}inf" for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_LONGEST_NUMBER: Final = 400
_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = "plain"
_TEXT: Final = frozenset({f"{_TAG}str", "!"})
_TYPED: Final = frozenset({_PLAIN, *(f"{_TAG}{name}" for name in ("int", "float", "bool", "null"))})


@dataclass(frozen=True, slots=True)
class YamlFault:
    """Why a document cannot be read, or what in it means something else than it seems."""

    message: str
    """For people; quotes nothing of the file, which may hold secrets."""
    line: int | None
    """1-based."""
    path: Path = ()


@dataclass(slots=True)
class YamlDocument:
    """One document of a file."""

    line: int
    """Where it begins, 1-based."""
    value: Any = field(default=None, repr=False)
    """JSON: dicts with text keys, lists, text, numbers, booleans, None."""
    lines: dict[Path, int] = field(default_factory=dict)
    """Line of every value, for a map's entry that of its key."""
    faults: list[YamlFault] = field(default_factory=list)
    """If there are any, ``value`` is not to be used."""


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.fault = YamlFault(message, line)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Composes nodes; every plain scalar is left for :func:`_plain` to understand."""

    def resolve(self, kind: type[yaml.Node], _value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        names: dict[type[yaml.Node], str] = {
            yaml.MappingNode: "map",
            yaml.SequenceNode: "seq",
            yaml.ScalarNode: "str",
        }
        return f"{_TAG}{names[kind]}"

    _depth = 0

    def descend_resolver(self, parent: Any, _index: Any) -> None:
        """Called before each node. libyaml's composer recurses in C, where too deep is the process's end."""
        self._depth += 1
        if self._depth > _MAX_COMPOSED:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=parent.start_mark)

    def ascend_resolver(self) -> None:
        """Called after each node."""
        self._depth -= 1


def read_yaml(text: str) -> Iterator[YamlDocument]:
    """The documents of a file; one that cannot be read does not keep the others from being read."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text))]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        chunk = text[start:end]
        if _is_empty(chunk):
            continue
        document = _read(chunk, text.count("\n", 0, start))
        if document is not None:
            yield document


def _is_empty(chunk: str) -> bool:
    """Comments, directives and markers only."""
    lines = (line.strip() for line in chunk.removeprefix("---").splitlines())
    return all(not line or line.startswith(("#", "%")) or line == "..." for line in lines)


def _read(chunk: str, offset: int) -> YamlDocument | None:
    document = YamlDocument(line=offset + 1)
    try:
        node = _compose(chunk, offset)
        if node is None:
            return None
        document.line = node.start_mark.line + offset + 1
        document.value = _Converter(document, offset).convert(node, ())
    except _Unreadable as error:
        document.faults.append(error.fault)
    return document


def _compose(chunk: str, offset: int) -> yaml.Node | None:
    try:
        loader = _Loader(chunk)
        try:
            node: yaml.Node | None = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _Unreadable(_explained(error), None if mark is None else mark.line + offset + 1) from None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        raise _Unreadable(
            "not YAML: holds a control character", chunk.count("\n", 0, position) + offset + 1
        ) from None
    except UnicodeEncodeError:
        raise _Unreadable("holds half of a surrogate pair, which is no text", offset + 1) from None
    except RecursionError:
        raise _Unreadable(_TOO_DEEP, offset + 1) from None
    return node


def _explained(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if problem == _TOO_DEEP:
        return problem
    if "\\t" in problem or "tab" in problem or "character that cannot start any token" in problem:
        return (
            "not YAML: a tab is used for indentation, or a value begins with @, ` or %; use spaces or quotes"
        )
    if "undefined alias" in problem:
        return "not YAML: an alias (*…) without its anchor (&…); text that begins with * has to be quoted"
    for quoted, plain in _TOKENS.items():
        problem = problem.replace(quoted, plain)
    context = f" {error.context}" if error.context else ""
    return f"not YAML: {_QUOTED.sub('…', problem + context)}"


class _Converter:
    """Turns nodes into JSON and remembers where each value was."""

    def __init__(self, document: YamlDocument, offset: int) -> None:
        self._document = document
        self._offset = offset
        self._count = 0
        self._merging = 0

    def convert(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > _MAX_VALUES:
            raise _Unreadable(f"aliases blow this up to more than {_MAX_VALUES} values", self._line(node))
        if len(path) + self._merging > _MAX_DEPTH:
            raise _Unreadable(_TOO_DEEP, self._line(node))
        self._document.lines.setdefault(path, self._line(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(entry, (*path, index)) for index, entry in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be text")
                continue
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                self._merge(value_node, path, merged)
                continue
            key = _key(self._scalar(key_node, path))
            here = (*path, key)
            if key in own:
                first = self._document.lines[here]
                self._fault(key_node, here, f"{key} is given twice, first on line {first}; take one out")
                continue
            self._document.lines[here] = self._line(key_node)
            own[key] = self.convert(value_node, here)
        return merged | own

    def _merge(self, node: yaml.Node, path: Path, into: dict[str, Any]) -> None:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                self._merging += 1
                merged = self.convert(source, path)
                self._merging -= 1
                into.update({key: value for key, value in merged.items() if key not in into})
            else:
                self._fault(source, path, "<< merges an object, given by an alias")

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        if node.tag in _TYPED:
            return self._plain(node, str(node.value), path)
        if node.tag in _TEXT:
            return str(node.value)
        self._fault(node, path, "tags (!…) have no meaning here; text that begins with ! has to be quoted")
        return None

    def _plain(self, node: yaml.Node, text: str, path: Path) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_NUMBER:
            return int(text.replace("_", ""), 0)
        if _LEADING_ZERO.fullmatch(text):
            message = "a number that begins with 0 is octal for some readers; take the 0 off, or quote it"
            self._fault(node, path, message)
            return None
        if _FLOAT.fullmatch(text) and len(text) <= _LONGEST_NUMBER:
            return float(text)
        return float(_SPECIAL[text]) if text in _SPECIAL else text

    def _fault(self, node: yaml.Node, path: Path, message: str) -> None:
        self._document.faults.append(YamlFault(message, self._line(node), path))

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + self._offset + 1


def _key(value: Any) -> str:
    """Keys are text in JSON: true, 1 and null are written out."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
