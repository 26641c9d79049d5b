"""The three kinds as a cluster serves them: what kubectl shows, what comes back, what may change."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml

from tests.cluster.control_plane import ControlPlane
from tests.cluster.refusals import refusals
from tests.support.plants import PLANT_ID, battery_document
from voke_api.crd import definitions
from voke_api.resources import GatewayPool, Plant
from voke_api.validate import validate

pytestmark = pytest.mark.usefixtures("crds")

POOL: dict[str, Any] = {
    "apiVersion": "voke.lovinka.com/v1alpha1",
    "kind": "GatewayPool",
    "metadata": {"name": "roof"},
}
STATUS = {
    "observedGeneration": 1,
    "devices": "3/4",
    "gateway": "voke-gw-default-0",
    "shard": 0,
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "DevicesSilent",
            "message": "INV1 does not answer",
            "lastTransitionTime": "2026-11-25T12:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "credentials": [
        {"name": "hmac", "source": "Generated", "keyId": "a1b2"},
        {"name": "mtls", "source": "Generated", "keyId": "c3d4", "notAfter": "2028-11-24T12:00:00Z"},
    ],
}


def patched(control_plane: ControlPlane, namespace: str, what: str, *patch: str) -> str:
    """What kubectl says if it is refused a JSON patch; empty if it is not."""
    done = control_plane.kubectl(
        "patch", *what.split(), "-n", namespace, "--type=json", "-p", f"[{','.join(patch)}]", check=False
    )
    return done.stderr if done.returncode else ""


def until(condition: Callable[[], bool]) -> None:
    """A changed definition is served a moment after it was accepted."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_kubectl_get_shows_readiness_devices_gateway_and_reason(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply(battery_document(), namespace=namespace)
    status = {
        "apiVersion": POOL["apiVersion"],
        "kind": "Plant",
        "metadata": {"name": "site"},
        "status": STATUS,
    }
    control_plane.kubectl(
        *("apply", "--server-side", "--subresource=status", "-n", namespace, "-f", "-"),
        given=yaml.safe_dump(status),
    )
    head, line = control_plane.kubectl("get", "pl", "-n", namespace).stdout.splitlines()
    assert head.split() == ["NAME", "READY", "DEVICES", "GATEWAY", "REASON", "AGE"]
    assert line.split()[:-1] == ["site", "False", "3/4", "voke-gw-default-0", "DevicesSilent"]
    wide = control_plane.kubectl("get", "plants", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert "CERTIFICATE UNTIL" in wide[0]
    assert wide[1].split()[-4:] == [PLANT_ID, "MTLS", "a1b2", "2028-11-24T12:00:00Z"]
    assert (
        "plant.voke.lovinka.com/site"
        in control_plane.kubectl("get", "voke", "-n", namespace, "-o", "name").stdout
    )


def test_a_status_that_is_not_the_operators_shape_is_refused(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply(battery_document(), namespace=namespace)
    wrong = '{"status": {"conditions": [{"type": "Ready", "status": "Perhaps", "reason": "x", "lastTransitionTime": "now"}]}}'
    refused = control_plane.kubectl(
        *("patch", "plant", "site", "-n", namespace, "--subresource=status", "--type=merge", "-p", wrong),
        check=False,
    )
    assert "status.conditions[0].status" in refused.stderr
    assert "status.conditions[0].lastTransitionTime" in refused.stderr


@pytest.mark.parametrize("plural", definitions())
def test_kubectl_explains_every_field(control_plane: ControlPlane, plural: str) -> None:
    said = control_plane.kubectl("explain", plural, "--recursive").stdout
    assert "<no description>" not in said
    for name in definitions()[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
        "spec"
    ]["properties"]:
        assert f"  {name}\t" in said


def test_kubectl_explain_replaces_the_manual(control_plane: ControlPlane) -> None:
    said = control_plane.kubectl("explain", "plant.spec.connections.modbusTcp").stdout
    assert "port\t<integer>\n    TCP port. (1 to 65535; default 502)" in said
    assert "host\t<string> -required-" in said


def test_a_plant_comes_back_with_its_defaults_and_means_the_same(
    control_plane: ControlPlane, namespace: str
) -> None:
    document = battery_document()
    control_plane.apply(document, namespace=namespace)
    stored = control_plane.get("plant", "site", "-n", namespace)
    assert stored["spec"]["telemetry"] == {"interval": "10s"}
    assert stored["spec"]["connections"][0]["modbusTcp"]["port"] == 502
    assert stored["spec"]["devices"][0]["points"][0]["wordOrder"] == "big"
    given, came_back = validate(document), validate(stored)
    assert isinstance(given, Plant)
    assert isinstance(came_back, Plant), came_back
    assert came_back.spec == given.spec


def test_an_empty_pool_comes_back_with_the_defaults_of_every_level(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.apply(POOL, namespace=namespace)
    stored = control_plane.get("gwp", "roof", "-n", namespace)
    assert stored["spec"]["voke"]["ports"] == {"mtls": 8886, "jwt": 8887, "password": 8885}
    assert stored["spec"]["shard"]["storage"] == {"emptyDir": {"sizeLimit": "1Gi"}}
    given, came_back = validate(POOL), validate(stored)
    assert isinstance(given, GatewayPool)
    assert isinstance(came_back, GatewayPool), came_back
    assert came_back.spec == given.spec


def test_a_pattern_of_64_bits_survives_as_text_and_is_refused_as_a_number(
    control_plane: ControlPlane, admin: kubernetes.client.ApiClient, namespace: str
) -> None:
    point = {"field": "energy", "table": "input", "address": 100, "type": "uint64"}
    document = battery_document()
    points = document["spec"]["devices"][0]["points"]
    points.append({**point, "invalid": ["0xFFFFFFFFFFFFFFFF", 2**63 - 1]})
    control_plane.apply(document, namespace=namespace)
    stored = validate(control_plane.get("plant", "site", "-n", namespace))
    assert isinstance(stored, Plant), stored
    assert stored.spec.devices[0].points[-1].invalid == (2**64 - 1, 2**63 - 1)
    points[-1] = {**point, "invalid": [2**64 - 1]}
    assert refusals(admin, document)
    problems = validate(document)
    assert isinstance(problems, list)
    assert 'write it as text: "0xFFFFFFFFFFFFFFFF"' in problems[0].message


def test_plant_id_and_storage_are_immutable(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(battery_document(), POOL, namespace=namespace)
    other = '{"op": "replace", "path": "/spec/plantId", "value": "00000000-7b64-4d1e-9c55-0a1b2c3d4e5f"}'
    said = patched(control_plane, namespace, "plant site", other)
    assert "spec.plantId" in said
    assert "plantId is immutable" in said
    larger = '{"op": "replace", "path": "/spec/shard/storage/emptyDir/sizeLimit", "value": "2Gi"}'
    assert "storage is immutable" in patched(control_plane, namespace, "gwp roof", larger)
    more = '{"op": "replace", "path": "/spec/shard/maxPlants", "value": 100}'
    assert patched(control_plane, namespace, "gwp roof", more) == ""


def test_plants_are_selected_by_plant_id_and_pool(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(battery_document(), namespace=namespace)
    for selector, expected in (
        (f"spec.plantId={PLANT_ID},spec.pool=default", "plant.voke.lovinka.com/site\n"),
        ("spec.pool=other", ""),
    ):
        found = control_plane.kubectl(
            "get", "pl", "-n", namespace, "--field-selector", selector, "-o", "name"
        )
        assert found.stdout == expected


def test_two_appliers_own_different_points_of_one_device(control_plane: ControlPlane, namespace: str) -> None:
    document = battery_document()
    device = document["spec"]["devices"][0]
    other = copy.deepcopy(document)
    extra = {"field": "energyKwh", "table": "input", "address": 100, "type": "uint32"}
    other["spec"]["devices"][0]["points"] = [*device["points"][:1], extra]
    for manager, plant in (("integrator", document), ("vendor", other)):
        control_plane.kubectl(
            *("apply", "--server-side", f"--field-manager={manager}", "-n", namespace, "-f", "-"),
            given=yaml.safe_dump(plant),
        )
    stored = control_plane.get("plant", "site", "-n", namespace)
    fields = [point["field"] for point in stored["spec"]["devices"][0]["points"]]
    assert fields == [*(point["field"] for point in device["points"]), "energyKwh"]


def test_what_was_stored_before_a_rule_came_can_still_be_changed_elsewhere(
    control_plane: ControlPlane, admin: kubernetes.client.ApiClient, namespace: str, crds: Path
) -> None:
    strict = yaml.safe_load((crds / "plants.yaml").read_text())
    loose = copy.deepcopy(strict)
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del spec["devices"]["items"]["properties"]["points"]["items"]["x-kubernetes-validations"]
    document = battery_document()
    document["spec"]["devices"][0]["points"][0]["scale"] = 0
    try:
        control_plane.apply(loose)
        until(lambda: not refusals(admin, document))
        control_plane.apply(document, namespace=namespace)
    finally:
        control_plane.apply(strict)
    until(lambda: bool(refusals(admin, document)))
    suspend = '{"op": "replace", "path": "/spec/suspend", "value": true}'
    assert patched(control_plane, namespace, "plant site", suspend) == ""
    worse = '{"op": "replace", "path": "/spec/devices/0/points/0/address", "value": 11}'
    assert "scale must not be 0" in patched(control_plane, namespace, "plant site", worse)
