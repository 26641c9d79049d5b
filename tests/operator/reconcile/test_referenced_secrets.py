"""Secrets that Plants refer to are read once per version, and large ones take no more memory than many."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import Any

from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from voke_operator import names
from voke_operator.kube.client import Client
from voke_operator.kube.objects import Objects, known_of
from voke_operator.kube.resources import ALLOWED_SECRETS
from voke_operator.reconcile.credentials import ReferencedSecrets

ALLOWED = {names.ALLOW_LABEL: "true"}


class World:
    """An API server that knows Secrets, and who reads them."""

    secrets: ReferencedSecrets

    def __init__(self) -> None:
        self.objects = Objects()
        self.asked: Counter[str] = Counter()
        self.documents: dict[str, dict[str, Any]] = {}

    def put(self, name: str, *, size: int, version: str = "1") -> None:
        content = b64encode(token_bytes(size)).decode()
        metadata = {
            "namespace": "site",
            "name": name,
            "uid": name,
            "resourceVersion": version,
            "labels": ALLOWED,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": content},
        }
        self.documents[name] = {"metadata": metadata, "data": {"hmac.key": content}}
        self.objects.put(ALLOWED_SECRETS, known_of(ALLOWED_SECRETS, self.documents[name]))

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked[name] += 1
        return web.json_response(self.documents[name])


@asynccontextmanager
async def cluster() -> AsyncIterator[World]:
    world = World()
    application = web.Application()
    application.add_routes([web.get("/api/v1/namespaces/site/secrets/{name}", world.answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    world.secrets = ReferencedSecrets(client, world.objects)
    try:
        yield world
    finally:
        await client.aclose()
        await runner.cleanup()


async def test_one_is_read_once_until_it_changes() -> None:
    async with cluster() as world:
        world.put("keys", size=32)
        for _ in range(3):
            found = await world.secrets.read("site", ["keys"])
        assert len(found["keys"].data["hmac.key"]) == 32
        assert not found["keys"].annotations
        assert world.asked == {"keys": 1}
        world.put("keys", size=48, version="2")
        found = await world.secrets.read("site", ["keys"])
        assert len(found["keys"].data["hmac.key"]) == 48
        assert world.asked == {"keys": 2}


async def test_large_ones_make_way() -> None:
    async with cluster() as world:
        large = [f"large{number}" for number in range(20)]
        for name in large:
            world.put(name, size=700_000)
        for name in large:
            await world.secrets.read("site", [name])
        assert world.asked == dict.fromkeys(large, 1)
        for name in reversed(large):
            await world.secrets.read("site", [name])
        kept = [name for name in large if world.asked[name] == 1]
        assert kept == large[-5:], "4 MiB of them"
