"""The chart installed in a real cluster: what the operator can do with it, what it cannot, and what people can."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.chart.at_work import beside, operating
from tests.cluster.charts import Release, of_kind, rendered
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Operator, plant_document, voke_documents
from tests.support.thread import meter
from voke_api.resources import GatewayPool
from voke_operator import names
from voke_operator.plan.objects import Defaults, shard_objects
from voke_operator.plan.placement import ShardId
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

Json = dict[str, Any]
SITES = ("north", "south")
SECOND = {"crds": {"enabled": False}, "rbac": {"aggregate": False}}


@pytest.fixture(scope="module")
def whole(untouched: ControlPlane) -> Release:
    """The chart as it is, in cluster mode; and two namespaces for Plants."""
    for site in SITES:
        untouched.kubectl("create", "namespace", site)
    release = Release(untouched)
    release.install()
    return release


@pytest.fixture(scope="module")
def apart(whole: Release) -> Iterator[dict[str, Release]]:
    """A release for each of the two namespaces, in a namespace of its own."""
    releases = {site: Release(whole.plane, namespace=f"{site}-system") for site in SITES}
    for site, release in releases.items():
        release.install({**SECOND, "watch": {"namespaces": [site]}})
    yield releases
    for release in releases.values():
        release.uninstall()


def secret(name: str, *, type_: str = "Opaque", ours: bool = False) -> str:
    labels = dict(names.OWNED) if ours else {}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels},
            "type": type_,
            "stringData": {"a": "b"},
        }
    )


def denied(release: Release, namespace: str, *arguments: str, given: str | None = None) -> str:
    """What the operator's account is told when it tries; it may take a moment until a new policy counts."""
    kubeconfig = release.kubeconfig()
    until = time.monotonic() + 30
    while True:
        done = release.plane.kubectl(
            "-n", namespace, *arguments, given=given, kubeconfig=kubeconfig, check=False
        )
        if "denied request" in done.stderr or time.monotonic() > until:
            return done.stderr
        time.sleep(0.2)


async def helm_test(release: Release, operator: Operator) -> None:
    """What the pod of ``helm test`` runs, against an operator that has no Service here."""
    (pod,) = of_kind(rendered(release=release.name, namespace=release.namespace), "Pod")
    program, *arguments, url = pod["spec"]["containers"][0]["command"]
    assert (program, url) == ("python", f"http://{release.account}.{release.namespace}.svc:8080/readyz")
    here = next(line["http"] for line in operator.log if line["event"] == "operator started")
    asked = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, f"http://{here}/readyz", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asked.communicate()
    assert (asked.returncode, said) == (0, b"ok\n\n")


@pytest.mark.parametrize("mode", ["cluster", "namespaces"])
async def test_the_operator_with_what_the_chart_gives_it_makes_a_plant_ready(
    whole: Release, apart: dict[str, Release], tmp_path: Path, voke: LocalVoke, mode: str
) -> None:
    release, site = (whole, "south") if mode == "cluster" else (apart["north"], "north")
    async with (
        ModbusServer({1: meter(11)}) as server,
        beside(release, tmp_path, site) as here,
        here.kubelet(),
        operating(here, release) as operator,
    ):
        plant = plant_document("brno", str(uuid.uuid4()), {"plc1": server})
        here.plane.apply(*voke_documents(voke), plant, namespace=site)
        await here.register(voke, "brno")
        await here.until_ready("brno")
        await helm_test(release, operator)


def test_two_installations_do_not_see_each_others_secrets(apart: dict[str, Release]) -> None:
    for site, other in (SITES, SITES[::-1]):
        kubeconfig = apart[site].kubeconfig()
        for verb in ("get", "list", "watch", "create", "update", "delete"):
            for namespace in (other, f"{other}-system", "voke-system", "kube-system"):
                done = apart[site].plane.kubectl(
                    "auth", "can-i", verb, "secrets", "-n", namespace, kubeconfig=kubeconfig, check=False
                )
                assert done.stdout.strip() == "no", (site, verb, namespace)
        said = apart[site].plane.kubectl("get", "secrets", "-n", other, kubeconfig=kubeconfig, check=False)
        assert "is forbidden" in said.stderr


@pytest.mark.parametrize("mode", ["cluster", "namespaces"])
def test_the_operator_cannot_write_or_delete_a_secret_that_is_not_its_own(
    whole: Release, apart: dict[str, Release], mode: str
) -> None:
    release = whole if mode == "cluster" else apart["south"]
    name = f"foreign-{mode}"
    release.plane.kubectl("create", "-n", "south", "-f", "-", given=secret(name))
    own_types = "the operator may write Secrets of its own types only, and south/"
    said = denied(release, "south", "create", "-f", "-", given=secret(f"{name}-2"))
    assert f'secrets "{name}-2" is forbidden: ' in said
    assert f"{own_types}{name}-2 is of type Opaque" in said
    assert f"{own_types}{name} is of type Opaque" in denied(release, "south", "delete", "secret", name)
    adopted = secret(name, ours=True)
    assert f"{own_types}{name}" in denied(release, "south", "replace", "-f", "-", given=adopted)
    release.plane.kubectl("delete", "secret", name, "-n", "south")


def test_the_operators_types_alone_are_not_enough(whole: Release) -> None:
    plain = secret("keys", type_=names.PLANT_SECRET_TYPE)
    said = denied(whole, "south", "create", "-f", "-", given=plain)
    label = "app.kubernetes.io/managed-by=voke-operator"
    assert f"the operator may write Secrets with the label {label} only, and south/keys is without it" in said
    elsewhere = secret("ca", type_=names.FLEET_CA_SECRET_TYPE, ours=True)
    said = denied(whole, "south", "create", "-f", "-", given=elsewhere)
    assert "a CA belongs into the operator's namespace voke-system, and south/ca is elsewhere" in said


def test_the_label_may_be_put_back_on_a_bundle_and_on_nothing_else(whole: Release) -> None:
    keys = secret("copied", type_=names.PLANT_SECRET_TYPE)
    bundle = secret("voke-bundle-copied-0", type_=names.BUNDLE_SECRET_TYPE)
    for given in (keys, bundle):
        whole.plane.kubectl("create", "-n", "south", "-f", "-", given=given)
    without = "is without it"
    adopted = secret("copied", type_=names.PLANT_SECRET_TYPE, ours=True)
    assert f"south/copied {without}" in denied(whole, "south", "replace", "-f", "-", given=adopted)
    assert f"south/copied {without}" in denied(whole, "south", "delete", "secret", "copied")
    name = "voke-bundle-copied-0"
    assert f"south/{name} {without}" in denied(whole, "south", "replace", "-f", "-", given=bundle)
    assert f"south/{name} {without}" in denied(whole, "south", "delete", "secret", name)
    labelled = secret(name, type_=names.BUNDLE_SECRET_TYPE, ours=True)
    whole.plane.kubectl("-n", "south", "replace", "-f", "-", given=labelled, kubeconfig=whole.kubeconfig())
    whole.plane.kubectl("delete", "secret", "copied", name, "-n", "south")


def test_there_is_no_way_round_the_policy(whole: Release) -> None:
    """Whoever has stolen the operator's token: a name that the server makes up, a token's Secret, a label taken off."""
    own_types = "the operator may write Secrets of its own types only"
    nameless = json.loads(secret(""))
    nameless["metadata"] = {"generateName": "planted-", "labels": dict(names.OWNED)}
    assert own_types in denied(whole, "south", "create", "-f", "-", given=json.dumps(nameless))
    token = json.loads(secret("token", type_="kubernetes.io/service-account-token", ours=True))
    token["metadata"]["annotations"] = {"kubernetes.io/service-account.name": "default"}
    assert own_types in denied(whole, "south", "create", "-f", "-", given=json.dumps(token))
    mine = secret("mine", type_=names.PLANT_SECRET_TYPE, ours=True)
    whole.plane.kubectl("create", "-n", "south", "-f", "-", given=mine)
    disowned = secret("mine", type_=names.PLANT_SECRET_TYPE)
    said = denied(whole, "south", "replace", "-f", "-", given=disowned)
    assert "south/mine is without it" in said
    another = secret("mine", type_=names.BUNDLE_SECRET_TYPE, ours=True)
    kubeconfig = whole.kubeconfig()
    done = whole.plane.kubectl(
        "-n", "south", "replace", "-f", "-", given=another, kubeconfig=kubeconfig, check=False
    )
    assert "immutable" in done.stderr
    for verb in ("patch", "deletecollection"):
        done = whole.plane.kubectl(
            "auth", "can-i", verb, "secrets", "-n", "south", kubeconfig=kubeconfig, check=False
        )
        assert done.stdout.strip() == "no", verb
    whole.plane.kubectl("delete", "secret", "mine", "-n", "south")


def gateway(**pod: Any) -> Json:
    """The StatefulSet of a gateway as the operator makes it, with ``pod`` in its pod's spec."""
    spec = GatewayPool.model_validate({"metadata": {"name": "stolen"}}).spec
    _, made = shard_objects(ShardId("stolen", 0), "south", spec, Defaults(image="voke-gateway:1"))
    found: Json = deepcopy(made)
    found["spec"]["template"]["spec"] |= pod
    return found


def contained(**container: Any) -> Json:
    made = gateway()
    made["spec"]["template"]["spec"]["containers"][0] |= container
    return made


def mounting(**volume: Any) -> Json:
    made = gateway()
    made["spec"]["template"]["spec"]["volumes"].append({"name": "more", **volume})
    return made


def claiming(**claim: Any) -> Json:
    spec = GatewayPool.model_validate(
        {
            "metadata": {"name": "x"},
            "spec": {"shard": {"storage": {"persistentVolumeClaim": {"size": "1Gi"}}}},
        }
    ).spec
    _, made = shard_objects(ShardId("stolen", 0), "south", spec, Defaults(image="voke-gateway:1"))
    found: Json = deepcopy(made)
    found["spec"]["volumeClaimTemplates"][0]["spec"] |= claim
    return found


def service(**spec: Any) -> Json:
    metadata = {"name": "stolen", "labels": dict(names.OWNED)}
    plain = {"clusterIP": "None", "ports": [{"port": 80}], "selector": {"app": "shop"}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**plain, **spec}}


def selecting(api: str, kind: str, **spec: Any) -> Json:
    metadata = {"name": "stolen", "labels": dict(names.OWNED)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


MORE = "asks for more"
SHOP = {"matchLabels": {"app": "shop"}}
TOO_MUCH = {
    "host's processes": (gateway(hostPID=True), MORE),
    "host's network": (gateway(hostNetwork=True), MORE),
    "another account": (gateway(serviceAccountName="cluster-admin"), MORE),
    "a token": (gateway(automountServiceAccountToken=True), MORE),
    "root": (gateway(securityContext={"runAsNonRoot": False}), MORE),
    "host's files": (mounting(hostPath={"path": "/"}), MORE),
    "a stranger's Secret": (mounting(secret={"secretName": "registry"}), MORE),
    "a projected token": (
        mounting(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        MORE,
    ),
    "a copy of a stranger's claim": (
        claiming(dataSource={"kind": "PersistentVolumeClaim", "name": "shop"}),
        MORE,
    ),
    "a stranger's volume": (claiming(volumeName="shop"), MORE),
    "a name that is no gateway's": (
        gateway() | {"metadata": {**gateway()["metadata"], "name": "shop"}},
        MORE,
    ),
    "no seccomp": (
        gateway(securityContext={"runAsNonRoot": True, "seccompProfile": {"type": "Unconfined"}}),
        MORE,
    ),
    "privileges": (contained(securityContext={"privileged": True}), MORE),
    "a capability": (
        contained(
            securityContext={
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
            }
        ),
        MORE,
    ),
    "a Secret as environment": (contained(envFrom=[{"secretRef": {"name": "registry"}}]), MORE),
    "an address of the outside": (service(externalIPs=["8.8.8.8"]), "asks for one"),
    "a load balancer": (service(type="LoadBalancer", clusterIP=None), "asks for one"),
    "a policy for others": (
        selecting("networking.k8s.io/v1", "NetworkPolicy", podSelector=SHOP),
        "is about other pods",
    ),
    "a policy for all": (
        selecting("networking.k8s.io/v1", "NetworkPolicy", podSelector={}),
        "is about other pods",
    ),
    "a budget for others": (
        selecting("policy/v1", "PodDisruptionBudget", maxUnavailable=0, selector=SHOP),
        "is about other pods",
    ),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_whoever_has_the_operators_token_makes_no_object_that_is_no_gateways(
    whole: Release, what: str
) -> None:
    document, said = TOO_MUCH[what]
    assert said in denied(whole, "south", "create", "-f", "-", given=json.dumps(document))


def test_a_gateway_is_made_with_all_that_a_pool_may_ask_for(whole: Release) -> None:
    pod = {
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "imagePullSecrets": [{"name": "registry"}],
        "annotations": {"a": "b"},
    }
    storage = {"persistentVolumeClaim": {"size": "1Gi", "storageClassName": "fast"}}
    document = {"metadata": {"name": "all"}, "spec": {"pod": pod, "shard": {"storage": storage}}}
    pool = GatewayPool.model_validate(document)
    for each in shard_objects(ShardId("all", 0), "south", pool.spec, Defaults(image="voke-gateway:1")):
        whole.plane.kubectl("create", "-f", "-", given=json.dumps(each), kubeconfig=whole.kubeconfig())
        whole.plane.kubectl("delete", each["kind"], each["metadata"]["name"], "-n", "south")


def test_what_a_person_has_added_to_a_gateway_does_not_stop_the_operator(whole: Release) -> None:
    plane, made = whole.plane, gateway()
    made["metadata"]["name"] = name = "voke-gw-added-0"
    pod = made["spec"]["template"]["spec"]
    pod["serviceAccountName"] = "of-before"
    plane.kubectl("create", "-f", "-", given=json.dumps(made))
    plane.kubectl("set", "env", f"statefulset/{name}", "-n", "south", "DEBUG=1")
    sidecar = [
        {"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "more", "image": "none"}},
        {
            "op": "add",
            "path": "/spec/template/spec/volumes/-",
            "value": {"name": "x", "hostPath": {"path": "/x"}},
        },
    ]
    plane.kubectl("patch", "statefulset", name, "-n", "south", "--type=json", "-p", json.dumps(sidecar))
    applied = ("apply", "--server-side", "--force-conflicts", "--field-manager=voke-operator", "-f", "-")
    pod["containers"][0]["image"] = "voke-gateway:2"
    del pod["serviceAccountName"]
    plane.kubectl(*applied, given=json.dumps(made), kubeconfig=whole.kubeconfig())
    more = deepcopy(made)
    more["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "registry"}}]
    assert MORE in denied(whole, "south", *applied, given=json.dumps(more))
    plane.kubectl("delete", "statefulset", name, "-n", "south")


def test_the_operator_leaves_objects_and_pods_of_others_alone(whole: Release) -> None:
    plane = whole.plane
    at_work = denied(whole, "south", "create", "-f", "-", given=json.dumps(gateway(hostPID=True)))
    assert MORE in at_work  # from then on the policy counts
    theirs = service()
    del theirs["metadata"]["labels"]
    plane.kubectl("create", "-n", "south", "-f", "-", given=json.dumps(theirs))
    label = "app.kubernetes.io/managed-by=voke-operator only, and services south/stolen is without it"
    for attempt in (
        ("delete", "service", "stolen"),
        ("label", "service", "stolen", f"{names.MANAGED_BY}={names.FIELD_MANAGER}"),
    ):
        assert label in denied(whole, "south", *attempt)
    plane.kubectl("delete", "service", "stolen", "-n", "south")

    for name, labels in (("shop", {"app": "shop"}), ("gw", dict(names.OWNED))):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "finalizers": ["example.com/kept"]},
            "spec": {"containers": [{"name": "c", "image": "none"}]},
        }
        plane.kubectl("create", "-n", "south", "-f", "-", given=json.dumps(pod))

    # kubectl reads a subresource before it patches it, which the operator need not and may not.
    plane.kubectl("create", "role", "looks", "-n", "south", "--verb=get", "--resource=pods/status")
    account = f"{whole.namespace}:{whole.account}"
    plane.kubectl(
        "create", "rolebinding", "looks", "-n", "south", "--role=looks", f"--serviceaccount={account}"
    )

    def patching(pod: str, patch: Json) -> tuple[str, ...]:
        return ("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", json.dumps(patch))

    touch = {"metadata": {"annotations": {names.GENERATION_ANNOTATION: "7"}}}
    assert "the operator may touch gateways only, and pod south/shop is none" in denied(
        whole, "south", *patching("shop", touch)
    )
    patches: tuple[Json, ...] = (
        {"metadata": {"labels": {"app": "other"}}},
        {"metadata": {"finalizers": []}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"annotations": {"empty": ""}}},
        {"status": {"phase": "Running", "podIP": "10.0.0.1"}},
    )
    for patch in patches:
        assert "and nothing else" in denied(whole, "south", *patching("gw", patch)), patch
    plane.kubectl("-n", "south", *patching("gw", touch), kubeconfig=whole.kubeconfig())
    for name in ("shop", "gw"):
        plane.kubectl(
            "patch", "pod", name, "-n", "south", "--type=merge", "-p", '{"metadata": {"finalizers": null}}'
        )
        plane.kubectl("delete", "pod", name, "-n", "south", "--force", "--grace-period=0")
    plane.kubectl("delete", "role,rolebinding", "looks", "-n", "south")


def test_the_operator_may_write_what_is_its_own_and_others_are_not_concerned(whole: Release) -> None:
    plane, kubeconfig = whole.plane, whole.kubeconfig()
    own = {names.PLANT_SECRET_TYPE: "south", names.BUNDLE_SECRET_TYPE: "south"}
    for number, (type_, namespace) in enumerate({**own, names.FLEET_CA_SECRET_TYPE: "voke-system"}.items()):
        made = secret(f"own-{number}", type_=type_, ours=True)
        plane.kubectl("-n", namespace, "create", "-f", "-", given=made, kubeconfig=kubeconfig)
        plane.kubectl("-n", namespace, "replace", "-f", "-", given=made, kubeconfig=kubeconfig)
        plane.kubectl("-n", namespace, "delete", "secret", f"own-{number}")
    plane.kubectl("-n", "south", "create", "-f", "-", given=secret("anybody"))
    plane.kubectl("-n", "south", "delete", "secret", "anybody")


KINDS = ("plants", "deviceprofiles", "gatewaypools")
WRITES = ("create", "update", "patch", "delete", "deletecollection")


def test_people_with_kubernetes_own_roles_reach_what_they_should(whole: Release) -> None:
    plane = whole.plane
    for role in ("view", "edit", "admin"):
        plane.kubectl("create", "rolebinding", role, "-n", "north", f"--clusterrole={role}", f"--user={role}")

    def may(user: str, verb: str, kind: str) -> bool:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "resourceAttributes": {
                    "namespace": "north",
                    "verb": verb,
                    "group": "voke.lovinka.com",
                    "resource": kind,
                },
            },
        }
        answer = plane.kubectl("create", "-f", "-", "-o", "json", given=json.dumps(review))
        allowed: bool = json.loads(answer.stdout)["status"]["allowed"]
        return allowed

    def writes(user: str) -> set[str]:
        return {kind for kind in KINDS if all(may(user, verb, kind) for verb in WRITES)}

    until = time.monotonic() + 30
    while writes("admin") != set(KINDS) and time.monotonic() < until:
        time.sleep(0.2)  # the controller adds rules to roles after a moment
    for user in ("view", "edit", "admin"):
        assert all(may(user, verb, kind) for verb in ("get", "list", "watch") for kind in KINDS)
    assert writes("admin") == set(KINDS)
    assert writes("edit") == {"plants", "deviceprofiles"}
    assert not any(may("edit", verb, "gatewaypools") for verb in WRITES)
    assert not any(may("view", verb, kind) for verb in WRITES for kind in KINDS)


def test_a_second_release_is_told_that_the_definitions_are_somebody_elses(whole: Release) -> None:
    said = Release(whole.plane, namespace="third-system").refused({})
    assert "invalid ownership metadata" in said


def test_the_deployment_and_its_service_agree(whole: Release) -> None:
    plane: Any = whole.plane
    service = plane.get("service", whole.account, "-n", "voke-system")
    labels = whole.deployment()["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    budget = plane.get("poddisruptionbudget", whole.account, "-n", "voke-system")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_notes_lead_to_a_first_plant(whole: Release, apart: dict[str, Release]) -> None:
    notes = whole.notes()
    for said in (
        "it may read all Secrets of the\ncluster",
        "helm test voke-fleet --namespace voke-system",
        "kind: Plant",
        "kubectl get plants --namespace default",
        "additionalLabels",
    ):
        assert said in notes
    assert "The operator looks after Plants in: north." in apart["north"].notes()
    assert "kubectl get plants --namespace north" in apart["north"].notes()
