"""Kubernetes Secrets in files: how they are read, and what can be wrong with them."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any, Final

from voke_api.problems import Path, Problem
from voke_operator.credentials.secret import Secret

_FIELDS: Final = ("apiVersion", "data", "immutable", "kind", "metadata", "stringData", "type")


def read_secret(document: Mapping[str, Any], name: str) -> Secret | list[Problem]:
    """The Secret in a document of kind Secret, or what is wrong with it."""
    metadata = document.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    labels = metadata.get("labels") or {}
    entries = list(_entries(document))
    faults = [*_frame(document, name, labels), *((path, e) for path, e in entries if isinstance(e, str))]
    if faults:
        return [Problem(path=path, kind="Secret", name=name, message=message) for path, message in faults]
    data = {str(path[-1]): content for path, content in entries if isinstance(content, bytes)}
    places = {str(path[-1]): path for path, _ in entries}
    return Secret(name, str(metadata.get("namespace") or "default"), labels, data, places)


def _frame(document: Mapping[str, Any], name: str, labels: object) -> Iterator[tuple[Path, str]]:
    if document.get("apiVersion") != "v1":
        yield ("apiVersion",), "apiVersion of a Secret must be v1"
    for unknown in sorted(document.keys() - set(_FIELDS)):
        yield (unknown,), f"unknown field; a Secret has {', '.join(_FIELDS)}"
    if not name:
        yield ("metadata", "name"), "name is required"
    if not isinstance(labels, dict) or not all(isinstance(label, str) for label in labels.values()):
        yield ("metadata", "labels"), "labels are text; put true and numbers in quotes"


def _entries(document: Mapping[str, Any]) -> Iterator[tuple[Path, bytes | str]]:
    """Every entry with its content, or with what is wrong with it; stringData comes last and wins."""
    for where, decode in (("data", _base64), ("stringData", _utf8)):
        entries = document.get(where)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            yield (where,), "must be an object of text values"
            continue
        for key, text in entries.items():
            yield (where, key), decode(text) if isinstance(text, str) else "must be text; put it in quotes"


def _base64(text: str) -> bytes | str:
    try:
        return b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return "must be base64; plain text goes into stringData"


def _utf8(text: str) -> bytes | str:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return "holds text that is not valid Unicode"
