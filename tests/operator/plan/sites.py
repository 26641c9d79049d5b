"""Plants for tests of the plan, made through the same door as a person's files."""

from __future__ import annotations

import uuid
from random import Random
from typing import Any

from tests.support.plants import battery_document
from voke_api.bundle import BundlePlant, PackedPlant, pack_plant
from voke_api.resolved import PlantCredentials
from voke_api.resources import Plant


def plant_id(name: str) -> str:
    return str(uuid.UUID(int=Random(name).getrandbits(128), version=4))


def site(name: str, *, created: str = "", **spec: Any) -> Plant:
    """A Plant with one battery, called ``name``, with an id and a PLC of its own."""
    connections = [{"name": "plc1", "modbusTcp": {"host": f"{name}.example"}}]
    document = battery_document(**{"plantId": plant_id(name), "connections": connections, **spec})
    metadata = {"name": name, "namespace": "site", **({"creationTimestamp": created} if created else {})}
    return Plant.model_validate({**document, "metadata": metadata})


def keys(name: str, material: bytes = b"") -> PlantCredentials:
    """Keys of a plant; of them so many bytes that nothing makes them smaller."""
    return PlantCredentials(
        client_id=plant_id(name), username=plant_id(name), hmac_key=b"k" * 32, tls_key=material or None
    )


def pack_of_size(name: str, material: bytes, **more: Any) -> PackedPlant:
    item = BundlePlant(plant=site(name), pool=None, credentials=keys(name, material))
    return pack_plant(item, **more)
