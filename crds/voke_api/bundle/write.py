"""Writing bundles: each plant is packed once per change, a bundle is put together from what is packed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from voke_api.bundle.form import (
    AUTHORITIES,
    FORMATS,
    MANIFEST,
    MAX_BYTES,
    PROFILES,
    as_json,
    as_text,
    credentials_document,
    digest,
    hold_the_same,
    plant_file,
    zipped,
)
from voke_api.bundle.model import BundlePlant, BundleTooLargeError, Leaving
from voke_api.fleet import Endpoint, endpoints
from voke_api.resources.plant import Plant
from voke_api.resources.pool import GatewayPool
from voke_api.resources.profile import DeviceProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPlant:
    """One plant as a file of a bundle, and what of the bundle's other files it needs."""

    name: str
    plant_id: str
    content: bytes = field(repr=False)
    """The file. It holds keys."""
    digest: str
    """SHA-256 of ``content``."""
    profiles: frozenset[str]
    """Names of the DeviceProfiles that it uses."""
    endpoints: tuple[Endpoint, ...] = ()
    """PLCs that it connects to."""
    authority: bytes | None = field(default=None, repr=False)
    """PEM of the root that its broker's certificate must lead to."""
    inputs: str = ""
    """What the file was made from, in a form that only its writer understands; nothing secret."""

    @property
    def size(self) -> int:
        """Bytes that it adds to a bundle, apart from profiles and authorities."""
        entries = len(f'"{self.name}","{plant_file(self.name)}":"{self.digest}",')
        noted = len(f'"{self.name}":"{self.inputs}",') if self.inputs else 0
        return len(self.content) + entries + noted


def pack_plant(item: BundlePlant, *, inputs: str = "") -> PackedPlant:
    """A plant as a file; see :class:`PackedPlant` for ``inputs``."""
    content = zipped(_plant(item))
    return PackedPlant(
        name=item.plant.metadata.name,
        plant_id=item.plant.spec.plant_id,
        content=content,
        digest=digest(content),
        profiles=frozenset(d.profile for d in item.plant.spec.devices if d.profile is not None),
        endpoints=endpoints(item.plant),
        authority=item.credentials.broker_ca,
        inputs=inputs,
    )


def profile_size(profile: DeviceProfile) -> int:
    """Bytes that a profile adds to a bundle, about."""
    return len(zipped(_resource(profile)))


def assemble(
    plants: Iterable[PackedPlant],
    profiles: Mapping[str, DeviceProfile],
    *,
    generation: int,
    notes: Mapping[str, str] | None = None,
    leaving: Iterable[Leaving] = (),
    max_bytes: int | None = MAX_BYTES,
    format_version: int = FORMATS[-1],
    before: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """The files of a bundle, by name; the same in whatever order the plants come.

    A file of ``before``, which are those of the bundle that it replaces, stays as it is if it holds the same, by
    whatever zlib it was compressed: who compares bundles by their manifests compares what they hold.

    Profiles that no plant uses are left out. ``notes`` tells the gateway's reader of plants whose newest
    version could not be used, by name; ``leaving`` is for the writer itself, to be found again by
    :func:`voke_api.bundle.contents`; ``since`` 0 stands for this generation. ``max_bytes`` is None for a bundle that is a plain directory.

    Raises:
        BundleTooLargeError: together they take more than ``max_bytes``.
        ValueError: two plants have the same name.
    """
    before = before or {}
    packed = _by_name(plants)
    names = sorted(packed)
    used = frozenset().union(*(plant.profiles for plant in packed.values()))
    authorities = {plant.authority for plant in packed.values() if plant.authority is not None}
    files = {
        PROFILES: zipped(
            {name: _resource(profiles[name]) for name in used if name in profiles}, before.get(PROFILES)
        ),
        AUTHORITIES: zipped(
            {digest(authority): as_text(authority) for authority in authorities}, before.get(AUTHORITIES)
        ),
    }
    digests = {name: digest(content) for name, content in files.items()}
    for name in names:
        file = plant_file(name)
        files[file], digests[file] = _as_before(packed[name], before.get(file))
    manifest: dict[str, Any] = {
        "formatVersion": format_version,
        "generation": generation,
        "plants": names,
        "files": digests,
    }
    if inputs := {name: packed[name].inputs for name in names if packed[name].inputs}:
        manifest["inputs"] = inputs
    if notes:
        manifest["notes"] = dict(notes)
    if left := {each.plant_id: {"plant": each.plant, "since": each.since or generation} for each in leaving}:
        manifest["leaving"] = left
    files[MANIFEST] = as_json(manifest)
    sizes = {name: len(content) for name, content in files.items()}
    if max_bytes is not None and sum(sizes.values()) > max_bytes:
        raise BundleTooLargeError(sum(sizes.values()), sizes)
    return dict(sorted(files.items()))


def _by_name(plants: Iterable[PackedPlant]) -> dict[str, PackedPlant]:
    packed: dict[str, PackedPlant] = {}
    for plant in plants:
        if packed.setdefault(plant.name, plant) is not plant:
            raise ValueError(f"two plants are called {plant.name}")
    return packed


def _as_before(plant: PackedPlant, held: bytes | None) -> tuple[bytes, str]:
    """A plant's file and its digest: the file that was ``held``, if it holds the same."""
    if held is None or held == plant.content or not hold_the_same(held, plant.content):
        return plant.content, plant.digest
    return held, digest(held)


def pack(
    plants: Iterable[BundlePlant],
    profiles: Mapping[str, DeviceProfile],
    *,
    generation: int,
    notes: Mapping[str, str] | None = None,
    max_bytes: int | None = MAX_BYTES,
) -> dict[str, bytes]:
    """The files of a bundle of plants that were not packed before, as :func:`assemble`."""
    packed = [pack_plant(plant) for plant in plants]
    return assemble(packed, profiles, generation=generation, notes=notes, max_bytes=max_bytes)


def _plant(item: BundlePlant) -> dict[str, Any]:
    document = {"plant": _resource(item.plant), "credentials": credentials_document(item.credentials)}
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
