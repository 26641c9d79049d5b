"""What people do to Plants and to their Secrets, one thing after the other, by chance."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from tests.cluster.installation import Json, plant_document
from tests.cluster.operator.chronicle import Seen, look, recorded
from voke_operator import names
from voke_operator.kube.client import Client
from voke_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError
from voke_operator.kube.resources import PLANTS, SECRETS

MOST_PLANTS: Final = 12
FEWEST_PLANTS: Final = 2


Action = Callable[[Seen, str], Awaitable[None]]


class Script:
    """Runs until cancelled."""

    def __init__(self, admin: Client, namespace: str, chance: random.Random) -> None:
        self._admin = admin
        self._namespace = namespace
        self._chance = chance
        self.done: Counter[str] = Counter()
        self.replaced: set[str] = set()
        """Ids of keys for which a person asked for new ones."""

    async def run(self) -> None:
        while True:
            with contextlib.suppress(NotFoundError, ConflictError, AlreadyExistsError):
                await self._step()
            await asyncio.sleep(self._chance.uniform(0.02, 0.2))

    async def _step(self) -> None:
        seen = await look(self._admin, self._namespace)
        action: Action = self._chance.choice(
            [
                *[self._create] * 3,
                *[self._edit] * 3,
                self._delete,
                *[self._delete_secret] * 2,
                *[self._edit_secret] * 2,
                self._ask_for_a_new_key,
            ]
        )
        on_keys = action in (self._delete_secret, self._edit_secret, self._ask_for_a_new_key)
        chosen = sorted(self._at_rest(seen) if on_keys else seen.plants)
        if action == self._create:
            await self._create(seen, "")
        elif len(seen.plants) > FEWEST_PLANTS and chosen:
            await action(seen, self._chance.choice(chosen))
        else:
            return
        self.done[getattr(action, "__name__", "").strip("_")] += 1

    def _at_rest(self, seen: Seen) -> list[str]:
        """Plants whose keys are in a bundle. Before that a lost Secret is a lost key: there is no other copy."""
        return [
            name
            for name, plant in seen.plants.items()
            if not self.replaced & set(recorded(plant).values()) and not any(seen.wrong_with(name))
        ]

    async def _create(self, seen: Seen, _name: str) -> None:
        name = f"p{self._chance.randrange(MOST_PLANTS)}"
        plant_id = uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.{self._namespace}.{self._chance.randrange(2)}")
        method = self._chance.choices(["MTLS", "JWT"], [5, 1])[0]
        body = plant_document(name, str(plant_id), method=method)
        body["metadata"]["namespace"] = self._namespace
        await self._admin.create(PLANTS, body)

    async def _edit(self, seen: Seen, name: str) -> None:
        change = {"spec": {"telemetry": {"interval": f"{self._chance.randrange(1, 60)}s"}}}
        await self._admin.patch(PLANTS, self._namespace, name, change, resource_version=None)

    async def _delete(self, seen: Seen, name: str) -> None:
        await self._admin.delete(PLANTS, self._namespace, name, uid=seen.plants[name]["metadata"]["uid"])

    async def _ask_for_a_new_key(self, seen: Seen, name: str) -> None:
        key = self._chance.choice(sorted(recorded(seen.plants[name]).values()))
        change = {"metadata": {"annotations": {names.REPLACE_ANNOTATION: key}}}
        version = seen.plants[name]["metadata"]["resourceVersion"]
        self.replaced.add(key)
        await self._admin.patch(PLANTS, self._namespace, name, change, resource_version=version)

    async def _delete_secret(self, seen: Seen, name: str) -> None:
        metadata = seen.secrets[names.plant_secret(name)]["metadata"]
        await self._admin.delete(
            SECRETS,
            self._namespace,
            metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )

    async def _edit_secret(self, seen: Seen, name: str) -> None:
        secret = seen.secrets[names.plant_secret(name)]
        self._chance.choice(_DAMAGES)(secret, self._chance)
        await self._admin.replace(SECRETS, secret)


def _not_a_key(secret: Json, _chance: random.Random) -> None:
    secret["data"]["hmac.key"] = b64encode(b"no key").decode()


def _another_key(secret: Json, chance: random.Random) -> None:
    secret["data"]["hmac.key"] = b64encode(chance.randbytes(32).hex().encode()).decode()


def _one_file_less(secret: Json, chance: random.Random) -> None:
    del secret["data"][chance.choice(sorted(secret["data"]))]


def _ids_removed(secret: Json, _chance: random.Random) -> None:
    del secret["metadata"]["annotations"][names.KEY_IDS_ANNOTATION]


_DAMAGES: Final[tuple[Callable[[Json, random.Random], None], ...]] = (
    _not_a_key,
    _another_key,
    _one_file_less,
    _ids_removed,
)
