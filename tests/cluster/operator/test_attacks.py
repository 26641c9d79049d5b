"""Whoever may write Plants, or Secrets of their own, gets at no other keys and keeps no other plant from running."""

from __future__ import annotations

import asyncio
import uuid
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Json, secret_document, voke_documents
from tests.cluster.scene import Scene, scene, side_by_side
from tests.support.pki import odd_certificates
from voke_operator import names
from voke_operator.credentials.ids import format_ids, hmac_id, parse_ids
from voke_operator.kube.errors import NotFoundError
from voke_operator.kube.resources import SECRETS

MOST_SAID = 3000
"""Characters: a condition is read by people."""
HMAC_KEY = "0123456789abcdef0123456789abcdef"


def from_secret(method: str, name: str) -> Json:
    """``spec.credentials`` of a Plant that takes what it logs in with from a Secret."""
    return {method.lower(): {"secretRef": {"name": name}}}


async def aim_at_what_is_not_meant_for_plants(one: Scene) -> None:
    """Also at what the operator itself keeps there."""
    await one.apply(await one.plant("owner"))
    await one.registered("owner")
    gateway = (await one.here.plant("owner"))["status"]["gateway"]
    bundle = gateway.replace("voke-gw-", "voke-bundle-")
    await one.apply(
        secret_document("private", {"username": "u", "password": "pw", "hmac.key": HMAC_KEY}, allowed=False)
    )
    for number, aim in enumerate((names.plant_secret("owner"), bundle, "private")):
        name = f"thief-{number}"
        credentials = from_secret("MTLS", aim) | {"hmac": {"secretRef": {"name": aim}}}
        await one.apply(await one.plant(name, credentials=credentials))
        message = await one.said(name, "SecretNotAllowed")
        assert message.startswith(f"Secret {aim} lacks the label"), "and nothing of what is in it"
        assert not (await one.here.plant(name))["status"].get("gateway")
    await one.apply(await one.plant("thief-ca", credentials=from_secret("MTLS", names.FLEET_CA)))
    await one.said("thief-ca", "SecretMissing")


async def take_the_id_of_another_plant(one: Scene) -> None:
    plant_id = str(uuid.uuid4())
    await one.apply(await one.plant("first", plant_id=plant_id))
    await one.registered("first")
    copy = await one.plant("second", plant_id=plant_id)
    others = {
        names.RELEASE_ANNOTATION: f"voke-gw-default-0,{one.namespace}/voke-gw-default-0",
        names.REPLACE_ANNOTATION: "x " * 20_000,
        names.REGISTERED_ANNOTATION: "hmac=" + "x" * 20_000,
    }
    copy["metadata"]["annotations"] = others
    await one.apply(copy)
    await one.said("second", "DuplicatePlantId")
    with pytest.raises(
        NotFoundError
    ):  # a certificate with that id as its name would be a way into the session
        await one.here.admin.get(SECRETS, one.namespace, names.plant_secret("second"))
    assert (await one.ready("first"))["status"]["credentials"]


async def pass_off_another_key_as_the_next_one(one: Scene) -> None:
    """With all that the operator writes beside a key of its own."""
    await one.apply(await one.plant("robbed"))
    await one.registered("robbed")
    before = await one.here.keys("robbed")
    in_force = (await one.here.plant("robbed"))["status"]["credentials"]
    secret = await one.here.admin.get(SECRETS, one.namespace, names.plant_secret("robbed"))
    said = parse_ids(secret["metadata"]["annotations"][names.KEY_IDS_ANNOTATION])
    key = (HMAC_KEY * 2).encode()
    secret["data"]["hmac.key"] = b64encode(key).decode()
    secret["metadata"]["annotations"] |= {
        names.KEY_IDS_ANNOTATION: format_ids(said | {"hmac": hmac_id(key)}),
        "voke.lovinka.com/retired-key-ids": said["hmac"],
    }
    await one.here.admin.replace(SECRETS, secret)

    async def as_before() -> bool:
        return await one.here.keys("robbed") == before

    await one.until(as_before)
    plant_id = (await one.here.plant("robbed"))["spec"]["plantId"]
    await one.until_more_snapshots(plant_id)
    assert (await one.here.plant("robbed"))["status"]["credentials"] == in_force
    assert not [each for each in one.voke.refused if plant_id in each.topic]


async def bring_what_nobody_can_use(one: Scene) -> None:
    """After it ran once, so that its gateway is told what is wrong, beside all others."""
    credentials = from_secret("MTLS", "hostile") | from_secret("HMAC", "hostile")
    document = await one.plant("hostile", credentials=credentials)
    plant_id = document["spec"]["plantId"]
    certificate, key = await one.voke.issue_mtls(plant_id, hmac_key=HMAC_KEY)
    good = {"hmac.key": HMAC_KEY, "tls.crt": certificate.decode(), "tls.key": key.decode()}
    await put(one, good)
    await one.apply(document)
    await one.ready("hostile")
    endless = "-----BEGIN PRIVATE KEY-----\n" + "A" * 600_000
    odd = odd_certificates(plant_id)["an extension twice"][0].decode()
    bad = [{**good, "tls.crt": odd, "tls.key": endless}]
    bad.append({f"k{number}".ljust(200, "x"): "" for number in range(4000)})
    for content in bad:
        await put(one, content)
        said = await one.said("hostile", "SecretInvalid", "CredentialsReady")
        assert len(said) < MOST_SAID
        assert "-----BEGIN PRIVATE" not in said
        await put(one, good)
        await one.said("hostile", "Complete", "CredentialsReady")
    await put(one, bad[-1])
    await one.said("hostile", "SecretInvalid", "CredentialsReady")
    await one.apply(await one.plant("neighbour"))
    await one.registered("neighbour")
    places = {name: (await one.here.plant(name))["status"]["gateway"] for name in ("hostile", "neighbour")}
    assert len(set(places.values())) == 1, "they share a bundle"


async def put(one: Scene, content: Mapping[str, str]) -> None:
    """The Secret ``hostile`` anew: with all keys in it, and without what kubectl notes of them in an annotation."""
    document = secret_document("hostile", content)
    document["metadata"]["namespace"] = one.namespace
    await one.kubectl("delete", "secret", "hostile", "-n", one.namespace, "--ignore-not-found")
    await one.here.admin.create(SECRETS, document)


@pytest.mark.timeout(500)
@pytest.mark.usefixtures("crds")
async def test_no_plant_gets_at_another_s_keys_or_in_its_way(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    async with scene(control_plane, tmp_path, name="attacked") as one:
        await one.apply(*voke_documents(one.voke))
        stories = (
            aim_at_what_is_not_meant_for_plants,
            take_the_id_of_another_plant,
            pass_off_another_key_as_the_next_one,
            bring_what_nobody_can_use,
        )
        async with side_by_side(one, stories) as tasks:
            await asyncio.gather(*tasks.values())
        assert "Traceback" not in one.operator.text
