"""The copies of plants' keys that bundles hold: what a lost Secret is restored from."""

from __future__ import annotations

from collections.abc import Mapping

from voke_api.bundle import BundleUnreadableError, NotHeldError, credentials_in
from voke_api.resolved import PlantCredentials
from voke_api.resources import Plant
from voke_operator.credentials.secret import from_document
from voke_operator.kube.client import Client
from voke_operator.kube.errors import NotFoundError
from voke_operator.kube.objects import Objects
from voke_operator.kube.resources import SECRETS
from voke_operator.reconcile.fleet import Fleet, Name
from voke_operator.reconcile.shards import shard_of


class BundleCopies:
    """The copies of plants' keys that bundles hold."""

    def __init__(self, client: Client, objects: Objects, fleet: Fleet) -> None:
        self._client = client
        self._objects = objects
        self._fleet = fleet

    def known(self, plant: Plant) -> PlantCredentials | None:
        """From the bundle that lists the plant, as it is known."""
        record = self._fleet.plants.get(Name(plant.metadata.namespace, plant.metadata.name))
        if record is None or record.shard is None:
            return None
        return _held(self._fleet.shard(record.shard).files, plant)

    async def read(self, plant: Plant) -> PlantCredentials | None:
        """From whichever bundle of its namespace holds it: where it runs may not be known."""
        for metadata in list(self._objects.all(SECRETS, plant.metadata.namespace)):
            if shard_of(metadata.name, metadata.namespace, metadata.labels) is None:
                continue
            try:
                document = await self._client.get(SECRETS, metadata.namespace, metadata.name)
            except NotFoundError:
                continue
            found = _held(from_document(document).data, plant)
            if found is not None:
                return found
        return None


def _held(files: Mapping[str, bytes], plant: Plant) -> PlantCredentials | None:
    try:
        return credentials_in(files, plant.metadata.name, plant_id=plant.spec.plant_id)
    except (NotHeldError, BundleUnreadableError):
        return None
