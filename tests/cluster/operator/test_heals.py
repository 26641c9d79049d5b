"""What is wrong says what to do, and heals by itself when a person has done that.

Every story goes from a bad situation over what a person reads to the cure and to Ready. Commands are taken from
the messages themselves. The stories are in one file because they run side by side over one installation.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Json, plant_document, ready, secret_document, voke_documents
from tests.cluster.scene import LONG, Scene, Story, scene, side_by_side
from tests.support.thread import device, meter
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.kube.errors import NotFoundError
from voke_operator.kube.resources import POOLS, SECRETS, SERVICES, STATEFUL_SETS
from voke_sim.plc.server import ModbusServer
from voke_sim.ports import free_ports

HMAC_KEY = "0123456789abcdef0123456789abcdef"


def keys_of_hmac(name: str) -> Json:
    """``spec.credentials`` with the HMAC key from a Secret."""
    return {"hmac": {"secretRef": {"name": name}}}


def pool_document(scene: Scene, name: str, **spec: Any) -> Json:
    """A pool that leads to the scene's Voke."""
    document, _ = voke_documents(scene.voke, pool=name, **spec)
    return document


def starts_and_stops(scene: Scene, plant: str) -> list[tuple[str, str, str]]:
    """Times, events and gateways of a plant's life, in order."""
    found = [
        (line["time"], line["event"], pod)
        for pod in scene.kubelet.names
        for line in scene.kubelet.log(pod)
        if line.get("plant") == plant and line["event"] in {"plant started", "plant stopped"}
    ]
    return sorted(found)


# -- what a Plant refers to


async def a_secret_is_missing(scene: Scene) -> None:
    await scene.apply(await scene.plant("no-secret", credentials=keys_of_hmac("absent")))
    message = await scene.said("no-secret", "SecretMissing")
    assert message.startswith(
        "Plant no-secret, spec.credentials.hmac.secretRef: there is no Secret absent in namespace "
    )
    assert await scene.said("no-secret", "SecretMissing", "CredentialsReady") == message
    await scene.apply(secret_document("absent", {"hmac.key": HMAC_KEY}))
    await scene.registered("no-secret", hmac_key=HMAC_KEY)


async def a_secret_is_not_meant_for_plants(scene: Scene) -> None:
    await scene.apply(secret_document("shy", {"hmac.key": HMAC_KEY}, allowed=False))
    await scene.apply(await scene.plant("no-label", credentials=keys_of_hmac("shy")))
    message = await scene.said("no-label", "SecretNotAllowed")
    assert message.startswith("Secret shy lacks the label that lets Plants use it.")
    await scene.obey(message)
    await scene.registered("no-label", hmac_key=HMAC_KEY)
    assert "PlantRefused" not in await scene.described("no-label"), "its gateway only did as it was told"


async def a_secret_holds_what_cannot_be_used(scene: Scene) -> None:
    await scene.apply(secret_document("short", {"hmac.key": "too short"}))
    await scene.apply(await scene.plant("bad-secret", credentials=keys_of_hmac("short")))
    message = await scene.said("bad-secret", "SecretInvalid")
    assert "Secret short" in message
    assert "the HMAC key has 9 characters; it needs at least 32" in message
    assert "too short" not in message
    await scene.apply(secret_document("short", {"hmac.key": HMAC_KEY}))
    await scene.registered("bad-secret", hmac_key=HMAC_KEY)


async def the_pool_is_missing(scene: Scene) -> None:
    await scene.apply(await scene.plant("no-pool", pool="late"))
    message = await scene.said("no-pool", "PoolMissing")
    assert message == (
        f"spec.pool: there is no GatewayPool late in namespace {scene.namespace}. Apply it, or correct spec.pool; only "
        "the pool default need not exist. The plant does not run until this is mended."
    )
    await scene.apply(pool_document(scene, "late"))
    await scene.registered("no-pool")


def profile_document(name: str) -> Json:
    """A meter's register map."""
    point = {"field": "v0", "table": "input", "address": 0, "type": "uint16"}
    return {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "DeviceProfile",
        "metadata": {"name": name},
        "spec": {"type": "METER", "points": [point]},
    }


def meter_by(profile: str) -> Json:
    """A meter with that register map."""
    return {"externalId": "M1", "type": "METER", "connection": "plc1", "profile": profile}


async def a_profile_comes_after_the_plant(scene: Scene) -> None:
    await scene.apply(await scene.plant("ahead", devices=[meter_by("behind")]), profile_document("behind"))
    await scene.registered("ahead")
    assert "Warning Invalid" not in await scene.described("ahead")


async def a_profile_is_missing(scene: Scene) -> None:
    await scene.apply(await scene.plant("no-profile", devices=[meter_by("unknown")]))
    message = await scene.said("no-profile", "Invalid")
    assert message.startswith("spec.devices[0].profile: ")
    assert "unknown" in message
    assert message.endswith("The plant does not run until this is mended.")
    await scene.apply(profile_document("unknown"))
    await scene.registered("no-profile")


async def the_newest_version_is_wrong_and_the_last_good_one_runs_on(scene: Scene) -> None:
    document = await scene.plant("newest")
    plant_id = document["spec"]["plantId"]
    await scene.apply(document)
    await scene.registered("newest")
    broken = {"externalId": "M2", "type": "METER", "connection": "plc1", "profile": "nowhere"}
    good = document["spec"]["devices"]
    await scene.apply({**document, "spec": {**document["spec"], "devices": [*good, broken]}})
    message = await scene.said("newest", "Invalid")
    assert message.startswith("spec.devices[1].profile: ")
    assert message.endswith("The last good version (generation 1) runs on.")
    await scene.until_more_snapshots(plant_id)
    await scene.apply(document)
    await scene.ready("newest")


# -- keys


async def the_name_of_its_secret_is_taken(scene: Scene) -> None:
    await scene.apply(secret_document("voke-plant-taken", {"mine": "precious"}, allowed=False))
    await scene.apply(await scene.plant("taken"))
    message = await scene.said("taken", "NameConflict")
    assert "the Secret voke-plant-taken is not this Plant's and is not touched" in message
    assert await scene.here.secret("voke-plant-taken") == {"mine": b"precious"}
    await scene.delete("secret", "voke-plant-taken")
    await scene.until(lambda: _has_keys(scene, "taken"))
    await scene.registered("taken")


async def _has_keys(scene: Scene, plant: str) -> bool:
    try:
        return "hmac.key" in await scene.here.keys(plant)
    except NotFoundError:
        return False


async def its_secret_is_deleted_or_edited(scene: Scene) -> None:
    document = await scene.plant("restored")
    await scene.apply(document)
    await scene.registered("restored")
    secret, keys = names.plant_secret("restored"), await scene.here.keys("restored")

    async def as_before() -> bool:
        return await _has_keys(scene, "restored") and await scene.here.keys("restored") == keys

    await scene.delete("secret", secret)
    await scene.until(as_before)
    foreign = b64encode(b"f" * 64).decode()
    await scene.kubectl(
        *("patch", "secret", secret, "-n", scene.namespace, "--type=merge"),
        f'--patch={{"data":{{"hmac.key":"{foreign}","tls.key":"bm8="}}}}',
    )
    await scene.until(as_before)
    await scene.until_more_snapshots(document["spec"]["plantId"])
    assert ready(await scene.here.plant("restored"))["status"] == "True"


async def it_is_too_large_and_then_its_key_is_lost(scene: Scene) -> None:
    await scene.apply(pool_document(scene, "narrow", shard={"maxRequestsPerSecond": 1}))
    await scene.apply(await scene.plant("wide", pool="narrow", plcs=2))
    message = await scene.said("wide", "TooLarge")
    assert "it needs 2 requests per second, and a gateway of this pool takes 1" in message
    assert "raise shard.maxRequestsPerSecond of the pool" in message

    keys = await scene.here.keys("wide")
    await scene.delete("secret", names.plant_secret("wide"))  # no bundle has ever had a copy
    message = await scene.said("wide", "KeyLost")
    assert "neither in the Secret voke-plant-wide nor in a gateway's bundle" in message
    assert "restore the Secret from a backup; or have a new key made" in message
    await scene.obey(message)
    await scene.said("wide", "TooLarge")
    assert (await scene.here.keys("wide"))["hmac.key"] != keys["hmac.key"]

    await scene.apply(pool_document(scene, "narrow", shard={"maxRequestsPerSecond": 2}))
    await scene.registered("wide")


async def the_ca_has_expired(town: Scene) -> None:
    """With an operator of its own, which was given a CA."""
    plane, directory = town.here.plane, town.here.directory / "expired"
    directory.mkdir()
    now = datetime.now(UTC)
    old, new = (
        material.new_fleet_ca(at, "corporate") for at in (now - material.CA_LIFETIME - timedelta(days=2), now)
    )
    async with scene(plane, directory, name="expired", arguments=("--issuer-secret", "corporate-ca")) as one:
        await asyncio.to_thread(plane.apply, issuer_document(old), namespace=one.here.own)
        await one.apply(*voke_documents(one.voke), await one.plant("late"))
        message = await one.said("late", "IssuerUnusable")
        assert message.startswith(
            "the issuing CA in the Secret corporate-ca of namespace expired-system cannot be used: it ended on "
        )
        await asyncio.to_thread(plane.apply, issuer_document(new), namespace=one.here.own)
        keys = await one.here.until_keys("late", within=LONG)
        plant_id = (await one.here.plant("late"))["spec"]["plantId"]
        crl = material.revocation_list(new, now)
        await one.voke.register_mtls(plant_id, hmac_key=keys["hmac.key"], ca_pem=keys["ca.crt"], crl_pem=crl)
        await one.ready("late")


def issuer_document(files: material.Material) -> Json:
    """A CA as a person gives it to the operator."""
    return secret_document(
        "corporate-ca", {name: content.decode() for name, content in files.items()}, allowed=False
    )


async def keys_are_kept_for_a_plant_that_comes_back(scene: Scene) -> None:
    document = await scene.plant("kept", deletionPolicy="Retain")
    await scene.apply(document)
    await scene.registered("kept")
    keys = await scene.here.keys("kept")
    await scene.delete("plant", "kept")
    await scene.until(lambda: _has_stopped(scene, "kept"))
    assert await scene.here.keys("kept") == keys
    await scene.apply(document)
    await scene.ready("kept")
    assert await scene.here.keys("kept") == keys


async def _has_stopped(scene: Scene, plant: str) -> bool:
    history = starts_and_stops(scene, plant)
    return bool(history) and history[-1][1] == "plant stopped"


# -- Voke


async def voke_does_not_know_its_keys(scene: Scene) -> None:
    document = await scene.plant("stranger", method="JWT")
    await scene.apply(document)
    message = await scene.said("stranger", "LoginRefused")
    assert "Secret voke-plant-stranger holds (hmac.key, jwt-public.der)" in message
    keys = await scene.here.keys("stranger")
    await scene.voke.register_jwt(
        document["spec"]["plantId"], hmac_key=keys["hmac.key"], public_key_der=keys["jwt-public.der"]
    )
    await scene.ready("stranger")
    message = await scene.said("stranger", "NotConfirmed")
    assert message.startswith("nobody has said that Voke knows hmac ")
    await scene.obey(message)
    await scene.here.until_reason("stranger", "AllWell", within=LONG)
    await scene.said("stranger", "Confirmed", "Registered")


async def voke_is_out_of_reach_for_all(scene: Scene) -> None:
    async with relay(scene.voke.ports.mtls, scene.voke.host) as cable:
        pool, _ = voke_documents(scene.voke, pool="cut")
        pool["spec"]["voke"]["ports"]["mtls"] = cable.port
        plants = ("cut-a", "cut-b", "cut-c")
        await scene.apply(pool, *[await scene.plant(name, pool="cut") for name in plants])
        await asyncio.gather(*(scene.registered(name) for name in plants))
        await pool_says(scene, "cut", "Reachable")
        before = [ready(await scene.here.plant(name)) for name in plants]

        await cable.cut()
        message = await pool_says(scene, "cut", "CloudOutage")
        assert message.startswith("none of the 3 plants that run gets through to Voke (")
        assert "Gateways keep what they read and send it later" in message
        assert [ready(await scene.here.plant(name)) for name in plants] == before, "said once, on the pool"

        await cable.mend()
        await pool_says(scene, "cut", "Reachable")
        assert [ready(await scene.here.plant(name)) for name in plants] == before
        for name in plants:
            await scene.until_more_snapshots((await scene.here.plant(name))["spec"]["plantId"])


async def pool_says(scene: Scene, pool: str, reason: str) -> str:
    """Wait for a reason of a pool's ``CloudReachable``; its message."""

    async def said() -> str:
        document = await scene.here.admin.get(POOLS, scene.namespace, pool)
        found = ready(document, "CloudReachable")
        return str(found["message"]) if found["reason"] == reason else ""

    message = await scene.until(said)
    assert isinstance(message, str)
    return message


class Cable:
    """A way to Voke that can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        (self.port,) = free_ports(1)

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while content := await reader.read(65536):
                writer.write(content)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def relay(port: int, host: str) -> AsyncIterator[Cable]:
    """A cable to that port, whole at first."""
    cable = Cable(host, port)
    await cable.mend()
    try:
        yield cable
    finally:
        await cable.cut()


# -- PLCs


async def plcs_fall_silent_and_come_back(scene: Scene) -> None:
    async with ModbusServer({1: meter(1)}) as first, ModbusServer({1: meter(2)}) as second:
        servers = {"north": first, "south": second}
        devices = [device("M1", "north"), device("M2", "south"), device("M3", "south")]
        await scene.apply(await scene.plant("silent", servers=servers, devices=devices))
        await scene.registered("silent")

        second.refuse_connections()
        message = await scene.said("silent", "SomeDevicesNotRead")
        assert message.startswith(f"PLC south (127.0.0.1:{second.port}) does not answer: ")
        assert "1 of 3 devices are read" in message
        assert message.endswith(
            "Check its power, its address and the firewall in between. After that: Registered (NotConfirmed)"
        )
        partly = await scene.here.plant("silent")
        assert (ready(partly)["status"], partly["status"]["devices"]) == ("True", "1/3")

        first.refuse_connections()
        message = await scene.said("silent", "NoDeviceRead")
        assert message.startswith(f"PLC north (127.0.0.1:{first.port}) does not answer: ")
        assert "(and 2 other devices on other connections); 0 of 3 devices are read" in message

        await first.accept_connections()
        await second.accept_connections()
        await scene.said("silent", "AllRead", "DevicesReachable")
        assert (await scene.ready("silent"))["status"]["devices"] == "3/3"


# -- places


async def two_plants_have_one_plant_id(scene: Scene) -> None:
    plant_id = str(uuid.uuid4())
    await scene.apply(pool_document(scene, "second"))
    await scene.apply(await scene.plant("winner", plant_id=plant_id))
    await scene.registered("winner")
    await scene.apply(await scene.plant("loser", plant_id=plant_id, pool="second"))
    message = await scene.said("loser", "DuplicatePlantId")
    assert message.startswith(
        f"plantId {plant_id} belongs to Plant winner in namespace {scene.namespace}, which runs already. Delete one"
    )
    await scene.delete("plant", "winner")
    await scene.until(lambda: _has_keys(scene, "loser"))
    await scene.registered("loser")
    (ended,) = [at for at, event, _ in starts_and_stops(scene, "winner") if event == "plant stopped"]
    (began,) = [at for at, event, _ in starts_and_stops(scene, "loser") if event == "plant started"]
    assert ended < began, "the old gateway has let go before"
    never_twice(scene, plant_id)


async def two_plants_name_one_plc(scene: Scene) -> None:
    plc = await scene.plcs.enter_async_context(ModbusServer({1: meter(1)}))
    has, wants = [await scene.plant(name, servers={"plc1": plc}) for name in ("has-plc", "wants-plc")]
    await scene.apply(has)
    await scene.registered("has-plc")
    await scene.apply(wants)
    message = await scene.said("wants-plc", "Invalid")
    assert message == (
        f"spec.connections[0].modbusTcp.host: Plant has-plc connects to {plc.host}:{plc.port} already, and a PLC is read "
        "and written by one Plant: put the devices of both into one Plant, or reach those of this one by another address "
        "or port. The plant does not run until this is mended."
    )
    await scene.delete("plant", "has-plc")
    await scene.registered("wants-plc")


async def it_moves_to_another_pool(scene: Scene) -> None:
    document = await scene.plant("mover")
    plant_id = document["spec"]["plantId"]
    await scene.apply(pool_document(scene, "target"))
    await scene.apply(document)
    await scene.registered("mover")
    await scene.apply({**document, "spec": {**document["spec"], "pool": "target"}})
    moved = await scene.ready("mover")
    assert moved["status"]["gateway"] == "voke-gw-target-0"
    assert moved["status"]["shard"] == 0
    assert [(event, pod) for _, event, pod in starts_and_stops(scene, "mover")] == [
        ("plant started", "voke-gw-default-0-0"),
        ("plant stopped", "voke-gw-default-0-0"),
        ("plant started", "voke-gw-target-0-0"),
    ]
    (stopped,) = [
        line
        for line in scene.kubelet.log("voke-gw-default-0-0")
        if line["event"] == "plant stopped" and line["plant"] == "mover"
    ]
    assert stopped["undelivered"] == 0, "it was drained"
    await scene.until_more_snapshots(plant_id)
    never_twice(scene, plant_id)


async def its_old_gateway_hangs(scene: Scene) -> None:
    document = await scene.plant("stuck", pool="old")
    await scene.apply(pool_document(scene, "old"), pool_document(scene, "new"), document)
    await scene.registered("stuck")
    old = scene.kubelet.pods["voke-gw-old-0-0"].process
    old.send_signal(signal.SIGSTOP)
    await scene.apply({**document, "spec": {**document["spec"], "pool": "new"}})
    message = await scene.said("stuck", "Moving")
    assert message.startswith(
        "runs nowhere until voke-gw-old-0 has let go of it; if that is dead for good, say so: "
    )
    assert "voke-gw-new-0-0" not in scene.kubelet.pods, "it may run there still"
    old.kill()
    await scene.obey(message, "--force")  # nobody has told the API server that its pod is dead
    assert (await scene.ready("stuck"))["status"]["gateway"] == "voke-gw-new-0"


def never_twice(scene: Scene, plant_id: str) -> None:
    """The broker has not seen a second client with this identity while the first was there."""
    taken_over = [
        line
        for line in scene.voke.broker.log_text().splitlines()
        if plant_id in line and ("already connected" in line or "taken over" in line)
    ]
    assert not taken_over


async def it_is_suspended(scene: Scene) -> None:
    async with ModbusServer({1: meter(5)}) as plc:
        document = await scene.plant("paused", servers={"plc1": plc})
        await scene.apply(document)
        await scene.registered("paused")
        await scene.apply({**document, "spec": {**document["spec"], "suspend": True}})
        message = await scene.said("paused", "Suspended")
        assert message.endswith("set it to false to go on")
        await scene.until(lambda: _nobody_asks(plc))
        await scene.apply({**document, "spec": {**document["spec"], "suspend": False}})
        await scene.ready("paused")


async def _nobody_asks(plc: ModbusServer) -> bool:
    return plc.stats.connections_open == 0


ASLEEP = tuple(f"asleep-{number}" for number in range(9))
"""Plants that are suspended, and take their room in the bundle all the same."""
FILLED = ("large", "growing", *ASLEEP)


async def its_bundle_is_full(scene: Scene) -> None:
    """Remarks above certificates stand for register maps that take as much room, and cost the API server less."""
    random = Random(7)
    own = {
        name: {"hmac": {"secretRef": {"name": name}}, "mtls": {"secretRef": {"name": name}}}
        for name in FILLED
    }
    plants = {
        name: plant_document(name, str(uuid.uuid4()), suspend=True, credentials=own[name]) for name in ASLEEP
    } | {name: await scene.plant(name, pool="tight", credentials=own[name]) for name in ("large", "growing")}
    files, larger = {}, {}
    for name, plant in plants.items():
        plant["spec"]["pool"] = "tight"
        certificate, key = await scene.voke.issue_mtls(plant["spec"]["plantId"], hmac_key=HMAC_KEY)
        files[name] = {"hmac.key": HMAC_KEY, "tls.crt": certificate.decode(), "tls.key": key.decode()}
        larger[name] = {**files[name], "tls.crt": remarks(random, 48_000) + files[name]["tls.crt"]}
    pool = pool_document(scene, "tight")
    pool["spec"]["voke"]["ca"]["secretRef"]["name"] = "tight-ca"
    await scene.apply(
        secret_document("tight-ca", {"ca.crt": remarks(random, 380_000) + scene.voke.ca_pem.decode()}),
        pool,
        *(secret_document(name, files[name]) for name in FILLED),
        *plants.values(),
    )
    await scene.ready("large")
    await scene.ready("growing")
    await scene.apply(*(secret_document(name, larger[name]) for name in ("large", *ASLEEP)))

    async def nearly_full() -> bool:
        bundle = await scene.here.admin.get(SECRETS, scene.namespace, names.bundle_secret("tight", 0))
        return sum(map(len, bundle["data"].values())) * 3 / 4 > 850_000  # it is in base64

    await scene.until(nearly_full)
    await scene.apply(secret_document("growing", larger["growing"]))
    message = await scene.said("growing", "BundleFull")
    assert "voke-gw-tight-0" in message
    assert "at most 921600 are allowed" in message
    assert larger["growing"]["tls.crt"][:64] not in message
    assert ready(await scene.here.plant("large"))["status"] == "True"
    await scene.delete("plant", "large")
    await scene.ready("growing")


def remarks(random: Random, size: int) -> str:
    """A line that takes so many bytes however it is packed."""
    return b64encode(random.randbytes(size)).decode() + "\n"


async def somebody_has_the_name_of_its_gateway(scene: Scene) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "voke-gw-ours-0"},
        "spec": {"ports": [{"port": 80}], "clusterIP": "None"},
    }
    await scene.apply(service, pool_document(scene, "ours"), await scene.plant("evicted", pool="ours"))
    message = await scene.said("evicted", "GatewayConflict")
    assert message.startswith(
        f"Service voke-gw-ours-0 in namespace {scene.namespace} was not made by the operator"
    )
    await scene.obey(message)
    await scene.registered("evicted")
    found = await scene.here.admin.get(SERVICES, scene.namespace, "voke-gw-ours-0")
    assert found["metadata"]["labels"][names.MANAGED_BY] == names.FIELD_MANAGER


async def somebody_has_the_name_of_its_bundle(scene: Scene) -> None:
    strangers = secret_document("voke-bundle-mine-0", {"mine": "precious"}, allowed=False)
    await scene.apply(strangers, pool_document(scene, "mine"), await scene.plant("blocked", pool="mine"))
    message = await scene.said("blocked", "GatewayConflict")
    assert message.startswith(
        f"Secret voke-bundle-mine-0 in namespace {scene.namespace} was not made by the operator"
    )
    assert await scene.here.secret("voke-bundle-mine-0") == {"mine": b"precious"}
    await scene.obey(message)
    await scene.registered("blocked")


async def its_pool_is_made_anew_with_another_storage(scene: Scene) -> None:
    claim = {"storage": {"persistentVolumeClaim": {"size": "1Gi"}}}
    plant_id = str(uuid.uuid4())
    await scene.apply(
        pool_document(scene, "stored"), await scene.plant("stored", pool="stored", plant_id=plant_id)
    )
    await scene.registered("stored")
    await scene.delete("gatewaypool", "stored")
    await scene.apply(pool_document(scene, "stored", shard=claim))
    message = await scene.said("stored", "StorageKept", "GatewayReady")
    assert "gateway voke-gw-stored-0 keeps its storage, an emptyDir" in message
    assert "the pool wants a claim of 1Gi" in message
    await scene.until(lambda: _pool_says(scene, "stored", "StorageKept"))
    await scene.ready("stored")
    await scene.until_more_snapshots(plant_id)
    found = await scene.here.admin.get(STATEFUL_SETS, scene.namespace, "voke-gw-stored-0")
    assert "volumeClaimTemplates" not in found["spec"]
    await scene.obey(message)
    await scene.until(lambda: _claims(scene, "voke-gw-stored-0"))
    await scene.until(lambda: _pool_says(scene, "stored", "AllWell"))
    await scene.ready("stored")
    assert not [line for line in scene.operator.log if "voke-gw-stored-0" in str(line.get("error"))]


async def _pool_says(scene: Scene, name: str, reason: str) -> bool:
    found: str = ready(await scene.here.admin.get(POOLS, scene.namespace, name))["reason"]
    return found == reason


async def _claims(scene: Scene, name: str) -> bool:
    with contextlib.suppress(NotFoundError):
        found = await scene.here.admin.get(STATEFUL_SETS, scene.namespace, name)
        return "volumeClaimTemplates" in found["spec"]
    return False


async def its_gateway_never_came_up_and_its_plants_are_deleted(scene: Scene) -> None:
    scene.kubelet.unknown_images.add("voke-gateway:missing")
    await scene.apply(
        pool_document(scene, "stillborn", pod={"image": "voke-gateway:missing"}),
        await scene.plant("unborn", pool="stillborn"),
    )
    await scene.said("unborn", "GatewayUnreachable")
    await scene.delete("plant", "unborn")
    await scene.until(lambda: _nothing_is_left(scene, "stillborn"))


async def _nothing_is_left(scene: Scene, pool: str) -> bool:
    kinds = "statefulsets,services,pods,secrets,poddisruptionbudgets,networkpolicies"
    selected = f"{names.POOL_LABEL}={pool}"
    return not await scene.kubectl("get", kinds, "-n", scene.namespace, "-l", selected, "-o", "name")


STORIES: tuple[Story, ...] = (
    a_secret_is_missing,
    a_secret_is_not_meant_for_plants,
    a_secret_holds_what_cannot_be_used,
    the_pool_is_missing,
    a_profile_comes_after_the_plant,
    a_profile_is_missing,
    the_newest_version_is_wrong_and_the_last_good_one_runs_on,
    the_name_of_its_secret_is_taken,
    its_secret_is_deleted_or_edited,
    it_is_too_large_and_then_its_key_is_lost,
    the_ca_has_expired,
    keys_are_kept_for_a_plant_that_comes_back,
    voke_does_not_know_its_keys,
    voke_is_out_of_reach_for_all,
    plcs_fall_silent_and_come_back,
    two_plants_have_one_plant_id,
    two_plants_name_one_plc,
    it_moves_to_another_pool,
    its_old_gateway_hangs,
    it_is_suspended,
    its_bundle_is_full,
    somebody_has_the_name_of_its_gateway,
    somebody_has_the_name_of_its_bundle,
    its_pool_is_made_anew_with_another_storage,
    its_gateway_never_came_up_and_its_plants_are_deleted,
)


def chosen(session: pytest.Session) -> Iterator[Story]:
    """Stories that this run of pytest asks for."""
    for item in session.items:
        story = getattr(item, "callspec", None) and item.callspec.params.get("story")  # type: ignore[attr-defined]
        if story in STORIES:
            yield story


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(
    request: pytest.FixtureRequest,
    control_plane: ControlPlane,
    crds: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Mapping[Story, asyncio.Task[None]]]:
    """All stories, begun at the same time."""
    directory = tmp_path_factory.mktemp("heals")
    async with scene(control_plane, directory, name="heals") as one:
        await one.apply(*voke_documents(one.voke))
        async with side_by_side(one, chosen(request.session)) as tasks:
            yield tasks


@pytest.mark.timeout(400)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_it_says_what_to_do_and_heals(told: Mapping[Story, asyncio.Task[None]], story: Story) -> None:
    await told[story]
