"""What is in a bundle that was written before, without reading it as a gateway does.

After a restart a writer asks what a bundle was made from, and takes from it what is still right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from voke_api.bundle.form import (
    MANIFEST,
    MAX_HELD,
    MAX_HELD_ALL,
    Reader,
    plant_file,
    read_credentials,
    read_manifest,
)
from voke_api.bundle.model import Leaving
from voke_api.bundle.write import PackedPlant
from voke_api.fleet import Endpoint, endpoint
from voke_api.resolved import PlantCredentials
from voke_api.resources.common import UUID
from voke_api.resources.plant import MODBUS_PORT

_MAX_NAME: Final = 253
"""Characters of a host's name, or an object's."""
_BROKEN: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What is raised by a file of another shape."""


class NotHeldError(LookupError):
    """The bundle does not hold the credentials of that plant, or not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPlant:
    """What a manifest says of one plant."""

    digest: str
    """SHA-256 of its file."""
    inputs: str
    """What its writer noted down of what the file was made from; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a manifest says of its bundle."""

    format_version: int
    generation: int
    plants: Mapping[str, HeldPlant]
    """By name."""
    notes: Mapping[str, str]
    """Of plants whose newest version could not be used, by name."""
    leaving: tuple[Leaving, ...] = ()
    """Plants that it held before, in order of plant id."""


def contents(files: Mapping[str, bytes]) -> Contents:
    """What a bundle holds; of its files only the manifest is looked at.

    Raises:
        BundleUnreadableError: the manifest is missing or broken, or its format is not known.
    """
    manifest, generation, names = read_manifest(files)
    inputs, notes = (_texts(manifest.get(key)) for key in ("inputs", "notes"))
    plants = {
        name: HeldPlant(digest=str(manifest["files"].get(plant_file(name), "")), inputs=inputs.get(name, ""))
        for name in names
    }
    return Contents(
        format_version=manifest["formatVersion"],
        generation=generation,
        plants=plants,
        notes=notes,
        leaving=tuple(_leaving(manifest.get("leaving"))),
    )


def packed_in(files: Mapping[str, bytes], only: Collection[str] | None = None) -> dict[str, PackedPlant]:
    """Plants as they were packed, by name, to be put into another bundle; those that are not whole are left out.

    Args:
        files: The bundle.
        only: Names that are wanted; None: all.

    Raises:
        BundleUnreadableError: as :func:`contents`.
    """
    manifest, _, names = read_manifest(files)
    held, read = contents(files).plants, Reader(files, manifest, most=MAX_HELD, most_of_all=MAX_HELD_ALL)
    found = {}
    for name in names:
        if only is None or name in only:
            try:
                found[name] = _packed(name, held[name], read)
            except _BROKEN:
                continue
    return found


def _packed(name: str, held: HeldPlant, read: Reader) -> PackedPlant:
    document = read(plant_file(name))
    spec, authority = document["plant"]["spec"], document["credentials"].get("brokerCa")
    profiles = frozenset(device["profile"] for device in spec["devices"] if "profile" in device)
    if not re.fullmatch(UUID, spec["plantId"]) or any(len(each) > _MAX_NAME for each in profiles):
        raise ValueError(f"{name} is not a plant that an API server has let pass")
    return PackedPlant(
        name=name,
        plant_id=spec["plantId"],
        content=read.content(plant_file(name)),
        digest=held.digest,
        profiles=profiles,
        endpoints=_endpoints(spec),
        authority=None if authority is None else read.authority(authority),
        inputs=held.inputs,
    )


def _endpoints(spec: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    """As :func:`voke_api.fleet.endpoints` has them."""
    if spec.get("suspend"):
        return ()
    found = (connection.get("modbusTcp") for connection in spec["connections"])
    places = (endpoint(str(tcp["host"]), int(tcp.get("port", MODBUS_PORT))) for tcp in found if tcp)
    different = tuple(dict.fromkeys(places))
    if any(len(place.rpartition(":")[0]) > _MAX_NAME for place in different):
        raise ValueError("a host has a name that no host has")
    return different


def credentials_in(files: Mapping[str, bytes], name: str, *, plant_id: str) -> PlantCredentials:
    """The credentials of the plant of that name and id: the copy from which lost keys are restored.

    Raises:
        NotHeldError: the bundle does not hold them whole, or what it holds is another plant's.
        BundleUnreadableError: as :func:`contents`.
    """
    manifest, _, names = read_manifest(files)
    if name not in names:
        raise NotHeldError(f"{MANIFEST} does not list {name}")
    read = Reader(files, manifest, most=MAX_HELD)
    try:
        document = read(plant_file(name))
        found, credentials = document["plant"]["spec"]["plantId"], document["credentials"]
        if found == plant_id:
            return read_credentials(credentials, read)
    except _BROKEN:
        raise NotHeldError(f"what the bundle holds of {name} cannot be read") from None
    raise NotHeldError(f"the bundle holds plant {found} under the name {name}, not {plant_id}")


def says_the_same(manifest: bytes, other: bytes) -> bool:
    """Whether two manifests mean the same: the same files, notes and plants leaving, of whatever generation.

    A writer that finds them so need not write.
    """
    meaning = _meaning(manifest)
    return meaning is not None and meaning == _meaning(other)


def _meaning(manifest: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(manifest)
    except (ValueError, RecursionError):
        return None
    return {**content, "generation": None, "inputs": None} if isinstance(content, dict) else None


def _leaving(entries: object) -> Iterator[Leaving]:
    for plant_id, entry in sorted(entries.items()) if isinstance(entries, dict) else ():
        match entry:
            case {"plant": str(plant), "since": int(since)}:
                yield Leaving(plant=plant, plant_id=plant_id, since=since)


def _texts(entries: object) -> dict[str, str]:
    return {str(key): str(text) for key, text in entries.items()} if isinstance(entries, dict) else {}
