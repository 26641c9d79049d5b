"""How a bundle is written down: names of files, their encoding, and how each is checked before it is believed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Any, Final

from pydantic.alias_generators import to_camel

from voke_api.resolved import PlantCredentials

FORMATS: Final[tuple[int, ...]] = (1,)
"""Formats that this version reads and writes, the oldest first."""
MAX_BYTES: Final = 900 * 1024
"""Most bytes of all files together: a Secret holds 1 MiB."""
MANIFEST: Final = "bundle.json"
PROFILES: Final = "profiles.json.gz"
AUTHORITIES: Final = "authorities.json.gz"
_MAX_UNPACKED: Final = 64 * 1024 * 1024
"""Bytes of one file for a gateway, whose profiles are in one."""
MAX_GENERATION: Final = 2**53
"""Beyond it a number is not the same for every reader of JSON."""
MAX_PLANTS: Final = 5_000
"""In one bundle; ten times what a gateway is meant for."""
MAX_HELD: Final = 4 * 1024 * 1024
"""Bytes of one plant's file for whoever keeps the bundles of many: an API server takes a Plant of 1.5 MiB. Who may write
Secrets may forge a bundle, and parsed it may take twenty times as much memory."""
MAX_HELD_ALL: Final = 64 * 1024 * 1024
"""Bytes of all files together for such a reader."""
MAX_AUTHORITY: Final = 512 * 1024
"""Bytes of the roots of one pool; a system's whole trust store has half of that."""
_GZIP_OS: Final = 9
"""Where gzip notes the operating system (RFC 1952, 2.3)."""
_TEXT_CREDENTIALS: Final = frozenset({"client_id", "username", "password"})


class BundleUnreadableError(ValueError):
    """The bundle as a whole cannot be read: keep the last good one and report this."""


class UnknownFormatError(BundleUnreadableError):
    """It is not damaged: somebody of another version has written it."""


def plant_file(plant: str) -> str:
    """Name of a plant's file."""
    return f"plant-{plant}.json.gz"


def zipped(document: object, before: bytes | None = None) -> bytes:
    """A document as the content of a file: the very bytes of ``before`` if they hold it already."""
    text = as_json(document)
    if before is not None and _holds(before, text):
        return before
    content = gzip.compress(text, mtime=0)
    return content[:_GZIP_OS] + b"\xff" + content[_GZIP_OS + 1 :]  # versions differ in it; 0xff: unknown


def hold_the_same(file: bytes, other: bytes) -> bool:
    """Whether two files hold the same document: each zlib compresses it to other bytes."""
    if file == other:
        return True
    try:
        return _holds(other, _unzipped(file, MAX_HELD))
    except ValueError:
        return False


def _holds(file: bytes, text: bytes) -> bool:
    try:
        return _unzipped(file, len(text) + 1) == text
    except ValueError:
        return False


def _unzipped(file: bytes, most: int) -> bytes:
    """What was compressed.

    Raises:
        ValueError: it is not gzip, or not whole; or there are more than ``most`` bytes.
    """
    unzip = zlib.decompressobj(wbits=31)
    try:
        text = unzip.decompress(file, most)
    except zlib.error:
        raise ValueError("is not gzip") from None
    if not unzip.eof or unzip.unused_data:
        raise ValueError(f"is cut off, or larger than {most} bytes, or something follows it")
    return text


def as_json(document: object) -> bytes:
    """The same bytes for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def digest(content: bytes) -> str:
    """SHA-256, in hex."""
    return sha256(content).hexdigest()


def as_text(content: bytes) -> str:
    """Any bytes as text and back; PEM stays readable."""
    return content.decode("latin-1")


def as_bytes(text: str) -> bytes:
    """The reverse of :func:`as_text`."""
    return text.encode("latin-1")


def read_manifest(files: Mapping[str, bytes]) -> tuple[dict[str, Any], int, list[str]]:
    """The manifest, its generation and the names of its plants.

    Raises:
        BundleUnreadableError: it is missing or broken.
        UnknownFormatError: its format is not one of :data:`FORMATS`.
    """
    if MANIFEST not in files:
        raise BundleUnreadableError(f"{MANIFEST} is missing")
    try:
        manifest = json.loads(files[MANIFEST])
        version = manifest["formatVersion"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BundleUnreadableError(f"{MANIFEST} is not a bundle's manifest") from None
    if not isinstance(version, int):
        raise BundleUnreadableError(f"{MANIFEST} is not a bundle's manifest")
    if version not in FORMATS:
        supported = ", ".join(map(str, FORMATS))
        raise UnknownFormatError(f"bundle format {version!r} is not supported; supported: {supported}")
    match manifest:
        case {"generation": int(generation), "plants": list(names), "files": dict()} if all(
            isinstance(name, str) for name in names
        ):
            if not 0 <= generation <= MAX_GENERATION:
                raise BundleUnreadableError(f"{MANIFEST} has a generation that no writer comes to")
            if len(set(names)) < len(names) or len(names) > MAX_PLANTS:
                raise BundleUnreadableError(f"{MANIFEST} lists plants twice, or more than {MAX_PLANTS}")
            return manifest, generation, names
    raise BundleUnreadableError(f"{MANIFEST} lacks generation, plants or files")


class Reader:
    """Reads each compressed file of a bundle, and the authorities only once."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        manifest: Mapping[str, Any],
        *,
        most: int = _MAX_UNPACKED,
        most_of_all: int | None = None,
    ) -> None:
        """``most``: bytes of one file that are unpacked; ``most_of_all``: of all together, None: without bound."""
        self._most = most
        self._left = most_of_all
        self._files = files
        self._digests = manifest["files"]
        self._authorities: Mapping[str, Any] | None = None
        self._roots: dict[str, bytes] = {}

    def __call__(self, name: str) -> dict[str, Any]:
        """The object in a file.

        Raises:
            ValueError, TypeError, RecursionError: there is none, or it is not the one of the manifest.
        """
        content = self.content(name)
        try:
            text = _unzipped(
                content, self._most if self._left is None else max(1, min(self._most, self._left))
            )
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
        if self._left is not None:
            self._left -= len(text)
        document = json.loads(text)
        if not isinstance(document, dict):
            raise TypeError(f"{name} does not hold an object")
        return document

    def content(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            ValueError: it is missing, or not the one of the manifest.
        """
        content = self._files.get(name)
        if content is None:
            raise ValueError(f"{name} is missing")
        if digest(content) != self._digests.get(name):
            raise ValueError(f"{name} is not the file that {MANIFEST} speaks of")
        return content

    def authority(self, key: str) -> bytes:
        """A root certificate by its digest; errors as of a call, and KeyError."""
        if self._authorities is None:
            self._authorities = self(AUTHORITIES)
        if key not in self._roots:
            root = as_bytes(self._authorities[key])
            if len(root) > MAX_AUTHORITY:
                raise ValueError(f"a root in {AUTHORITIES} has more than {MAX_AUTHORITY} bytes")
            self._roots[key] = root
        return self._roots[key]


def credentials_document(credentials: PlantCredentials) -> dict[str, str]:
    """Credentials as a part of a plant's file; the root certificate by its digest."""
    document: dict[str, str] = {}
    for each in fields(credentials):
        value = getattr(credentials, each.name)
        if each.name == "broker_ca" and value is not None:
            document["brokerCa"] = digest(value)
        elif value is not None:
            document[to_camel(each.name)] = as_text(value) if isinstance(value, bytes) else value
    return document


def read_credentials(document: Mapping[str, Any], read: Reader) -> PlantCredentials:
    """The reverse of :func:`credentials_document`.

    Raises:
        ValueError, TypeError, KeyError: they are not whole.
    """
    given: dict[str, Any] = {}
    for each in fields(PlantCredentials):
        value = document.get(to_camel(each.name))
        if value is None:
            continue
        if not isinstance(value, str):
            raise TypeError(f"credentials: {to_camel(each.name)} is not text")
        if each.name == "broker_ca":
            given[each.name] = read.authority(value)
        else:
            given[each.name] = value if each.name in _TEXT_CREDENTIALS else as_bytes(value)
    missing = {"client_id", "username", "hmac_key"} - given.keys()
    if missing:
        raise ValueError(f"credentials lack {', '.join(sorted(map(to_camel, missing)))}")
    return PlantCredentials(**given)
