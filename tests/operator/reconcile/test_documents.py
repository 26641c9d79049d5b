"""What people declared is parsed once while it is in use, and large Plants take no more memory than many."""

from __future__ import annotations

import gc
from typing import Any
from weakref import ref

import pytest

from tests.support.fleet import entry, point
from voke_api.resources import Plant
from voke_operator.kube.objects import Objects, known_of
from voke_operator.kube.resources import PLANTS, PROFILES, Resource
from voke_operator.plan.objects import Defaults
from voke_operator.reconcile import documents as documents_module
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Name


class World:
    """A cluster with custom resources, and what is made of them."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.documents = Documents(self.objects, defaults=Defaults(image="voke-gateway:1"))
        self._version = 0

    def put(self, resource: Resource, name: str, spec: dict[str, Any]) -> Name:
        self._version += 1
        metadata = {
            "namespace": "site",
            "name": name,
            "uid": name,
            "resourceVersion": str(self._version),
            "generation": self._version,
        }
        document = {
            "apiVersion": "voke.lovinka.com/v1alpha1",
            "kind": resource.kind,
            "metadata": metadata,
            "spec": spec,
        }
        self.objects.put(resource, known_of(resource, document))
        return Name("site", name)

    def plant(self, name: str, *, devices: int = 1) -> Name:
        return self.put(PLANTS, name, entry(name, "plc.example", devices=devices).spec)


def test_a_plant_is_parsed_once_until_it_changes() -> None:
    world = World()
    name = world.plant("roof")
    parsed = world.documents.plant(name)
    assert isinstance(parsed, Plant)
    assert world.documents.plant(name) is parsed
    world.plant("roof", devices=2)
    changed = world.documents.plant(name)
    assert changed is not None
    assert len(changed.spec.devices) == 2


def test_many_ordinary_plants_stay_parsed_and_large_ones_make_way() -> None:
    world = World()
    ordinary = [world.plant(f"roof{number}") for number in range(256)]
    parsed = [ref(world.documents.plant(name)) for name in ordinary]
    gc.collect()
    assert sum(each() is not None for each in parsed) == 256
    large = [world.plant(f"park{number}", devices=240) for number in range(70)]
    parsed += [ref(world.documents.plant(name)) for name in large]
    gc.collect()
    assert sum(each() is not None for each in parsed) < 60, "4 MiB of 76 KB each"


def test_profiles_have_their_sizes_however_little_of_them_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents_module, "_MOST_BYTES", 1000)
    world = World()
    spec = {"type": "METER", "points": [point(f"value{address}", address) for address in range(8)]}
    names = [world.put(PROFILES, f"meter{number}", spec).name for number in range(5)]
    sizes = world.documents.profile_sizes("site", [*names, "missing"])
    assert sizes.keys() == set(names)
    assert min(sizes.values()) > 0
