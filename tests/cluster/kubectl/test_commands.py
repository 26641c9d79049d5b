"""``kubectl voke`` with a real API, operator and gateway: what a person does with a plant from its first day on."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import uuid
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from rich.console import Console

from tests.cluster import front as fronts
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Installation, plant_document, ready, voke_documents
from tests.cluster.kubectl.person import Person, account_for, directly
from tests.support.thread import device, meter
from voke_cli.kubectl.edge import Kubectl
from voke_cli.kubectl.rights import ASK_POD, FORWARD, GET_SECRET, PATCH_PLANT
from voke_cli.kubectl.status import look, shown
from voke_operator import names
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

GATEWAY = "voke-gw-default-0"


@pytest.mark.timeout(300)  # statuses are written at intervals on purpose, and a day has many
async def test_a_plants_first_day(
    installation: Installation, voke: LocalVoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody reaches the cluster by a front, under a path: so it is with Rancher."""
    plane, plant_id = installation.plane, str(uuid.uuid4())
    async with (
        ModbusServer({1: meter(11, 12)}) as server,
        installation.kubelet(),
        fronts.running(plane, tmp_path) as front,
    ):
        person = Person(plane, installation.namespace, front)
        document = plant_document(
            "brno", plant_id, {"plc1": server}, devices=[device("M1", "plc1", fields=2)]
        )
        plane.apply(*voke_documents(voke), document, namespace=installation.namespace)
        await before_the_operator_runs(person)
        async with installation.operator(kubeconfig=front.kubeconfig(installation.kubeconfig)):
            await installation.until_keys("brno")
            await until_in_status(installation)
            await what_voke_has_to_know_is_exported(person, installation, voke, tmp_path / "first")
            await installation.until_ready("brno")
            await it_is_confirmed(person, installation, tmp_path / "first")
            await a_key_is_replaced(person, installation, voke, tmp_path / "second", older=tmp_path / "first")
            await installation.until_ready("brno")
            await its_status_is_shown(person, monkeypatch)
            await it_is_probed(person, server)
            await nothing_is_left_to_plan(person)
            await what_is_not_allowed_is_named(person)


async def before_the_operator_runs(person: Person) -> None:
    said = await person.voke("status")
    assert said.status == 1
    assert "the operator has not looked at it yet: does it run, and watch this namespace?" in said.out
    for command in ("credentials", "probe", "release"):
        said = await person.voke(command, "brno")
        assert said.status == 1, said
        assert not said.out
    assert (await person.voke("credentials", "brno")).err.startswith("brno has no credentials yet: ")
    assert (await person.voke("probe", "brno")).err.startswith("no gateway runs brno: ")
    assert (await person.voke("status", "nobody")).err.startswith("there is no Plant nobody in namespace ")


async def until_in_status(installation: Installation) -> None:
    await installation.until("brno", lambda plant: plant.get("status", {}).get("credentials"))


async def what_voke_has_to_know_is_exported(
    person: Person, installation: Installation, voke: LocalVoke, directory: Path
) -> None:
    keys = await installation.keys("brno")
    said = await person.voke("credentials", "brno", "--export", str(directory))
    assert said.status == 0, said
    assert said.out.endswith(
        f"kubectl voke credentials brno -n {person.namespace} --registered --from {directory}\n"
    )
    files, modes = written(directory)
    assert files.keys() == {"hmac.key", "tls.csr", "tls.crt", "ca.crt", "key-ids"}
    assert {name: files[name] for name in ("hmac.key", "tls.crt", "ca.crt")} == {
        name: keys[name] for name in ("hmac.key", "tls.crt", "ca.crt")
    }
    assert modes == {0o600}
    secret = keys["hmac.key"].decode()
    for arguments in ([], ["--json"]):
        shown_to_all = await person.voke("credentials", "brno", *arguments)
        assert secret not in shown_to_all.out + shown_to_all.err
    assert (await person.voke("credentials", "brno", "--show-hmac")).out == f"{secret}\n"
    request = x509.load_pem_x509_csr((await person.voke("credentials", "brno", "--csr")).out.encode())
    assert request.public_key() == load_pem_private_key(keys["tls.key"], None).public_key()
    crl = (await installation.secret(names.FLEET_CA, installation.own))["ca.crl"]
    plant_id = (await installation.plant("brno"))["spec"]["plantId"]
    await voke.register_mtls(plant_id, hmac_key=files["hmac.key"], ca_pem=files["ca.crt"], crl_pem=crl)


def written(directory: Path) -> tuple[dict[str, bytes], set[int]]:
    """What is in a directory, and its modes."""
    files = list(directory.iterdir())
    return {each.name: each.read_bytes() for each in files}, {each.stat().st_mode & 0o777 for each in files}


async def it_is_confirmed(person: Person, installation: Installation, directory: Path) -> None:
    assert ready(await installation.plant("brno"), "Registered")["status"] == "Unknown"
    said = await person.voke("credentials", "brno", "--registered", "--from", str(directory))
    assert said.status == 0, said
    assert "Registered is True (Confirmed)" in said.out
    found = await installation.plant("brno")
    assert ready(found, "Registered")["status"] == "True"
    ids = {each["name"]: each["keyId"] for each in found["status"]["credentials"]}
    confirmed = found["metadata"]["annotations"][names.REGISTERED_ANNOTATION]
    assert confirmed == f"hmac={ids['hmac']},mtls={ids['mtls']}"


async def a_key_is_replaced(
    person: Person, installation: Installation, voke: LocalVoke, directory: Path, *, older: Path
) -> None:
    """``older``: what was exported before that."""

    async def in_force() -> dict[str, str]:
        found = (await installation.plant("brno"))["status"]["credentials"]
        return {each["name"]: each["keyId"] for each in found}

    before = await in_force()
    said = await person.voke("credentials", "brno", "--replace", "hmac", given="n\n")
    assert (said.status, said.err) == (1, "nothing was done\n")
    assert await in_force() == before
    said = await person.voke("credentials", "brno", "--replace", "jwt", "--yes")
    assert said.err == "brno has no jwt key; it has hmac, mtls\n"
    said = await person.voke("credentials", "brno", "--replace", "hmac", "--yes")
    assert said.status == 0, said
    after = await in_force()
    assert after["hmac"] != before["hmac"]
    assert after["mtls"] == before["mtls"]
    assert f"hmac key {after['hmac']} takes the place of {before['hmac']}" in said.out
    await installation.until_reason("brno", "KeysChanged", "Registered")

    said = await person.voke("credentials", "brno", "--registered", "--from", str(older))
    assert said.status == 1
    assert f"the hmac key in force is {after['hmac']}, and the one in {older} is {before['hmac']}" in said.err
    assert ready(await installation.plant("brno"), "Registered")["reason"] == "KeysChanged"

    said = await person.voke("credentials", "brno", "--export", str(directory))
    assert said.status == 0, said
    assert said.out.endswith(f" --registered --from {directory}\n")
    plant_id = (await installation.plant("brno"))["spec"]["plantId"]
    crl = (await installation.secret(names.FLEET_CA, installation.own))["ca.crl"]
    await voke.register_mtls(
        plant_id,
        hmac_key=(directory / "hmac.key").read_bytes(),
        ca_pem=(directory / "ca.crt").read_bytes(),
        crl_pem=crl,
    )
    answer = await person.json("credentials", "brno", "--registered")
    assert answer["keyIds"] == after
    assert answer["condition"]["status"] == "True"


async def its_status_is_shown(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the API server only what this has: it passes nothing on to the loopback addresses of these pods."""
    monkeypatch.setenv("PATH", str(person.plane.programs), prepend=":")
    kubeconfig = await asyncio.to_thread(account_for, person.plane, person.namespace, "probe")
    kubectl = Kubectl(kubeconfig=str(kubeconfig), namespace=person.namespace)

    def seen() -> tuple[bool, str]:
        (row,) = look(kubectl, directly(kubectl), "brno", everywhere=False)
        console = Console(width=1000)
        with console.capture() as capture:
            console.print(shown([row], whole=False, now=time.time()))
            console.print(shown([row], whole=True, now=time.time()))
        return row.well, capture.get()

    well, text = await asyncio.to_thread(seen)
    assert well
    lines = [line.split() for line in text.splitlines()]
    columns = next(line for line in lines if line[:1] == ["brno"])
    assert (columns[1], columns[3], columns[5], columns[6]) == ("True", "1/1", "up", GATEWAY)
    assert columns[4] in {"0s", "1s", "2s"}, "the last poll was a moment ago"
    assert any(line[:2] == ["M1", "METER"] and line[3:] == ["read"] for line in lines)
    assert any(line[:2] == ["plc1", "yes"] for line in lines)

    found = (await person.json("status"))["plants"]
    assert [(each["name"], each["ready"], each["devices"], each["session"]) for each in found] == [
        ("brno", "True", "1/1", "up")
    ]
    assert found[0]["notAsked"] == "address not allowed", "so the API server calls loopback addresses"


async def it_is_probed(person: Person, server: ModbusServer) -> None:
    endpoint = await asyncio.to_thread(person.endpoint, GATEWAY)
    before = server.stats.connections
    said = await person.voke("probe", "brno", "--endpoint", endpoint)
    assert (said.status, said.err) == (0, ""), said
    assert "M1 (METER, unit 1): 2 of 2 read in " in said.out
    assert ["v0", "input", "0", "000B", "11"] in [line.split() for line in said.out.splitlines()]
    async with asyncio.timeout(30):
        while (said := await person.voke("probe", "brno", "--endpoint", endpoint, "--json")).status != 0:
            assert "is being probed" in said.err, said
    (connection,) = json.loads(said.out)["connections"]
    assert [point["value"] for point in connection["devices"][0]["points"]] == [11, 12]
    assert server.stats.connections == before, "no second connection"
    assert not server.writes
    wrong = await person.voke("probe", "brno", "--device", "M2", "--endpoint", endpoint)
    assert wrong.status == 2
    nobody = await person.voke("probe", "brno", "--endpoint", "http://127.0.0.1:9")
    assert "nothing answers on 127.0.0.1:9101 of the gateway's pod" in nobody.err
    assert nobody.status == 1
    no_node = await person.voke("probe", "brno")
    assert (no_node.status, no_node.out) == (1, "")
    assert "host" in no_node.err, "these pods are on no node, so no port of theirs can be forwarded"


async def nothing_is_left_to_plan(person: Person) -> None:
    said = await person.voke("plan")
    assert (said.status, said.out, said.err) == (0, "nothing to do: the cluster is as it is to be\n", "")


async def what_is_not_allowed_is_named(person: Person) -> None:
    said = await person.voke("probe", "brno", lacking=(FORWARD,))
    assert said.err.startswith("this needs the right to create pods/portforward: ")
    said = await person.voke("credentials", "brno", lacking=(GET_SECRET,))
    assert said.err.startswith("this needs the right to get secrets: ")
    said = await person.voke("credentials", "brno", "--registered", lacking=(PATCH_PLANT,))
    assert said.err.startswith("this needs the right to patch plants: ")
    said = await person.voke("status", lacking=(ASK_POD,))
    assert said.status == 0, "the API has the rest"
    assert f"{GATEWAY}: this needs the right to get pods/proxy: " in said.out


async def test_what_a_plant_with_tokens_has_to_register_is_in_the_brokers_form(
    installation: Installation, tmp_path: Path
) -> None:
    person = Person(installation.plane, installation.namespace)
    document = plant_document("brno", str(uuid.uuid4()), method="JWT")
    installation.plane.apply(document, namespace=installation.namespace)
    async with installation.operator():
        await installation.until_keys("brno")
        await until_in_status(installation)
    said = await person.voke("credentials", "brno", "--export", str(tmp_path / "keys"))
    assert said.status == 0, said
    public = load_pem_private_key((await installation.keys("brno"))["jwt-private.pem"], None).public_key()
    der = (tmp_path / "keys" / "jwt-public.der").read_bytes()
    assert der == public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert not (tmp_path / "keys" / "jwt-private.pem").exists()
    assert (await person.voke("credentials", "brno", "--csr")).err == (
        "no client certificate was generated for brno\n"
    )


async def test_keys_that_are_not_in_force_are_not_exported(installation: Installation) -> None:
    person, plane = Person(installation.plane, installation.namespace), installation.plane
    plane.apply(plant_document("brno", str(uuid.uuid4())), namespace=installation.namespace)
    async with installation.operator():
        await installation.until_keys("brno")
        await until_in_status(installation)
    patch = json.dumps({"stringData": {"hmac.key": "ab" * 32}})
    plane.kubectl(
        *("patch", "secret", names.plant_secret("brno"), "-n", installation.namespace),
        *("--type=merge", f"--patch={patch}"),
    )
    said = await person.voke("credentials", "brno")
    assert said.status == 1
    assert "does not hold the hmac key that is in force" in said.err


async def test_a_plant_is_released_from_a_gateway_that_is_dead(
    installation: Installation, voke: LocalVoke
) -> None:
    person, plane, namespace = (
        Person(installation.plane, installation.namespace),
        installation.plane,
        installation.namespace,
    )
    pools = [voke_documents(voke, pool=pool)[0] for pool in ("old", "new")]
    async with (
        ModbusServer({1: meter(1)}) as server,
        installation.operator(),
        installation.kubelet() as kubelet,
    ):
        document = plant_document("stuck", str(uuid.uuid4()), {"plc1": server}, pool="old")
        plane.apply(voke_documents(voke)[1], *pools, document, namespace=namespace)
        await installation.register(voke, "stuck")
        await installation.until_ready("stuck")
        kubelet.pods["voke-gw-old-0-0"].process.send_signal(signal.SIGSTOP)
        moved = {**document, "spec": {**document["spec"], "pool": "new"}}
        plane.apply(moved, namespace=namespace)
        await installation.until_reason("stuck", "Moving")

        refused = await person.voke("release", "stuck")
        assert refused.status == 1
        assert "pod voke-gw-old-0-0 on no node is said to be Running and ready" in refused.err
        assert "add --force" in refused.err
        doubtful = await person.voke("release", "stuck", "--force", given="n\n")
        assert (doubtful.status, "two gateways run this plant" in doubtful.out) == (1, True)
        assert names.RELEASE_ANNOTATION not in await annotated(installation)
        done = await person.voke("release", "stuck", "--force", "--yes")
        assert done.status == 0, done
        assert "stuck now runs on voke-gw-new-0" in done.out
        assert (await annotated(installation))[names.RELEASE_ANNOTATION] == "voke-gw-old-0"
        assert (await person.voke("release", "stuck", "--undo")).status == 0
        assert names.RELEASE_ANNOTATION not in await annotated(installation)
        assert (await installation.until_ready("stuck"))["status"]["gateway"] == "voke-gw-new-0"
        kubelet.pods["voke-gw-old-0-0"].process.send_signal(signal.SIGCONT)


async def annotated(installation: Installation) -> dict[str, str]:
    return (await installation.plant("stuck"))["metadata"].get("annotations") or {}


async def test_kubectl_completes_names_of_plants(
    control_plane: ControlPlane, crds: Path, namespace: str
) -> None:
    person = Person(control_plane, namespace)
    control_plane.apply(plant_document("brno", str(uuid.uuid4())), namespace=namespace)
    kubeconfig = await asyncio.to_thread(account_for, control_plane, namespace, "status")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "kubectl_complete-voke"),
        *("status", "-n", namespace, "--kubeconfig", str(kubeconfig), "b"),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": f"{person.plane.programs}:/usr/bin:/bin", "HOME": str(person.plane.directory)},
    )
    out, _ = await process.communicate()
    assert out.decode() == "brno\n:4\n"
