"""What the operator survives, and what it says in one line and ends for: through an API server that misbehaves."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cluster import faulty_api
from tests.cluster.charts import rights
from tests.cluster.faulty_api import Fault, FaultyApi
from tests.cluster.installation import ACCOUNT, WITHIN, Installation, Operator, plant_document
from tests.cluster.kubelet import Kubelet
from tests.cluster.operator.chronicle import Chronicle, look
from voke_operator import names
from voke_operator.plan.objects import HTTP_PORT

GATEWAY = names.gateway_pod("default", 0)
POOL = {"apiVersion": "voke.lovinka.com/v1alpha1", "kind": "GatewayPool", "spec": {}}
QUICK_LEASE = ("--lease-seconds", "2")


@pytest.fixture
async def faulty(installation: Installation, tmp_path: Path) -> AsyncIterator[FaultyApi]:
    async with faulty_api.running(installation.plane, tmp_path) as faulty:
        faulty.kubeconfig = faulty.for_user_of(installation.kubeconfig)
        yield faulty


def apply(installation: Installation, *plants: str, **spec: Any) -> None:
    documents = [plant_document(each, str(uuid.uuid4()), **spec) for each in plants]
    installation.plane.apply(*documents, namespace=installation.namespace)


def delete(installation: Installation, plant: str) -> None:
    installation.plane.kubectl("delete", "plant", plant, "-n", installation.namespace)


async def until_all_is_right(installation: Installation, *plants: str, within: float = WITHIN) -> None:
    """These Plants are there, each has its keys and is in a bundle, and nothing else is."""
    wrong = [""]
    try:
        async with asyncio.timeout(within):
            while wrong:
                await asyncio.sleep(0.1)
                seen = await look(installation.admin, installation.namespace)
                wrong = [*(["others"] if seen.plants.keys() != set(plants) else []), *seen.wrong()]
    except TimeoutError:
        raise AssertionError(wrong) from None


async def until_on(installation: Installation, plant: str, gateway: str) -> None:
    await installation.until(plant, lambda found: found.get("status", {}).get("gateway") == gateway)


async def refused(installation: Installation, kubeconfig: Path) -> list[str]:
    """What an operator says that cannot start."""
    async with installation.operator(kubeconfig=kubeconfig) as operator:
        async with asyncio.timeout(WITHIN):
            assert await operator.process.wait() == 1, operator.text
    return [line for line in operator.text.splitlines() if not line.startswith("{")]


def unexpected(operator: Operator) -> list[dict[str, Any]]:
    """Errors that the operator itself logged; kopf calls a refused connection one, and tries again."""
    own = [each for each in operator.log if not each.get("logger", "").startswith("kopf")]
    return [each for each in own if each.get("level") in {"error", "critical"} or "exception" in each]


# -- the API server


async def test_an_api_server_that_is_away_is_waited_for_at_the_start_and_later(
    installation: Installation, faulty: FaultyApi
) -> None:
    async with faulty.away():
        starting = installation.operator(kubeconfig=faulty.kubeconfig)
        operator = await starting.__aenter__()
        await operator.until_logged("the API server does not answer, to be tried again")
    try:
        apply(installation, "before")
        await until_all_is_right(installation, "before")
        async with faulty.away():
            apply(installation, "meanwhile")
            delete(installation, "before")
            await asyncio.sleep(3)
        await until_all_is_right(installation, "meanwhile")
        assert not unexpected(operator)
    finally:
        await starting.__aexit__(None, None, None)


async def test_an_operator_that_cannot_renew_its_lease_says_so_and_ends(
    installation: Installation, faulty: FaultyApi
) -> None:
    async with installation.operator(*QUICK_LEASE, kubeconfig=faulty.kubeconfig) as operator:
        await operator.until_logged("work begins")
        async with faulty.away(), asyncio.timeout(WITHIN):
            assert await operator.process.wait() == 0
        assert {each["why"] for each in operator.log if each["event"] == "lease lost"} == {
            "it could not be renewed in time"
        }
        assert "Traceback" not in operator.text


FAULTS: list[dict[str, Any]] = [
    {"verb": "create", "resource": "secrets", "code": 409, "reason": "AlreadyExists"},
    {"verb": "create", "resource": "secrets", "lose_answer": True},
    {"verb": "update", "resource": "secrets", "code": 409},
    {"verb": "update", "resource": "secrets", "lose_answer": True},
    {"verb": "patch", "resource": "plants/status", "code": 409},
    {"verb": "patch", "resource": "plants/status", "lose_answer": True},
    {"verb": "patch", "resource": "plants/status", "code": 500, "times": 3},
    {"verb": "create", "resource": "secrets", "code": 503, "times": 3},
    {"verb": "create", "resource": "secrets", "code": 429, "retry_after": 1.0, "times": 2},
    {"verb": "get", "resource": "secrets", "code": 429, "retry_after": 1.0},
    {"verb": "create", "resource": "secrets", "delay": 2.0},
]


async def test_a_refused_or_lost_write_is_made_good_and_no_key_is_made_twice(
    installation: Installation, faulty: FaultyApi
) -> None:
    plants: list[str] = []
    async with (
        installation.operator(kubeconfig=faulty.kubeconfig) as operator,
        Chronicle.following(installation.admin, installation.namespace) as chronicle,
    ):
        await operator.until_logged("work begins")
        for number, fault in enumerate(FAULTS):
            met = faulty.add(**fault)
            plants.append(f"plant-{number}")
            apply(installation, plants[-1])
            await until_all_is_right(installation, *plants)
            assert met.times == 0, f"{fault} was met"
        await asyncio.sleep(1)
        assert not unexpected(operator)
    assert {len(ids) for ids in chronicle.history.values()} == {1}
    assert len(chronicle.history) == 2 * len(plants)


async def test_watches_that_break_or_are_too_old_lose_nothing(
    installation: Installation, faulty: FaultyApi
) -> None:
    plants: list[str] = []
    async with installation.operator(kubeconfig=faulty.kubeconfig) as operator:
        await operator.until_logged("work begins")
        for number, resource in enumerate(("plants", "secrets", "gatewaypools", "statefulsets") * 2):
            too_old = number >= 4
            if too_old:
                faulty.add(verb="watch", resource=resource, code=410, in_stream=True)
            faulty.cut_watches(resource)
            plants.append(f"plant-{number}")
            apply(installation, plants[-1])
            await until_all_is_right(installation, *plants)
        secret = names.plant_secret("plant-0")
        faulty.cut_watches("secrets")
        installation.plane.kubectl("delete", "secret", secret, "-n", installation.namespace)
        await until_all_is_right(installation, *plants)
        assert not unexpected(operator)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_watch_that_falls_silent_is_begun_again(
    installation: Installation, faulty: FaultyApi
) -> None:
    async with installation.operator(kubeconfig=faulty.kubeconfig) as operator:
        await operator.until_logged("work begins")
        apply(installation, "before")
        await until_all_is_right(installation, "before")
        faulty.silent.update({"plants", "secrets"})
        apply(installation, "unheard")
        await until_all_is_right(installation, "before", "unheard", within=120)
        assert not unexpected(operator)


# -- what is missing


async def test_a_kind_that_is_not_installed_is_one_line(
    installation: Installation, faulty: FaultyApi
) -> None:
    faulty.add(resource="plants", code=404, body="404 page not found", times=None)
    assert await refused(installation, faulty.kubeconfig) == [
        (
            "the CustomResourceDefinition plants.voke.lovinka.com is not installed: "
            "install the chart with crds.enabled=true, or kubectl apply --server-side -f crds/"
        )
    ]


async def test_a_lease_that_may_not_be_taken_after_all_is_one_line(
    installation: Installation, faulty: FaultyApi
) -> None:
    faulty.add(verb="create", resource="leases", code=403, reason="Forbidden", times=None)
    (line,) = await refused(installation, faulty.kubeconfig)
    assert line.startswith("the Lease cannot be taken: ")


async def test_every_right_that_is_missing_is_named(installation: Installation) -> None:
    documents = rights(account="weak", namespace=installation.own, watch=[installation.namespace])
    for each in documents:
        if each["kind"] == "Role":
            each["rules"] = [
                _without_writes(rule) for rule in each["rules"] if "leases" not in rule["resources"]
            ]
    installation.plane.apply(*documents)
    kubeconfig = installation.plane.service_account(installation.own, "weak")
    said = await refused(installation, kubeconfig)
    here = (
        f"RBAC: the operator's service account lacks, in namespace {installation.namespace} (Role), the rule "
    )
    own = f"RBAC: the operator's service account lacks, in namespace {installation.own} (Role), the rule "
    assert here + '{apiGroups: ["apps"], resources: ["statefulsets"], verbs: [create]}' in said
    assert here + '{apiGroups: [""], resources: ["secrets"], verbs: [create]}' in said
    leases = own + '{apiGroups: ["coordination.k8s.io"], resources: ["leases"], '
    assert leases + "verbs: [create]}" in said
    assert leases + 'resourceNames: ["voke-operator"], verbs: [get, update]}' in said
    assert all(line.startswith((here, own)) for line in said)


def _without_writes(rule: dict[str, Any]) -> dict[str, Any]:
    return {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "create"] or ["get"]}


async def test_a_right_that_is_taken_away_is_named_and_work_goes_on_when_it_is_back(
    installation: Installation,
) -> None:
    whole = rights(account=ACCOUNT, namespace=installation.own, watch=[installation.namespace])
    weak = [
        {**each, "rules": [_without_writes(rule) for rule in each["rules"]]}
        for each in whole
        if each["kind"] == "Role" and each["metadata"]["namespace"] == installation.namespace
    ]
    async with installation.operator() as operator:
        await operator.until_logged("work begins")
        installation.plane.apply(*weak)
        apply(installation, "site")
        await operator.until_logged("reconcile failed, to be tried again")
        why = next(each["error"] for each in operator.log if each["event"].startswith("reconcile failed"))
        assert 'cannot create resource "secrets"' in why
        installation.plane.apply(*whole)
        await until_all_is_right(installation, "site")
        assert not unexpected(operator)


async def test_of_plants_with_one_id_the_older_is_in_the_right_also_where_nobody_ran_before_the_operator_started(
    installation: Installation,
) -> None:
    def has(reason: str) -> Callable[[Any], bool]:
        return lambda plant: (
            reason in {each["reason"] for each in plant.get("status", {}).get("conditions", ())}
        )

    plant_id, namespace = str(uuid.uuid4()), installation.namespace
    installation.plane.apply(plant_document("z-older", plant_id, pool="not-yet"), namespace=namespace)
    await asyncio.sleep(1.1)  # creation is noted in whole seconds
    installation.plane.apply(plant_document("a-younger", plant_id), namespace=namespace)
    async with installation.operator():
        await installation.until("a-younger", has("DuplicatePlantId"))
        await installation.until("z-older", has("PoolMissing"))
        assert not (await installation.plant("a-younger"))["status"].get("credentials")


async def until_announcements_are(installation: Installation, *, kept: bool) -> None:
    """Wait until the API server's schema of Plants is in force."""
    said = {"status": {"credentials": [{"name": "hmac", "source": "Generated", "announced": ["0"]}]}}
    patch = ("patch", "plant", "site", "-n", installation.namespace, "--subresource=status", "--type=merge")
    async with asyncio.timeout(WITHIN):
        while True:
            done = installation.plane.kubectl(
                *patch, f"--patch={json.dumps(said)}", "--dry-run=server", "-o", "json", check=False
            )
            if done.returncode == 0 and ('"announced"' in done.stdout) == kept:
                return
            await asyncio.sleep(0.1)


async def test_a_definition_that_is_older_than_the_operator_is_named_and_no_key_is_exchanged_meanwhile(
    installation: Installation, crds: Path
) -> None:
    plane = installation.plane
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/credentials/items/properties"
    remove = json.dumps([{"op": "remove", "path": f"{path}/announced"}])
    async with installation.operator() as operator:
        apply(installation, "site")
        await until_all_is_right(installation, "site")
        before = (await installation.plant("site"))["status"]["credentials"]
        (hmac,) = [each["keyId"] for each in before if each["name"] == "hmac"]
        plane.kubectl("patch", "crd", "plants.voke.lovinka.com", "--type=json", f"--patch={remove}")
        try:
            await until_announcements_are(installation, kept=False)
            asked = f"{names.REPLACE_ANNOTATION}={hmac}"
            plane.kubectl("annotate", "plant", "site", "-n", installation.namespace, asked)
            await operator.until_logged("reconcile failed, to be tried again")
            why = next(each["error"] for each in operator.log if each["event"].startswith("reconcile failed"))
            assert "the CustomResourceDefinition plants.voke.lovinka.com is older than the operator" in why
            assert (await installation.plant("site"))["status"]["credentials"] == before
        finally:
            plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crds / "plants.yaml"))
            await until_announcements_are(installation, kept=True)

        def is_replaced(plant: Any) -> bool:
            return hmac not in [each["keyId"] for each in plant["status"]["credentials"]]

        await installation.until("site", is_replaced)
        await until_all_is_right(installation, "site")


# -- Plants that vanish unseen


async def listed(kubelet: Kubelet) -> set[str]:
    """Plants of which the gateway says that it runs them."""
    pod = kubelet.pods.get(GATEWAY)
    if pod is None:
        return set()
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{pod.address}:{HTTP_PORT}/status") as answer:
                return {each["name"] for each in json.loads(await answer.read())["plants"]}
    except aiohttp.ClientError:
        return set()


async def until_listed(kubelet: Kubelet, *plants: str, within: float = WITHIN) -> None:
    found: set[str] = set()
    try:
        async with asyncio.timeout(within):
            while (found := await listed(kubelet)) != set(plants):
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"the gateway runs {found}") from None


async def test_a_plant_that_is_deleted_while_the_operator_is_down_stops_when_it_is_back(
    installation: Installation,
) -> None:
    async with installation.kubelet() as kubelet:
        async with installation.operator() as first:
            apply(installation, "stays", "goes")
            await until_listed(kubelet, "stays", "goes")
            await first.stop(signal.SIGKILL)
        delete(installation, "goes")
        await asyncio.sleep(1)
        assert await listed(kubelet) == {"stays", "goes"}, "gateways run on by themselves"
        async with installation.operator(*QUICK_LEASE) as second:
            await until_listed(kubelet, "stays")
            await until_all_is_right(installation, "stays")
            assert not unexpected(second)
        assert kubelet.started == 1


async def test_a_plant_that_is_deleted_in_a_gap_of_the_watch_stops(
    installation: Installation, faulty: FaultyApi
) -> None:
    async with (
        installation.kubelet() as kubelet,
        installation.operator(kubeconfig=faulty.kubeconfig) as operator,
    ):
        apply(installation, "stays", "goes")
        await until_listed(kubelet, "stays", "goes")
        gap: Fault = faulty.add(verb="watch", resource="plants", code=410, in_stream=True, times=None)
        lists = faulty.add(verb="list", resource="plants", code=503, times=None)
        faulty.cut_watches("plants")
        await asyncio.sleep(0.5)
        assert not faulty.watches("plants")
        delete(installation, "goes")
        await asyncio.sleep(0.5)
        assert await listed(kubelet) == {"stays", "goes"}
        faulty.faults.remove(gap)
        faulty.faults.remove(lists)
        await until_listed(kubelet, "stays")
        await until_all_is_right(installation, "stays")
        assert kubelet.started == 1
        assert not unexpected(operator)


async def test_plants_that_change_places_while_the_operator_is_down_do_not_wait_for_each_other(
    installation: Installation,
) -> None:
    """Of the same names and other ids, and in each other's pool."""
    pools = [{**POOL, "metadata": {"name": name}} for name in ("east", "west")]
    installation.plane.apply(*pools, namespace=installation.namespace)
    async with installation.operator() as first:
        apply(installation, "a", "b", "c")
        apply(installation, "d", pool="east")
        apply(installation, "e", pool="west")
        await until_all_is_right(installation, "a", "b", "c", "d", "e")
        await first.stop()
    for each in ("a", "b"):
        delete(installation, each)
    apply(installation, "a", "b")
    for name, pool in (("d", "west"), ("e", "east")):
        change = json.dumps({"spec": {"pool": pool}})
        installation.plane.kubectl(
            "patch", "plant", name, "-n", installation.namespace, "--type=merge", "-p", change
        )
    async with installation.kubelet() as kubelet, installation.operator() as second:
        await until_all_is_right(installation, "a", "b", "c", "d", "e")
        for name, pool in (
            ("a", "default"),
            ("b", "default"),
            ("c", "default"),
            ("d", "west"),
            ("e", "east"),
        ):
            await until_on(installation, name, names.gateway(pool, 0))
        assert kubelet.started
        assert not unexpected(second)


async def test_a_plant_whose_keys_are_refused_holds_up_no_other(
    installation: Installation, faulty: FaultyApi
) -> None:
    async with installation.operator() as first:
        apply(installation, "sick", "well")
        await until_all_is_right(installation, "sick", "well")
        await first.stop()
    sick = names.plant_secret("sick")
    installation.plane.kubectl("delete", "secret", sick, "-n", installation.namespace)
    faulty.add(verb="create", resource="secrets", code=403, reason="Forbidden", times=None)
    async with installation.operator(kubeconfig=faulty.kubeconfig):
        change = json.dumps({"spec": {"telemetry": {"interval": "7s"}}})
        installation.plane.kubectl(
            "patch", "plant", "well", "-n", installation.namespace, "--type=merge", "-p", change
        )
        async with asyncio.timeout(WITHIN):
            seen = await look(installation.admin, installation.namespace)
            while any(seen.wrong_with("well")) or seen.plants["well"]["metadata"]["generation"] == 1:
                await asyncio.sleep(0.1)
                seen = await look(installation.admin, installation.namespace)
        faulty.faults.clear()
        await until_all_is_right(installation, "sick", "well")


# -- two of them


async def test_a_leader_that_was_stopped_too_long_writes_nothing_and_ends(installation: Installation) -> None:
    plane, own, namespace = installation.plane, installation.own, installation.namespace
    plane.apply(*rights(account="second", namespace=own, watch=[namespace]))
    second = plane.service_account(own, "second")
    async with installation.operator(*QUICK_LEASE) as old:
        await old.until_logged("work begins")
        async with installation.operator(*QUICK_LEASE, kubeconfig=second) as new:
            await new.until_logged("operator started")
            apply(installation, *(f"plant-{number}" for number in range(8)))
            await old.until_logged("keys created", count=2)
            old.process.send_signal(signal.SIGSTOP)
            await new.until_logged("work begins")
            plane.writes()
            old.process.send_signal(signal.SIGCONT)
            async with asyncio.timeout(WITHIN):
                assert await old.process.wait() == 0, old.text
            await until_all_is_right(installation, *(f"plant-{number}" for number in range(8)))
            delete(installation, "plant-0")
            await until_all_is_right(installation, *(f"plant-{number}" for number in range(1, 8)))
            writers = {each.user for each in plane.writes()}
            assert installation.user not in writers
            assert f"system:serviceaccount:{own}:second" in writers
            assert "lease lost" in {each["event"] for each in old.log}
            assert "Traceback" not in old.text
            assert not unexpected(new)


def test_a_lease_shorter_than_its_unit_is_refused() -> None:
    from voke_operator.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["--defaults", "defaults.yaml", "--lease-seconds", "0.5"])
    assert ended.value.code == 2
