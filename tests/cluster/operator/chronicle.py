"""What the cluster holds of a fleet, whether it is as the rules say, and which keys there ever were."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from voke_api.bundle import NotHeldError, credentials_in, packed_in, unpack
from voke_api.resources import PlantSpec
from voke_operator import names
from voke_operator.credentials.decisions import Name as Credential
from voke_operator.credentials.ids import parse_ids
from voke_operator.credentials.keys import PRIMARY, find
from voke_operator.credentials.secret import from_document
from voke_operator.kube.client import Client
from voke_operator.kube.errors import UnavailableError
from voke_operator.kube.resources import PLANTS, SECRETS, SERVICES, STATEFUL_SETS, Resource

Json = dict[str, Any]
_IN_BUNDLE: Final = {
    "hmac.key": "hmac_key",
    "tls.crt": "tls_certificate",
    "tls.key": "tls_key",
    "jwt-private.pem": "jwt_private_key",
}


def recorded(plant: Json) -> dict[Credential, str]:
    """Key ids in a Plant's status, by credential."""
    return {each["name"]: each["keyId"] for each in plant.get("status", {}).get("credentials", [])}


def needed(plant: Json) -> set[str]:
    return {"hmac", plant["spec"]["auth"]["method"].lower()}


@dataclass(frozen=True)
class Seen:
    """A namespace at one moment."""

    plants: Mapping[str, Json]
    secrets: Mapping[str, Json]
    gateways: frozenset[str]
    services: frozenset[str]

    @property
    def bundles(self) -> dict[str, dict[str, bytes]]:
        prefix = names.bundle_secret_prefix()
        return {
            name: dict(from_document(each).data)
            for name, each in self.secrets.items()
            if name.startswith(prefix)
        }

    def wrong(self) -> Iterator[str]:
        """What is not as the rules say; a sentence each."""
        for name in self.plants:
            yield from self.wrong_with(name)
        for bundle, files in self.bundles.items():
            for stranger in packed_in(files).keys() - self.plants.keys():
                yield f"{bundle} lists {stranger}, which is not there"
            if (
                names.gateway_prefix() + bundle.removeprefix(names.bundle_secret_prefix())
                not in self.gateways
            ):
                yield f"{bundle} has no StatefulSet"
        if self.gateways != self.services or len(self.gateways) != len(self.bundles):
            yield f"{sorted(self.gateways)}, {sorted(self.services)} and {sorted(self.bundles)} do not match"
        for name, secret in self.secrets.items():
            plant = name.removeprefix(names.plant_secret(""))
            if plant != name:
                owners = [each["uid"] for each in secret["metadata"].get("ownerReferences", [])]
                if plant not in self.plants or owners != [self.plants[plant]["metadata"]["uid"]]:
                    yield f"{name} is left, or another one's"

    def wrong_with(self, name: str) -> Iterator[str]:
        """What is not as it should be with one living Plant."""
        plant = self.plants[name]
        plant_id, ids = plant["spec"]["plantId"], recorded(plant)
        if ids.keys() != needed(plant):
            yield f"{name}: its status names {ids}"
            return
        secret = self.secrets.get(names.plant_secret(name))
        if secret is None:
            yield f"{name}: there is no Secret"
            return
        files = from_document(secret).data
        annotation = parse_ids(secret["metadata"].get("annotations", {}).get(names.KEY_IDS_ANNOTATION))
        said = {
            key: annotation.get(key) for key in ids
        }  # a method that was used before may have left its keys
        held = {key: next((each.id for each in find(key, (files,), plant_id)), None) for key in ids}
        if not ids == said == held:
            yield f"{name}: status {ids}, annotation {said}, material {held}"
        listed = [bundle for bundle, each in self.bundles.items() if name in packed_in(each)]
        if len(listed) != 1:
            yield f"{name}: listed in {listed}"
            return
        bundle = self.bundles[listed[0]]
        try:
            copy = credentials_in(bundle, name, plant_id=plant_id)
        except NotHeldError as error:
            yield f"{name}: {error}"
            return
        for file in (file for key in ids for file in PRIMARY[key]):
            if getattr(copy, _IN_BUNDLE[file]) != files.get(file):
                yield f"{name}: {file} of {listed[0]} is not that of its Secret"
        runs = next(each for each in unpack(bundle).plants if each.plant.metadata.name == name)
        if runs.plant.spec != PlantSpec.model_validate(plant["spec"]):
            yield f"{name}: what {listed[0]} says is not its spec"


async def look(client: Client, namespace: str) -> Seen:
    """See a namespace as it is; not at one moment, but what is settled is seen so."""

    async def items(resource: Resource) -> dict[str, Json]:
        page = await client.list(resource, namespace)
        return {
            each["metadata"]["name"]: each
            for each in page.items
            if "deletionTimestamp" not in each["metadata"]
        }

    return Seen(
        plants=await items(PLANTS),
        secrets=await items(SECRETS),
        gateways=frozenset(await items(STATEFUL_SETS)),
        services=frozenset(await items(SERVICES)),
    )


@dataclass
class Chronicle:
    """All that Plants' statuses and Secrets ever said of keys. Use :meth:`following`."""

    history: dict[tuple[str, Credential], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Key ids that a status named, one after the other, by uid of the Plant and credential."""
    material: set[bytes] = field(default_factory=set)
    """All that Plants' Secrets ever held and nobody else may see."""
    unnamed: set[str] = field(default_factory=set)
    """Plants whose status did not name a credential any more that it had named."""
    plants: dict[str, str] = field(default_factory=dict)
    """Their names, by uid."""

    @classmethod
    @asynccontextmanager
    async def following(cls, client: Client, namespace: str) -> AsyncIterator[Chronicle]:
        chronicle = cls()
        takers = ((PLANTS, chronicle._plant), (SECRETS, chronicle._secret))
        versions = [(await client.list(resource, namespace)).resource_version for resource, _ in takers]
        tasks = [
            asyncio.create_task(_follow(client, resource, namespace, version, take))
            for (resource, take), version in zip(takers, versions, strict=True)
        ]
        try:
            yield chronicle
            for task in tasks:
                assert not task.done(), task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _plant(self, plant: Json) -> None:
        uid, ids = plant["metadata"]["uid"], recorded(plant)
        self.plants[uid] = plant["metadata"]["name"]
        for name, key_id in ids.items():
            known = self.history[uid, name]
            if known[-1:] != [key_id]:
                known.append(key_id)
        if any(self.history.get((uid, name)) for name in ("hmac", "mtls", "jwt") if name not in ids):
            self.unnamed.add(self.plants[uid])

    def _secret(self, secret: Json) -> None:
        if secret["metadata"]["name"].startswith(names.plant_secret("")):
            self.material.update(
                content
                for file, content in from_document(secret).data.items()
                if file in _IN_BUNDLE and file != "tls.crt"
            )


async def _follow(
    client: Client, resource: Resource, namespace: str, version: str, take: Callable[[Json], None]
) -> None:
    while True:
        with contextlib.suppress(UnavailableError):
            async for event in client.watch(resource, namespace, resource_version=version):
                version = event.object["metadata"]["resourceVersion"]
                if event.type not in ("BOOKMARK", "DELETED"):
                    take(event.object)
