"""Reading bundles, as a gateway does: again and again, at the price of what has changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from voke_api.bundle.form import (
    AUTHORITIES,
    MANIFEST,
    PROFILES,
    Reader,
    plant_file,
    read_credentials,
    read_manifest,
)
from voke_api.bundle.model import Bundle, BundlePlant, BundleProblem
from voke_api.resources.plant import Plant
from voke_api.resources.pool import GatewayPool
from voke_api.resources.profile import DeviceProfile

R = TypeVar("R", Plant, DeviceProfile, GatewayPool)


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
    manifest, generation, names = read_manifest(files)
    digests: Mapping[str, str] = manifest["files"]
    read = Reader(files, manifest)
    known = _unchanged(previous, digests)
    profiles: dict[str, DeviceProfile] = {}
    plants: list[BundlePlant] = []
    unreadable: list[BundleProblem] = []

    if previous is not None and known(PROFILES):
        profiles.update(previous.profiles)
    else:
        before_profiles = {} if previous is None else previous.profiles
        documents: Mapping[str, Any] = dict.fromkeys(before_profiles)
        with _reporting("profiles", unreadable, "DeviceProfile"):
            documents = read(PROFILES)
        for name, document in documents.items():
            if document is not None:
                with _reporting(name, unreadable, "DeviceProfile"):
                    profiles[name] = _parse(DeviceProfile, document)
            if name not in profiles and name in before_profiles:
                profiles[name] = before_profiles[name]
            yield
        if unreadable:
            digests = {name: digest for name, digest in digests.items() if name != PROFILES}
    before = {} if previous is None else {item.plant.metadata.name: item for item in previous.plants}
    same_authorities = known(AUTHORITIES)
    for name in names:
        if name in before and same_authorities and known(plant_file(name)):
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
    content, _, names = read_manifest({MANIFEST: manifest})
    known = _unchanged(previous, content["files"])
    wanted = [PROFILES] if not known(PROFILES) else []
    before = set() if previous is None else {item.plant.metadata.name for item in previous.plants}
    same_authorities = known(AUTHORITIES)
    changed = [
        plant_file(name)
        for name in names
        if not (name in before and same_authorities and known(plant_file(name)))
    ]
    if changed:
        wanted.append(AUTHORITIES)
    return (*wanted, *changed)


def _unchanged(previous: Bundle | None, digests: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a file is the one that ``previous`` was read from."""
    before: Mapping[str, str] = {} if previous is None else previous.digests

    def unchanged(name: str) -> bool:
        return name in before and before[name] == digests.get(name)

    return unchanged


def _read_plant(name: str, read: Reader) -> BundlePlant:
    document = read(plant_file(name))
    pool = document.get("pool")
    return BundlePlant(
        plant=_parse(Plant, document["plant"]),
        pool=None if pool is None else _parse(GatewayPool, pool),
        credentials=read_credentials(document["credentials"], read),
    )


def _parse(model: type[R], document: object) -> R:
    return model.model_validate_json(json.dumps(document), strict=True, by_alias=True, by_name=False)


@contextmanager
def _reporting(
    name: str, into: list[BundleProblem], kind: Literal["Plant", "DeviceProfile"] = "Plant"
) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        into.append(BundleProblem(name=name, message=_reason(error), kind=kind))


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
