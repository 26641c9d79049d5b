"""Operator and gateway of different versions: what is written in between is what both can read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from tests.cluster.another_version import program
from tests.cluster.installation import Installation, Json, plant_document, ready, voke_documents
from tests.cluster.kubelet import Kubelet
from tests.support.bundles import edited
from tests.support.thread import meter
from voke_api.bundle import MANIFEST
from voke_operator import names
from voke_operator.kube.errors import NotFoundError
from voke_operator.kube.resources import POOLS
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

OURS: Final = "voke-gateway:1"
"""Of this version, which knows format 1."""
NEXT: Final = "voke-gateway:2"
LATER: Final = "voke-gateway:3"
"""Of a version that has forgotten format 1."""
NEXT_OPERATOR: Final = program("voke_operator", 1, 2)
LONG: Final = 120.0
BUNDLE: Final = names.bundle_secret("default", 0)
POD: Final = names.gateway_pod("default", 0)
PLANTS: Final = ("brno", "zlin")


@dataclass
class Site:
    """Two plants on one gateway."""

    here: Installation
    kubelet: Kubelet
    voke: LocalVoke

    async def image(self, image: str) -> None:
        """Have gateways run it."""
        documents = voke_documents(self.voke, pod={"image": image})
        await asyncio.to_thread(self.here.plane.apply, *documents, namespace=self.here.namespace)

    async def files(self) -> dict[str, bytes]:
        """Of the bundle."""
        return await self.here.secret(BUNDLE)

    async def manifest(self) -> Json:
        """Of the bundle."""
        found: Json = json.loads((await self.files())[MANIFEST])
        return found

    async def keys(self) -> list[dict[str, bytes]]:
        """Of the plants."""
        return [await self.here.keys(name) for name in PLANTS]

    async def change(self, plant: str, interval: str) -> None:
        """A person changes a Plant."""
        patch = json.dumps({"spec": {"telemetry": {"interval": interval}}})
        namespace = self.here.namespace
        await asyncio.to_thread(
            self.here.plane.kubectl, "patch", "plant", plant, "-n", namespace, "--type=merge", "-p", patch
        )

    async def are_ready(self) -> None:
        """In their newest versions."""

        def holds(plant: Json) -> bool:
            found = ready(plant)
            newest: bool = found.get("observedGeneration") == plant["metadata"]["generation"]
            return newest and found["status"] == "True"

        for name in PLANTS:
            await self.here.until(name, holds, within=LONG)

    async def until_written_in(self, version: int) -> None:
        """Wait until the bundle is in a format, and all is well."""
        async with asyncio.timeout(LONG):
            while True:
                with contextlib.suppress(NotFoundError):
                    if (await self.manifest())["formatVersion"] == version:
                        break
                await asyncio.sleep(0.1)
        await self.are_ready()

    async def telemetry_goes_on(self) -> None:
        before = len(self.voke.accepted)
        await self.voke.wait_for(lambda: len(self.voke.accepted) > before + 4, within=60)

    async def until_pool_says(self, reason: str) -> str:
        """Wait for the pool's condition; its message."""
        async with asyncio.timeout(LONG):
            while True:
                found = ready(await self.here.admin.get(POOLS, self.here.namespace, "default"))
                if found["reason"] == reason:
                    message: str = found["message"]
                    return message
                await asyncio.sleep(0.2)

    def events(self, *which: str) -> list[tuple[str, str]]:
        """Of the gateway's plants, in order: what, and of which."""
        return [(line["event"], line["plant"]) for line in self.kubelet.log(POD) if line["event"] in which]

    @property
    def changed(self) -> list[str]:
        """Plants that the gateway has taken over in another version, in order."""
        return [plant for _, plant in self.events("plant changed")]


@asynccontextmanager
async def two_plants(here: Installation, voke: LocalVoke, image: str) -> AsyncIterator[Site]:
    """What an operator of this version has made; it is away now."""
    async with (
        ModbusServer({1: meter(1)}) as first,
        ModbusServer({1: meter(2)}) as second,
        here.kubelet() as kubelet,
    ):
        kubelet.programs = {NEXT: program("voke_gateway", 1, 2), LATER: program("voke_gateway", 2, 3)}
        site = Site(here, kubelet, voke)
        await site.image(image)
        async with here.operator():
            plants = [
                plant_document(name, str(uuid.uuid5(uuid.NAMESPACE_DNS, name)), {"plc1": server})
                for name, server in zip(PLANTS, (first, second), strict=True)
            ]
            here.plane.apply(*plants, namespace=here.namespace)
            for name in PLANTS:
                await here.register(voke, name)
            await site.are_ready()
        yield site


@pytest.mark.timeout(400)
async def test_a_newer_operator_leaves_bundles_as_they_are_until_their_gateways_read_the_newer_format(
    installation: Installation, voke: LocalVoke
) -> None:
    async with two_plants(installation, voke, OURS) as site:
        keys, before, manifest = await site.keys(), await site.files(), await site.manifest()
        assert manifest["formatVersion"] == 1

        async with installation.operator(program=NEXT_OPERATOR) as operator:
            await operator.until_logged("everything was looked at")
            await site.change("brno", "2s")
            await site.are_ready()
            now, after = await site.manifest(), await site.files()
            assert now["generation"] == manifest["generation"] + 1, "it had written nothing before"
            assert now["formatVersion"] == 1
            assert {name for name in after if after[name] != before[name]} == {
                MANIFEST,
                "plant-brno.json.gz",
            }, "though its zlib makes other files of all"
            assert site.changed == ["brno"]
            assert site.kubelet.started == 1

            await site.image(NEXT)
            await site.until_written_in(2)
            assert site.kubelet.started == 2
            assert (await site.files()).keys() == after.keys()
            await site.change("zlin", "2s")
            await site.are_ready()
            assert site.changed == ["brno", "zlin"], "another format is no other plant"
        assert await site.keys() == keys
        assert "is not supported" not in site.kubelet.text(POD)
        assert not voke.refused


@pytest.mark.timeout(400)
async def test_an_older_operator_leaves_a_bundle_alone_that_it_cannot_read_and_says_what_to_do(
    installation: Installation, voke: LocalVoke
) -> None:
    async with two_plants(installation, voke, NEXT) as site:
        keys = await site.keys()
        async with installation.operator(program=NEXT_OPERATOR):
            await site.until_written_in(2)
        written = await site.files()

        async with installation.operator():
            message = (await installation.until_reason("brno", "FormatMismatch", within=LONG))["message"]
            assert message.startswith(
                "gateway voke-gw-default-0: an operator of another version has written its bundle (bundle format 2 is not "
                "supported; supported: 1), so that is left as it is. What it runs, it runs on; nothing new reaches it."
            )
            assert await site.until_pool_says("FormatMismatch") == message
            await site.change("brno", "2s")
            newcomer = plant_document("newcomer", str(uuid.uuid4()))
            installation.plane.apply(newcomer, namespace=installation.namespace)
            await installation.until_reason("newcomer", "FormatMismatch", "GatewayReady", within=LONG)
            await site.telemetry_goes_on()
            assert await site.files() == written
            assert message.endswith(f"kubectl delete secret -n {installation.namespace} {BUNDLE}")

        async with installation.operator(program=NEXT_OPERATOR):
            await site.are_ready()
            assert site.changed == ["brno"]

        async with installation.operator():
            await installation.until_reason("brno", "FormatMismatch", within=LONG)
            installation.plane.kubectl("delete", "secret", "-n", installation.namespace, BUNDLE)
            await site.until_written_in(1)
        assert site.changed == ["brno"]
        assert await site.keys() == keys
        assert site.kubelet.started == 1
        assert not voke.refused


@pytest.mark.timeout(400)
async def test_an_image_that_knows_no_format_of_the_operators_is_named_and_replaced(
    installation: Installation, voke: LocalVoke
) -> None:
    async with two_plants(installation, voke, OURS) as site, installation.operator() as operator:
        await operator.until_logged("everything was looked at")
        before = await site.files()
        await site.image(LATER)
        message = await site.until_pool_says("FormatMismatch")
        assert message == (
            "gateway voke-gw-default-0: it reads bundle format 2, 3 and this operator writes 1: take an older image, or a "
            "newer operator. It cannot read its bundle, so it runs no plant. Its image is voke-gateway:3, by spec.pod.image of "
            "GatewayPool default; without that it is the one that the operator was installed with."
        )
        assert (await installation.until_reason("zlin", "FormatMismatch", within=LONG))["message"] == message
        assert await site.files() == before
        await site.image(NEXT)
        await site.are_ready()
        assert await site.files() == before

        manifest = b64encode(edited(before[MANIFEST], formatVersion=2)).decode()
        await asyncio.to_thread(
            installation.plane.kubectl,
            *("patch", "secret", BUNDLE, "-n", installation.namespace, "--type=merge"),
            f'--patch={{"data":{{"{MANIFEST}":"{manifest}"}}}}',
        )
        await site.until_written_in(1)
        assert site.changed == []
