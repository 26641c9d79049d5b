"""What a person sees with kubectl: the conditions of a Plant that is not well, and its Events."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.support.site_facts import REFUSED, on_gateway, saying, site
from voke_api.resources.observed import PlantObserved
from voke_operator.status.conditions import plant_status
from voke_operator.status.damping import Damper, Rate
from voke_operator.status.events import EventBook, Post, Regarding, transition

MESSAGE = (
    "PLC plc1 (10.20.3.11:502) does not answer: connection refused; 2 of 5 devices are read. Check its power, its "
    "address and the firewall in between."
)


@pytest.fixture
def plant(control_plane: ControlPlane, crds: Path, namespace: str) -> dict[str, Any]:
    document = json.loads(site().model_dump_json(exclude_unset=True))
    document["metadata"] = {"name": "brno-roof-3", "namespace": namespace}
    control_plane.apply(document)
    found: dict[str, Any] = control_plane.get("plant", "brno-roof-3", "-n", namespace)
    return found


def post(control_plane: ControlPlane, request: Post) -> None:
    if request.patch is None:
        control_plane.kubectl("create", "-f", "-", given=json.dumps(request.event))
    else:
        control_plane.kubectl(
            "patch",
            "event",
            request.name,
            f"--namespace={request.namespace}",
            "--type=merge",
            f"--patch={json.dumps(request.patch)}",
        )


def test_describe_says_what_to_do_and_how_often_it_happened(
    control_plane: ControlPlane, namespace: str, plant: dict[str, Any]
) -> None:
    now = time.time()
    wanted = plant_status(saying(on_gateway(dict.fromkeys(("INV1", "INV2", "BAT1"), REFUSED))))
    status = Damper(Rate(per_second=1, burst=1)).judge("it", wanted, PlantObserved(), 0.0, at=now).write
    assert status is not None
    plant["status"] = json.loads(status.model_dump_json())
    control_plane.kubectl("replace", "--subresource=status", "-f", "-", given=json.dumps(plant))
    kept = control_plane.get("plant", "brno-roof-3", "-n", namespace)["status"]
    assert PlantObserved.model_validate_json(json.dumps(kept)) == status, "the schema knows all of it"

    about = Regarding(
        api_version=plant["apiVersion"],
        kind="Plant",
        namespace=namespace,
        name="brno-roof-3",
        uid=plant["metadata"]["uid"],
    )
    occurrence = transition((), status.conditions, about)
    assert occurrence is not None
    book = EventBook(instance="voke-operator-0")
    book.note(occurrence, now - 900)
    first = book.take(now - 900)
    for second in range(5):
        book.note(occurrence, now - 300 + second)
    again = book.take(now)
    assert first is not None
    assert again is not None
    post(control_plane, first)
    post(control_plane, again)

    said = control_plane.kubectl("describe", "plant", "brno-roof-3", "-n", namespace).stdout
    conditions, _, events = said.partition("Events:")
    ready = conditions.partition("Conditions:")[2].partition("Type:                  Ready")[0]
    assert MESSAGE in ready, "Ready is what is read first"
    (line,) = [each for each in events.splitlines() if "SomeDevicesNotRead" in each]
    assert line.split()[0] == "Warning"
    assert "(x6 over 15m)" in line
    assert "voke-operator" in line
    assert MESSAGE in line
