"""The chart and Plants as a GitOps tool applies them: rendered, by server-side apply, again and again. Nobody fights over anything."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.chart.at_work import beside, operating
from tests.cluster.charts import Release, rendered
from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import plant_document, secret_document
from tests.support.loops import until
from voke_operator import names

Json = dict[str, Any]
BY_GIT = ("--server-side", "--field-manager=gitops")
OF_THE_CLUSTER = ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy", "ClusterRole")


@pytest.fixture
def applied(control_plane: ControlPlane, namespace: str) -> Iterator[list[Json]]:
    """What is in Git: the chart for one namespace, and a Plant there with its pool and a Secret."""
    own = f"{namespace}-system"
    control_plane.kubectl("create", "namespace", own)
    values = {"watch": {"namespaces": [namespace]}}
    chart = [each for each in rendered(values, namespace=own) if each["kind"] != "Pod"]
    plant = plant_document("brno", str(uuid.uuid4()), credentials={"hmac": {"secretRef": {"name": "keys"}}})
    pool = {
        "apiVersion": plant["apiVersion"],
        "kind": "GatewayPool",
        "metadata": {"name": "default"},
        "spec": {},
    }
    fleet = [secret_document("keys", {"hmac.key": "ab" * 32}), pool, plant]
    for each in fleet:
        each["metadata"]["namespace"] = namespace
    definitions = [each for each in chart if each["kind"] == "CustomResourceDefinition"]
    control_plane.kubectl("apply", *BY_GIT, "-f", "-", given=yaml.safe_dump_all(chart))
    control_plane.kubectl(
        *("wait", "--for=condition=established", "--timeout=30s", "-f", "-"),
        given=yaml.safe_dump_all(definitions),
    )
    control_plane.kubectl("apply", *BY_GIT, "-f", "-", given=yaml.safe_dump_all(fleet))
    yield [*chart, *fleet]
    for kind in OF_THE_CLUSTER:
        made = [each["metadata"]["name"] for each in chart if each["kind"] == kind]
        control_plane.kubectl("delete", kind, *made)
    control_plane.kubectl("delete", "namespace", own, "--wait=false")


async def test_what_is_in_git_is_what_is_there_after_the_operator_has_worked(
    control_plane: ControlPlane, applied: list[Json], namespace: str, tmp_path: Path
) -> None:
    release, document = Release(control_plane, namespace=f"{namespace}-system"), yaml.safe_dump_all(applied)

    async with beside(release, tmp_path, namespace) as here, operating(here, release):
        await here.until("brno", lambda plant: plant.get("status", {}).get("credentials"))
        await until(lambda: control_plane.get("statefulsets", "-n", namespace)["items"], within=60)
        differs = control_plane.kubectl("diff", *BY_GIT, "-f", "-", given=document, check=False)
        assert (differs.returncode, differs.stdout) == (0, ""), differs.stderr
    tracked = "app.kubernetes.io/instance"
    made = control_plane.get(
        "secrets,services,statefulsets", "-n", namespace, "-l", f"{names.MANAGED_BY}={names.FIELD_MANAGER}"
    )
    assert made["items"]
    assert not [each for each in made["items"] if tracked in each["metadata"]["labels"]], "Git would prune it"
