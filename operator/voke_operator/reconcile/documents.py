"""Custom resources parsed from what is known of them, each version once for as long as it is in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson

from voke_api.bundle import profile_size
from voke_api.problems import Problem
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_api.validate import Resource as Document
from voke_api.validate import validate
from voke_operator.kube.client import Object
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import PLANTS, POOLS, PROFILES, Resource
from voke_operator.plan.objects import Defaults, pool_of
from voke_operator.reconcile.cache import Cache
from voke_operator.reconcile.fleet import Name

_MOST_PLANTS: Final = 256
"""Parsed Plants that are kept: 100 KB each, for one that is reconciled, reported on and packed in a row."""
_MOST_SHARED: Final = 1024
"""Parsed profiles and pools that are kept."""
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of the JSON of either. What is parsed takes up to 18 times as much, and one Plant may have a megabyte."""
_PARTS: Final = ("apiVersion", "kind", "metadata", "spec")


@dataclass(slots=True)
class _Parsed:
    version: tuple[str, object]
    found: Document | tuple[Problem, ...]
    size: int | None = None
    """Of a profile, in a bundle; None: nobody has asked yet."""


class Documents:
    """What people declared, as types."""

    def __init__(self, objects: Objects, *, defaults: Defaults) -> None:
        """``defaults``: what stands for the pool called default where there is none."""
        self._objects = objects
        self._defaults = defaults
        self._plants: Cache[tuple[Resource, Name], _Parsed] = Cache(most=_MOST_PLANTS, size=_MOST_BYTES)
        self._shared: Cache[tuple[Resource, Name], _Parsed] = Cache(most=_MOST_SHARED, size=_MOST_BYTES)

    def plant(self, name: Name) -> Plant | None:
        """The newest version of a Plant, if it can be read."""
        found = self.read_plant(name)
        return found if isinstance(found, Plant) else None

    def read_plant(self, name: Name) -> Plant | tuple[Problem, ...] | None:
        """The newest version of a Plant, or what is wrong with it; None: it is not there."""
        parsed = self._read(PLANTS, name)
        if parsed is None:
            return None
        assert not isinstance(parsed.found, DeviceProfile | GatewayPool)
        return parsed.found

    def pool(self, name: Name) -> GatewayPool | None:
        """What a pool is to be; None: it is not there, or cannot be read."""
        parsed = self._read(POOLS, name)
        if parsed is None:
            return pool_of(name.name, {}, self._defaults)
        return parsed.found if isinstance(parsed.found, GatewayPool) else None

    def profiles(self, namespace: str, wanted: Iterable[str]) -> dict[str, DeviceProfile]:
        """Those of the wanted profiles that are there and can be read, by name."""
        found = {name: self._read(PROFILES, Name(namespace, name)) for name in sorted(wanted)}
        return {
            name: parsed.found
            for name, parsed in found.items()
            if parsed is not None and isinstance(parsed.found, DeviceProfile)
        }

    def profile_sizes(self, namespace: str, wanted: Iterable[str]) -> dict[str, int]:
        """What each of the wanted profiles that can be read adds to a bundle, by name."""
        sizes: dict[str, int] = {}
        for name in sorted(wanted):
            parsed = self._read(PROFILES, Name(namespace, name))
            if parsed is None or not isinstance(parsed.found, DeviceProfile):
                continue
            if parsed.size is None:
                parsed.size = profile_size(parsed.found)
            sizes[name] = parsed.size
        return sizes

    def version(self, resource: Resource, name: Name) -> str:
        """Which version of an object is there, as text; empty: none."""
        metadata = self._objects.get(resource, *name)
        return "" if metadata is None else f"{metadata.uid} {metadata.generation}"

    def _read(self, resource: Resource, name: Name) -> _Parsed | None:
        cache = self._plants if resource == PLANTS else self._shared
        key = resource, name
        parsed = cache.get(key)
        if parsed is not None and parsed.version == self._version(resource, name):
            return parsed
        document = self._objects.document(resource, *name)
        if document is None:
            cache.drop(key)
            return None
        parsed = _parse(document)
        cache.put(key, parsed, size=len(orjson.dumps(document)))
        return parsed

    def _version(self, resource: Resource, name: Name) -> tuple[str, object] | None:
        metadata = self._objects.get(resource, *name)
        if metadata is None:
            return None
        return metadata.uid, (metadata.generation, dict(metadata.annotations))


def _parse(document: Object) -> _Parsed:
    metadata = document["metadata"]
    version = metadata["uid"], (metadata.get("generation", 0), dict(metadata.get("annotations") or {}))
    found = validate({part: document[part] for part in _PARTS if part in document})
    return _Parsed(version, tuple(found) if isinstance(found, list) else found)
