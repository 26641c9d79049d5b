"""The chart as Helm renders it: sound, complete, and taken by the API server to the last field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.binaries import MONITORS, tools
from tests.cluster.charts import CHART, of_kind, rendered, run
from tests.cluster.control_plane import ControlPlane
from voke_operator import names
from voke_operator.plan.objects import Defaults
from voke_operator.rbac import WATCHED, Rule, own_namespace
from voke_operator.runtime.defaults import read_defaults

EVERYTHING = {
    "issuer": {"secretName": "voke-ca"},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"team": "energy"},
    "podLabels": {"tier": "control"},
    "nodeSelector": {"role": "system"},
    "tolerations": [{"key": "system", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "gateway": {"imagePullSecrets": [{"name": "registry"}], "serviceAccount": "gateways", "user": None},
    "defaultPool": {"voke": {"host": "voke.example"}, "pod": {"egressCIDRs": ["10.0.0.0/8"]}},
    "serviceAccount": {"annotations": {"a": "b"}},
}
MONITORED = {"enabled": True, "additionalLabels": {"release": "prometheus"}, "interval": "1m"}
MODES: dict[str, dict[str, Any]] = {
    "cluster": {},
    "namespaces": {"watch": {"namespaces": ["default", "kube-public"]}},
    "everything": EVERYTHING,
    "monitored": {"monitoring": {"serviceMonitor": MONITORED, "podMonitor": MONITORED}},
    "monitored-namespaces": {
        "watch": {"namespaces": ["default", "kube-public"]},
        "monitoring": {"serviceMonitor": MONITORED, "podMonitor": MONITORED},
    },
}
DRY = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")


def test_helm_finds_nothing_to_say() -> None:
    said = run("helm", "lint", "--strict", str(CHART)).stdout
    assert "0 chart(s) failed" in said


def test_the_suites_of_the_chart_pass() -> None:
    said = run("helm-unittest", str(CHART)).stdout
    print(said)
    suites = len(list(CHART.glob("tests/*_test.yaml")))
    assert f"Test Suites: {suites} passed, {suites} total" in said


@pytest.fixture(scope="module")
def prometheus(control_plane: ControlPlane) -> None:
    """The Prometheus operator's monitors are served, by definitions made of its own types."""
    definitions = ",".join(str(tools() / name) for name in MONITORS)
    control_plane.kubectl("apply", "--server-side", "-f", definitions)
    control_plane.kubectl("wait", "--for=condition=established", "--timeout=30s", "-f", definitions)


@pytest.mark.parametrize("mode", MODES)
def test_the_api_server_takes_every_object_with_no_field_unknown(
    control_plane: ControlPlane, prometheus: None, namespace: str, mode: str
) -> None:
    documents = rendered(MODES[mode], namespace=namespace)
    control_plane.kubectl(*DRY, given=yaml.safe_dump_all(documents))


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
def test_the_api_server_knows_a_monitor_to_the_last_field(
    control_plane: ControlPlane, prometheus: None, namespace: str, kind: str, endpoints: str
) -> None:
    (monitor,) = of_kind(rendered(MODES["monitored"], namespace=namespace), kind)
    monitor["spec"][endpoints][0]["pathh"] = "/"
    refused = control_plane.kubectl(*DRY, given=yaml.safe_dump(monitor), check=False)
    assert f".spec.{endpoints}[0].pathh: field not declared in schema" in refused.stderr


def test_its_pods_are_allowed_where_pods_are_restricted(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    documents = rendered(namespace=namespace)
    (deployment,) = of_kind(documents, "Deployment")
    template = deployment["spec"]["template"]
    operator = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": template["spec"]}
    operator["spec"]["serviceAccountName"] = "default"
    (test,) = of_kind(documents, "Pod")
    for pod in (operator, test):
        control_plane.kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", given=json.dumps(pod))


@pytest.mark.parametrize("mode", MODES)
def test_the_operator_is_granted_what_it_asks_for_and_nothing_else(mode: str) -> None:
    def asked(rules: tuple[Rule, ...]) -> list[dict[str, Any]]:
        return [
            {"apiGroups": [each.group], "resources": list(each.resources), "verbs": list(each.verbs)}
            | ({} if each.name is None else {"resourceNames": [each.name]})
            for each in rules
        ]

    values: dict[str, Any] = {**MODES[mode], "rbac": {"aggregate": False}}
    watched = MODES[mode].get("watch", {}).get("namespaces", [])
    documents = rendered(values)
    roles = {each["metadata"]["namespace"]: each["rules"] for each in of_kind(documents, "Role")}
    issuer = values.get("issuer", {}).get("secretName")
    assert roles.pop("voke-system") == asked(own_namespace(lease=names.LEASE, issuer=issuer))
    assert roles == {namespace: asked(WATCHED) for namespace in watched}
    clusters = [each["rules"] for each in of_kind(documents, "ClusterRole")]
    assert clusters == ([] if watched else [asked(WATCHED)])


def test_an_installation_without_rights_in_the_cluster_has_objects_of_namespaces_only() -> None:
    documents = rendered(
        {
            "crds": {"enabled": False},
            "rbac": {"aggregate": False},
            "admissionPolicy": {"enabled": False},
            "watch": {"namespaces": ["site"]},
        }
    )
    assert {each["metadata"].get("namespace") for each in documents} == {"voke-system", "site"}


def test_the_operator_understands_the_defaults_that_it_is_given(tmp_path: Path) -> None:
    def given(values: dict[str, Any]) -> Defaults:
        (file,) = of_kind(rendered(values), "ConfigMap")
        path = tmp_path / "defaults.yaml"
        path.write_text(file["data"]["defaults.yaml"])
        return read_defaults(path)

    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert given({}) == Defaults(image=f"ghcr.io/lovinka/voke-fleet-gateway:{version}")
    everything = given(EVERYTHING)
    assert everything.pool.voke.host == "voke.example"
    assert everything.pool.pod.egress_cidrs == ("10.0.0.0/8",)
    assert (everything.user, everything.service_account) == (None, "gateways")
    assert everything.image_pull_secrets == ({"name": "registry"},)


def test_a_changed_default_restarts_the_operator_and_nothing_else_does() -> None:
    def template(values: dict[str, Any]) -> Any:
        (deployment,) = of_kind(rendered(values), "Deployment")
        return deployment["spec"]["template"]

    plain = template({})
    assert template({"defaultPool": {"writes": "Disabled"}}) != plain
    assert template({"networkPolicy": {"metricsFrom": []}}) == plain


ODD: dict[str, dict[str, Any]] = {
    "a quote in the Lease's name": {"lease": {"name": 'x", "y'}},
    "a quote in the CA's name": {"issuer": {"secretName": 'a", "b'}},
    "an expression in the account's name": {"serviceAccount": {"name": 'x" || true || "'}},
    "a blank namespace": {"watch": {"namespaces": ["  "]}},
    "a second line in the gateways' account": {"gateway": {"serviceAccount": "x\nuser: null"}},
    "a second line in the priority": {"priorityClassName": "x\n      hostNetwork: true"},
    "a map for a name": {"nameOverride": "a: b"},
    "a name that is none": {"fullnameOverride": "A_B x"},
}


@pytest.mark.parametrize("what", ODD)
def test_a_value_that_would_break_out_of_its_place_is_refused(what: str) -> None:
    done = run(
        "helm",
        "template",
        "voke-fleet",
        str(CHART),
        "--namespace",
        "voke-system",
        values=ODD[what],
        check=False,
    )
    assert done.returncode
    assert "does not match pattern" in done.stderr


def test_names_that_look_like_numbers_or_null_stay_names() -> None:
    documents = rendered(
        {"watch": {"namespaces": ["2024", "true", "null"]}}, release="1234", namespace="5678"
    )
    places = {each["metadata"]["namespace"] for each in of_kind(documents, "Role")}
    assert places == {"2024", "true", "null", "5678"}
    (deployment,) = of_kind(documents, "Deployment")
    assert deployment["metadata"]["labels"]["app.kubernetes.io/instance"] == "1234"


def test_other_defaults_restart_the_operator_whatever_annotations_its_pods_have() -> None:
    (deployment,) = of_kind(
        rendered({"podAnnotations": {"checksum/defaults": "mine", "a": "b"}}), "Deployment"
    )
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["a"] == "b"
    assert annotations["checksum/defaults"] != "mine"
