"""No key and no password is where people, or their log stores, can read it, whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Json, secret_document, voke_documents
from tests.cluster.scene import Scene, scene
from voke_operator import names
from voke_operator.credentials.material import new_hmac_key
from voke_operator.plan.objects import HTTP_PORT
from voke_sim.voke import pki

_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_SHORTEST = 12
"""Characters of a needle; what is shorter would be found anywhere."""


class Needles:
    """Secret texts, in the forms in which they may leak."""

    def __init__(self) -> None:
        self.whose: dict[str, str] = {}

    def add(self, whose: str, content: bytes | str) -> None:
        """A whole value: its private part if it is PEM, else all of it; and its base64."""
        raw = content.encode() if isinstance(content, str) else content
        private = _PRIVATE.findall(raw)
        if b"-----BEGIN" in raw and not private:
            return  # public
        lines = [line for body in private for line in body.split()] or [raw.strip()]
        for line in (*lines, b64encode(raw)[:64]):
            text = line.decode("ascii", "ignore")
            if len(text) >= _SHORTEST:
                self.whose[text] = whose

    def found(self, places: Mapping[str, str]) -> list[str]:
        """Where which of them is; the needle itself is not shown."""
        return [
            f"{whose} in {place}"
            for place, text in places.items()
            for needle, whose in self.whose.items()
            if needle in text
        ]


@pytest.mark.usefixtures("crds")
async def test_no_material_is_where_people_look(control_plane: ControlPlane, tmp_path: Path) -> None:
    needles = Needles()
    async with scene(control_plane, tmp_path, name="material") as one:
        await one.apply(*voke_documents(one.voke))
        await asyncio.gather(
            keys_are_made_edited_and_deleted(one, needles),
            a_key_is_not_known_to_voke(one, needles),
            a_password_is_wrong_and_then_right(one, needles),
            secrets_are_broken(one, needles),
        )
        await note_all_secrets(one, needles)
        places = await everything_that_people_read(one)
        assert len(needles.whose) > 40, "there is something to be found"
        for place, text in places.items():
            assert len(text) > 40, f"{place} is read"
        leaks = needles.found(places)
        assert not leaks, "\n".join(leaks)


async def keys_are_made_edited_and_deleted(one: Scene, needles: Needles) -> None:
    await one.apply(await one.plant("certified"))
    await one.registered("certified")
    secret, keys = names.plant_secret("certified"), await one.here.keys("certified")
    foreign = new_hmac_key(lambda size: b"\x5a" * size)["hmac.key"]
    needles.add("the foreign key", foreign)
    patch = json.dumps({"data": {"hmac.key": b64encode(foreign).decode(), "tls.key": "bm8="}})

    async def restored() -> bool:
        found = await one.kubectl(
            "get", "secret", "-n", one.namespace, "--ignore-not-found", "-o=name", secret
        )
        return bool(found) and await one.here.keys("certified") == keys

    await one.kubectl("patch", "secret", secret, "-n", one.namespace, "--type=merge", f"--patch={patch}")
    await one.until(restored)
    await one.delete("secret", secret)
    await one.until(restored)


async def a_key_is_not_known_to_voke(one: Scene, needles: Needles) -> None:
    document = await one.plant("tokens", method="JWT")
    await one.apply(document)
    await one.said("tokens", "LoginRefused")
    keys = await one.here.keys("tokens")
    needles.add("the first HMAC key", keys["hmac.key"])
    await one.voke.register_jwt(
        document["spec"]["plantId"], hmac_key=keys["hmac.key"], public_key_der=keys["jwt-public.der"]
    )
    await one.ready("tokens")
    found = (await one.here.plant("tokens"))["status"]["credentials"]
    replaced = ",".join(each["keyId"] for each in found)
    await one.kubectl(
        *("annotate", "plant", "tokens", "-n", one.namespace, f"{names.REPLACE_ANNOTATION}={replaced}")
    )
    await one.said("tokens", "LoginRefused")


async def a_password_is_wrong_and_then_right(one: Scene, needles: Needles) -> None:
    reference = {"secretRef": {"name": "login"}}
    document = await one.plant(
        "password", method="PASSWORD", credentials={"hmac": reference, "password": reference}
    )
    hmac_key = "a-key-that-a-person-thought-of-0123456789"
    login = await one.voke.register_password(document["spec"]["plantId"], hmac_key=hmac_key)
    for whose, secret in (("the password", login.password), ("a wrong password", "wrong-horse-battery")):
        needles.add(whose, secret)
    needles.add("the HMAC key of a person", hmac_key)
    given = {"hmac.key": hmac_key, "username": login.username, "clientId": login.client_id}
    await one.apply(secret_document("login", {**given, "password": "wrong-horse-battery"}), document)
    await one.said("password", "LoginRefused")
    await one.apply(secret_document("login", {**given, "password": login.password}))
    await one.ready("password")


async def secrets_are_broken(one: Scene, needles: Needles) -> None:
    document = await one.plant("broken", credentials={"mtls": {"secretRef": {"name": "broken"}}})
    key, _ = pki.key_and_request(document["spec"]["plantId"])
    damaged = key.decode().replace("-----END", "AAAA\n-----END")
    certificate, _ = await one.voke.issue_mtls(document["spec"]["plantId"], hmac_key="0" * 32)
    needles.add("a damaged private key", damaged)
    await one.apply(
        secret_document("broken", {"tls.crt": certificate.decode(), "tls.key": damaged}), document
    )
    await one.said("broken", "SecretInvalid")
    swapped = {"tls.crt": key.decode(), "tls.key": certificate.decode()}
    needles.add("a private key in the wrong place", key)
    await one.apply(secret_document("broken", swapped))
    await one.until(lambda: _says(one, "broken", "tls.crt"))
    short = await one.plant("short", credentials={"hmac": {"secretRef": {"name": "short"}}})
    needles.add("a short key", "only-twenty-letters!")
    await one.apply(secret_document("short", {"hmac.key": "only-twenty-letters!"}), short)
    await one.said("short", "SecretInvalid")


async def _says(one: Scene, plant: str, what: str) -> bool:
    return what in (await one.here.condition(plant))["message"]


async def note_all_secrets(one: Scene, needles: Needles) -> None:
    """What plants and the fleet's CA have at the end; bundles hold the same, compressed."""
    for namespace in (one.namespace, one.here.own):
        for secret in (await _get(one, "secrets", namespace))["items"]:
            for key in ("hmac.key", "tls.key", "ca.key", "jwt-private.pem", "password"):
                name = secret["metadata"]["name"]
                content = (await one.here.secret(name, namespace)).get(key)
                if content is not None:
                    needles.add(f"{key} of Secret {name}", content)


async def everything_that_people_read(one: Scene) -> dict[str, str]:
    """Texts by where they are."""
    pods = one.kubelet.pods
    kinds = "events,plants,gatewaypools,deviceprofiles,statefulsets,services,pods,configmaps"
    started = next(line for line in one.operator.log if line["event"] == "operator started")
    port = started["http"].rpartition(":")[2]
    processes = {"operator": one.operator.process.pid} | {name: pod.process.pid for name, pod in pods.items()}
    urls = {"the operator's metrics": f"http://127.0.0.1:{port}/metrics"} | {
        f"{path} of {name}": f"http://{pod.address}:{HTTP_PORT}/{path}"
        for name, pod in pods.items()
        for path in ("metrics", "status")
    }
    return {
        "the operator's log": one.operator.text,
        **{f"the log of {name}": one.kubelet.text(name) for name in one.kubelet.names},
        **{f"objects in {space}": json.dumps(await _get(one, kinds, space)) for space in _spaces(one)},
        **{place: await asyncio.to_thread(_read, url) for place, url in urls.items()},
        **{
            f"{what} of {name}": _of_process(pid, what)
            for name, pid in processes.items()
            for what in ("cmdline", "environ")
        },
        "the audit log": (one.here.plane.directory / "audit.log").read_text(),
    }


def _spaces(one: Scene) -> Iterable[str]:
    return one.namespace, one.here.own


async def _get(one: Scene, kinds: str, namespace: str) -> Json:
    found: Json = json.loads(await one.kubectl("get", kinds, "-n", namespace, "-o=json"))
    return found


def _of_process(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content.decode()


@pytest.mark.parametrize("form", ["plain", "base64"])
def test_a_leak_would_be_found(form: str) -> None:
    needles = Needles()
    key, _ = pki.key_and_request("00000000-0000-4000-8000-000000000000")
    needles.add("a private key", key)
    leaked = key if form == "plain" else b64encode(key)
    assert needles.found({"a log": f"error: {leaked!r}"})
    assert not needles.found({"a log": "error: nothing to see"})
