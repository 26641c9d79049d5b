"""What the cluster is to hold for gateways."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from voke_api.resources import GatewayPool
from voke_api.resources.pool import GatewayPoolSpec
from voke_operator import names
from voke_operator.plan.objects import (
    BUNDLE_PATH,
    Defaults,
    bundle_secret,
    kept_storage,
    pool_objects,
    pool_of,
    shard_objects,
    template_hash,
)
from voke_operator.plan.placement import ShardId

SHARD = ShardId("default", 3)
DEFAULTS = Defaults(image="voke-gateway:1")


def pool(**spec: Any) -> GatewayPoolSpec:
    return GatewayPool.model_validate({"metadata": {"name": "default"}, "spec": spec}).spec


def stateful_set(defaults: Defaults = DEFAULTS, **spec: Any) -> dict[str, Any]:
    return shard_objects(SHARD, "site", pool(**spec), defaults)[1]


def pod(defaults: Defaults = DEFAULTS, **spec: Any) -> dict[str, Any]:
    template: dict[str, Any] = stateful_set(defaults, **spec)["spec"]["template"]
    return template


def container(**spec: Any) -> dict[str, Any]:
    (one,) = pod(**spec)["spec"]["containers"]
    return dict(one)


def test_the_gateway_of_a_shard_is_one_pod_with_its_bundle_as_a_directory() -> None:
    document = stateful_set()
    assert document["spec"]["replicas"] == 1
    assert document["metadata"]["name"] == document["spec"]["serviceName"] == "voke-gw-default-3"
    gateway = container()
    assert gateway["command"] == ["python", "-m", "voke_gateway"]
    assert gateway["args"] == ["--bundle", BUNDLE_PATH, "--http", ":9100"]
    mounts = {mount["name"]: mount for mount in gateway["volumeMounts"]}
    assert mounts["bundle"] == {"name": "bundle", "mountPath": BUNDLE_PATH, "readOnly": True}
    volumes = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    assert volumes["bundle"]["secret"]["secretName"] == "voke-bundle-default-3"


def test_the_gateway_understands_the_arguments_that_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    from voke_gateway.__main__ import main

    arguments = container(metrics={"perPlant": False, "perConnection": True})["args"]
    assert arguments[-2:] == ["--no-plant-metrics", "--connection-metrics"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    assert "--bundle" in capsys.readouterr().out


def test_the_pod_has_no_rights_and_nothing_to_write_to_but_its_own() -> None:
    spec, gateway = pod()["spec"], container()
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert gateway["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "env" not in gateway
    assert "envFrom" not in gateway


def test_the_platform_may_choose_the_user() -> None:
    assert "runAsUser" not in pod(Defaults(image="i", user=None))["spec"]["securityContext"]


def test_the_pool_says_what_its_pods_look_like() -> None:
    given = {
        "image": "mine:2",
        "resources": {"limits": {"memory": "2Gi"}},
        "nodeSelector": {"site": "north"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "registry"}],
        "annotations": {"team": "energy"},
    }
    template = pod(pod=given)
    assert container(pod=given)["image"] == "mine:2"
    assert container(pod=given)["resources"] == given["resources"]
    assert template["metadata"]["annotations"]["team"] == "energy"
    for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"):
        assert template["spec"][key] == given[key]


def test_the_outbox_is_on_what_the_pool_says() -> None:
    by_default = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    assert by_default["outbox"] == {"name": "outbox", "emptyDir": {"sizeLimit": "1Gi"}}
    claim = {"persistentVolumeClaim": {"size": "2Gi", "storageClassName": "fast"}}
    document = stateful_set(shard={"storage": claim})
    (template,) = document["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert template["spec"]["storageClassName"] == "fast"
    assert "outbox" not in {volume["name"] for volume in document["spec"]["template"]["spec"]["volumes"]}


def test_the_pod_template_changes_only_with_what_a_gateway_would_notice() -> None:
    before = template_hash(stateful_set())
    same = stateful_set(voke={"host": "other.example"}, writes="Disabled", shard={"maxPlants": 3})
    assert template_hash(same) == before
    assert template_hash(stateful_set(metrics={"perConnection": True})) != before
    assert template_hash(stateful_set(Defaults(image="voke-gateway:2"))) != before


def test_a_new_operator_leaves_the_pods_of_the_one_before_as_they_are() -> None:
    """If this fails, an upgrade of the operator restarts every gateway. Is that worth it?"""
    assert template_hash(stateful_set()) == "4281353e5f677ce357d9d5c3e2a84004"


def test_a_hash_tells_documents_apart() -> None:
    one, other = stateful_set(), stateful_set(pod={"image": "mine:2"})
    assert one == stateful_set()
    annotations = [each["metadata"]["annotations"][names.HASH_ANNOTATION] for each in (one, other)]
    assert annotations[0] != annotations[1]


def test_the_service_finds_the_pod_even_when_it_is_not_ready() -> None:
    service, workload = shard_objects(SHARD, "site", pool(), DEFAULTS)
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_a_pools_pods_are_disrupted_one_at_a_time() -> None:
    budget, _ = pool_objects("default", "site", pool())
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= pod()["metadata"]["labels"].items()


def test_without_networks_nothing_limits_what_a_gateway_reaches() -> None:
    _, policy = pool_objects("default", "site", pool())
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert policy["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 9100}]}]


def test_with_networks_a_gateway_reaches_these_and_dns() -> None:
    _, policy = pool_objects("default", "site", pool(pod={"egressCIDRs": ["10.20.0.0/16"]}))
    dns, networks = policy["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert networks == {"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]}


def test_the_bundle_is_a_secret_of_its_own_type() -> None:
    document = bundle_secret(SHARD, "site", {"bundle.json": b"{}"})
    assert document["type"] == names.BUNDLE_SECRET_TYPE
    assert document["metadata"]["labels"].items() >= names.OWNED.items()
    assert b64decode(document["data"]["bundle.json"]) == b"{}"


def test_the_pool_called_default_need_not_exist() -> None:
    defaults = Defaults(image="i", pool=pool(voke={"host": "voke.example"}))
    stands_for_it = pool_of("default", {}, defaults)
    assert stands_for_it is not None
    assert stands_for_it.spec.voke.host == "voke.example"
    assert pool_of("other", {}, defaults) is None
    mine = GatewayPool.model_validate({"metadata": {"name": "default"}})
    assert pool_of("default", {"default": mine}, defaults) is mine


def test_documents_are_plain_json() -> None:
    for document in (
        *shard_objects(SHARD, "site", pool(), DEFAULTS),
        *pool_objects("default", "site", pool()),
    ):
        assert json.loads(json.dumps(document)) == document


CLAIM = {"persistentVolumeClaim": {"size": "2Gi", "storageClassName": "fast"}}


def noted(**spec: Any) -> dict[str, str]:
    found: dict[str, str] = stateful_set(**spec)["metadata"]["annotations"]
    return found


def test_the_storage_of_a_gateway_stays_as_it_is_and_all_else_follows_the_pool() -> None:
    held = noted(shard={"storage": CLAIM})
    wanted = pool(pod={"image": "voke-gateway:2"})
    document = shard_objects(SHARD, "site", wanted, DEFAULTS, annotations=held)[-1]
    assert document["spec"]["volumeClaimTemplates"][0]["spec"]["resources"] == {
        "requests": {"storage": "2Gi"}
    }
    assert document["spec"]["template"]["spec"]["containers"][0]["image"] == "voke-gateway:2"
    kept = kept_storage(wanted, held)
    assert kept is not None
    assert kept.persistent_volume_claim == CLAIM["persistentVolumeClaim"]
    assert document["metadata"]["annotations"][names.STORAGE_ANNOTATION] == held[names.STORAGE_ANNOTATION]


@pytest.mark.parametrize(
    ("held", "wanted", "stays"),
    [
        ({"emptyDir": {}}, CLAIM, True),
        (CLAIM, {"emptyDir": {}}, True),
        (CLAIM, {"persistentVolumeClaim": {"size": "3Gi", "storageClassName": "fast"}}, True),
        (CLAIM, {"persistentVolumeClaim": {"size": "2Gi"}}, True),
        (CLAIM, {"persistentVolumeClaim": {"size": "2048Mi", "storageClassName": "fast"}}, False),
        ({"emptyDir": {"sizeLimit": "1Gi"}}, {"emptyDir": {"sizeLimit": "2Gi"}}, False),
    ],
)
def test_what_a_stateful_set_claims_is_what_cannot_change(
    *, held: dict[str, Any], wanted: dict[str, Any], stays: bool
) -> None:
    kept = kept_storage(pool(shard={"storage": wanted}), noted(shard={"storage": held}))
    assert (kept is not None) is stays


def test_a_pod_shows_which_template_it_was_made_by() -> None:
    document = stateful_set(pod={"annotations": {"team": "solar"}})
    shown = document["spec"]["template"]["metadata"]["annotations"]
    assert shown == {"team": "solar", names.TEMPLATE_HASH_ANNOTATION: template_hash(document)}
