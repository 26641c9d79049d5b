"""The bundle: all that one gateway is to do, as the files of one directory (in a cluster, a mounted Secret).

::

    bundle.json            formatVersion, generation, SHA-256 of every other file
    profiles.json.gz       the DeviceProfiles that its plants use, once
    authorities.json.gz    the brokers' root certificates, once
    plant-<name>.json.gz   one Plant, what matters of its pool, its credentials

The same input gives the same bytes, so an unchanged plant is an unchanged file. A plant that cannot be
read is reported and costs the others nothing. The files hold keys: 0600, never logged.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from voke_api.resolved import PlantCredentials
from voke_api.resources.plant import Plant
from voke_api.resources.pool import GatewayPool
from voke_api.resources.profile import DeviceProfile

FORMATS: Final = (1,)
"""Formats that this version reads; the last is the one it writes."""
MAX_BYTES: Final = 900 * 1024
"""Most bytes of all files together: a Secret holds 1 MiB."""
MANIFEST: Final = "bundle.json"
_PROFILES: Final = "profiles.json.gz"
_AUTHORITIES: Final = "authorities.json.gz"
_MAX_UNPACKED: Final = 64 * 1024 * 1024


R = TypeVar("R", Plant, DeviceProfile, GatewayPool)


class BundleTooLargeError(ValueError):
    """The plants do not fit into one bundle: spread them over more gateways."""

    def __init__(self, size: int, sizes: Mapping[str, int]) -> None:
        largest = max(sizes, key=lambda name: sizes[name])
        super().__init__(
            f"the bundle takes {size} bytes, at most {MAX_BYTES} are allowed; "
            f"its largest file is {largest} with {sizes[largest]}"
        )
        self.size = size
        self.sizes = sizes


class BundleUnreadableError(ValueError):
    """The bundle as a whole cannot be read: keep the last good one and report this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePlant:
    """One plant of a bundle."""

    plant: Plant
    pool: GatewayPool | None
    """Only ``voke`` and ``writes`` of its spec travel; None: the defaults."""
    credentials: PlantCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleProblem:
    """One plant or profile of a bundle that cannot be read."""

    name: str
    message: str
    """For people; without material."""
    kind: Literal["Plant", "DeviceProfile"] = "Plant"
    """Of which the name is; ``profiles`` is all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was read from a bundle's files."""

    format_version: int
    generation: int
    plants: tuple[BundlePlant, ...]
    """In order of name."""
    profiles: Mapping[str, DeviceProfile]
    unreadable: tuple[BundleProblem, ...] = ()
    """Plants to keep running as they were, by name, and why; or profiles."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by file name, as the manifest says."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What its writer has to say of plants whose newest version it could not use, by name."""


def pack(
    plants: Sequence[BundlePlant],
    profiles: Mapping[str, DeviceProfile],
    *,
    generation: int,
    notes: Mapping[str, str] | None = None,
    max_bytes: int | None = MAX_BYTES,
) -> dict[str, bytes]:
    """The files of a bundle, by name. Profiles that no plant uses are left out.

    ``notes`` tells the gateway's reader of plants whose newest version could not be used, by name;
    ``max_bytes`` is None for a bundle that is a plain directory.

    Raises:
        BundleTooLargeError: together they take more than ``max_bytes``.
        ValueError: two plants have the same name.
    """
    used = {d.profile for p in plants for d in p.plant.spec.devices if d.profile is not None}
    authorities = {_digest(ca): _text(ca) for p in plants if (ca := p.credentials.broker_ca) is not None}
    files = {
        _PROFILES: _zip({name: _resource(profiles[name]) for name in used if name in profiles}),
        _AUTHORITIES: _zip(authorities),
    }
    for item in plants:
        name = _file(item.plant.metadata.name)
        if name in files:
            raise ValueError(f"two plants are called {item.plant.metadata.name}")
        files[name] = _zip(_plant(item))
    manifest = {
        "formatVersion": FORMATS[-1],
        "generation": generation,
        "plants": [p.plant.metadata.name for p in plants],
        "files": {name: _digest(content) for name, content in files.items()},
    }
    if notes:
        manifest["notes"] = dict(notes)
    files[MANIFEST] = _json(manifest)
    sizes = {name: len(content) for name, content in files.items()}
    if max_bytes is not None and sum(sizes.values()) > max_bytes:
        raise BundleTooLargeError(sum(sizes.values()), sizes)
    return dict(sorted(files.items()))


def unpack(files: Mapping[str, bytes], previous: Bundle | None = None) -> Bundle:
    """The bundle in ``files``; names that its manifest does not list are ignored.

    With ``previous``, files that have not changed since are not read again: their plants and profiles are the
    very objects of ``previous``, and such files may be left out of ``files``. A profile that cannot be read is
    still the one of ``previous``.

    Raises:
        BundleUnreadableError: the manifest is missing or broken, or its format is not one of :data:`FORMATS`.
    """
    steps = unpacking(files, previous)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            bundle: Bundle = done.value
            return bundle


def unpacking(files: Mapping[str, bytes], previous: Bundle | None = None) -> Generator[None, None, Bundle]:
    """:func:`unpack` in steps, about one plant each, for a caller that has other things to do in between."""
    manifest, generation, names = _manifest(files)
    digests: Mapping[str, str] = manifest["files"]
    read = _Reader(files, manifest)
    known = _unchanged(previous, digests)
    profiles: dict[str, DeviceProfile] = {}
    plants: list[BundlePlant] = []
    unreadable: list[BundleProblem] = []

    if previous is not None and known(_PROFILES):
        profiles.update(previous.profiles)
    else:
        before_profiles = {} if previous is None else previous.profiles
        documents: Mapping[str, Any] = dict.fromkeys(before_profiles)
        with _reporting("profiles", unreadable, "DeviceProfile"):
            documents = read(_PROFILES)
        for name, document in documents.items():
            if document is not None:
                with _reporting(name, unreadable, "DeviceProfile"):
                    profiles[name] = _parse(DeviceProfile, document)
            if name not in profiles and name in before_profiles:
                profiles[name] = before_profiles[name]
            yield
        if unreadable:
            digests = {name: digest for name, digest in digests.items() if name != _PROFILES}
    before = {} if previous is None else {item.plant.metadata.name: item for item in previous.plants}
    same_authorities = known(_AUTHORITIES)
    for name in names:
        if name in before and same_authorities and known(_file(name)):
            plants.append(before[name])
            continue
        with _reporting(name, unreadable):
            plants.append(_read_plant(name, read))
        yield
    return Bundle(
        format_version=manifest["formatVersion"],
        generation=generation,
        plants=tuple(sorted(plants, key=lambda p: p.plant.metadata.name)),
        profiles=profiles,
        unreadable=tuple(unreadable),
        digests=digests,
        notes={name: str(note) for name, note in manifest.get("notes", {}).items()},
    )


def needed_files(manifest: bytes, previous: Bundle | None) -> tuple[str, ...]:
    """Names of the files that :func:`unpack` wants beside this manifest.

    Raises:
        BundleUnreadableError: as :func:`unpack`.
    """
    content, _, names = _manifest({MANIFEST: manifest})
    known = _unchanged(previous, content["files"])
    wanted = [_PROFILES] if not known(_PROFILES) else []
    before = set() if previous is None else {item.plant.metadata.name for item in previous.plants}
    same_authorities = known(_AUTHORITIES)
    changed = [
        _file(name) for name in names if not (name in before and same_authorities and known(_file(name)))
    ]
    if changed:
        wanted.append(_AUTHORITIES)
    return (*wanted, *changed)


def _unchanged(previous: Bundle | None, digests: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a file is the one that ``previous`` was read from."""
    before: Mapping[str, str] = {} if previous is None else previous.digests

    def unchanged(name: str) -> bool:
        return name in before and before[name] == digests.get(name)

    return unchanged


class _Reader:
    """Reads each compressed file of a bundle, and the authorities only once."""

    def __init__(self, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
        self._files = files
        self._digests = manifest["files"]
        self._authorities: Mapping[str, Any] | None = None

    def __call__(self, name: str) -> dict[str, Any]:
        content = self._files.get(name)
        if content is None:
            raise ValueError(f"{name} is missing")
        if _digest(content) != self._digests.get(name):
            raise ValueError(f"{name} is not the file that {MANIFEST} speaks of")
        unzip = zlib.decompressobj(wbits=31)
        try:
            text = unzip.decompress(content, _MAX_UNPACKED)
        except zlib.error:
            raise ValueError(f"{name} is not gzip") from None
        if not unzip.eof:
            raise ValueError(f"{name} is cut off, or larger than {_MAX_UNPACKED} bytes")
        document = json.loads(text)
        if not isinstance(document, dict):
            raise TypeError(f"{name} does not hold an object")
        return document

    def authority(self, key: str) -> bytes:
        if self._authorities is None:
            self._authorities = self(_AUTHORITIES)
        return _bytes(self._authorities[key])


def _manifest(files: Mapping[str, bytes]) -> tuple[dict[str, Any], int, list[str]]:
    if MANIFEST not in files:
        raise BundleUnreadableError(f"{MANIFEST} is missing")
    try:
        manifest = json.loads(files[MANIFEST])
        version = manifest["formatVersion"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BundleUnreadableError(f"{MANIFEST} is not a bundle's manifest") from None
    if version not in FORMATS:
        supported = ", ".join(map(str, FORMATS))
        raise BundleUnreadableError(f"bundle format {version!r} is not supported; supported: {supported}")
    match manifest:
        case {"generation": int(generation), "plants": list(names), "files": dict()} if all(
            isinstance(name, str) for name in names
        ):
            return manifest, generation, names
    raise BundleUnreadableError(f"{MANIFEST} lacks generation, plants or files")


def _read_plant(name: str, read: _Reader) -> BundlePlant:
    document = read(_file(name))
    pool = document.get("pool")
    return BundlePlant(
        plant=_parse(Plant, document["plant"]),
        pool=None if pool is None else _parse(GatewayPool, pool),
        credentials=_credentials(document["credentials"], read),
    )


@contextmanager
def _reporting(
    name: str, into: list[BundleProblem], kind: Literal["Plant", "DeviceProfile"] = "Plant"
) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        into.append(BundleProblem(name=name, message=_reason(error), kind=kind))


def _plant(item: BundlePlant) -> dict[str, Any]:
    document = {"plant": _resource(item.plant), "credentials": _credentials_document(item.credentials)}
    if item.pool is not None:
        pool = _resource(item.pool)
        pool["spec"] = {key: pool["spec"][key] for key in ("voke", "writes") if key in pool.get("spec", {})}
        document["pool"] = pool
    return document


def _resource(resource: Plant | DeviceProfile | GatewayPool) -> dict[str, Any]:
    """What its author wrote, without the metadata that changes while nothing changes."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": resource.metadata.name, "namespace": resource.metadata.namespace},
        "spec": resource.spec.model_dump(mode="json", exclude_unset=True),
    }


def _parse(model: type[R], document: object) -> R:
    return model.model_validate_json(json.dumps(document), strict=True, by_alias=True, by_name=False)


def _credentials_document(credentials: PlantCredentials) -> dict[str, str]:
    document: dict[str, str] = {}
    for each in fields(credentials):
        value = getattr(credentials, each.name)
        if each.name == "broker_ca" and value is not None:
            document["brokerCa"] = _digest(value)
        elif value is not None:
            document[to_camel(each.name)] = _text(value) if isinstance(value, bytes) else value
    return document


def _credentials(document: Mapping[str, Any], read: _Reader) -> PlantCredentials:
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
            given[each.name] = value if each.name in _TEXT_CREDENTIALS else _bytes(value)
    missing = {"client_id", "username", "hmac_key"} - given.keys()
    if missing:
        raise ValueError(f"credentials lack {', '.join(sorted(map(to_camel, missing)))}")
    return PlantCredentials(**given)


_TEXT_CREDENTIALS: Final = frozenset({"client_id", "username", "password"})


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(
            f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        )
    if isinstance(error, json.JSONDecodeError | UnicodeError):
        return "is not JSON, or holds text where bytes are meant"
    if isinstance(error, KeyError):
        return f"lacks {error.args[0]}"
    return str(error) or type(error).__name__


def _file(plant: str) -> str:
    return f"plant-{plant}.json.gz"


def _zip(document: object) -> bytes:
    return gzip.compress(_json(document), mtime=0)


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _text(content: bytes) -> str:
    """Any bytes as text and back; PEM stays readable."""
    return content.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
