"""``voke plan``: which gateway carries which plant, every write, and why."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.support.plants import battery_document
from voke_api.bundle import BundlePlant, pack_plant
from voke_api.resolved import PlantCredentials
from voke_api.resources import Plant
from voke_cli.main import app
from voke_cli.plan import stand_ins
from voke_operator.credentials.bundled import for_bundle
from voke_operator.credentials.material import (
    new_client_certificate,
    new_fleet_ca,
    new_hmac_key,
    new_jwt_keys,
)
from voke_operator.plan.candidates import Surroundings, candidate

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def document(name: str, number: int, **spec: Any) -> dict[str, Any]:
    plant_id = f"3f2c1a9e-7b64-4d1e-9c55-{number:012}"
    host = [{"name": "plc1", "modbusTcp": {"host": f"10.0.0.{number}"}}]
    plant = battery_document(plantId=plant_id, connections=host, **spec)
    return {**plant, "metadata": {"name": name}}


def voke_plan(directory: Path, *documents: dict[str, Any], arguments: tuple[str, ...] = ()) -> Result:
    file = directory / "site.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return CliRunner().invoke(app, ["plan", *arguments, str(file)])


def planned(directory: Path, *documents: dict[str, Any]) -> dict[str, Any]:
    result = voke_plan(directory, *documents, arguments=("--json",))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


POOL = {
    "apiVersion": "voke.lovinka.com/v1alpha1",
    "kind": "GatewayPool",
    "metadata": {"name": "default"},
    "spec": {"shard": {"maxPlants": 2}},
}


def test_plants_are_spread_over_gateways(tmp_path: Path) -> None:
    answer = planned(tmp_path, POOL, *(document(name, n) for n, name in enumerate("abc")))
    assert {each["name"]: each["gateway"] for each in answer["plants"]} == {
        "a": "voke-gw-default-0",
        "b": "voke-gw-default-0",
        "c": "voke-gw-default-1",
    }
    assert [gateway["plants"] for gateway in answer["gateways"]] == [["a", "b"], ["c"]]
    assert all(gateway["bundleBytes"] > 1000 for gateway in answer["gateways"])


def test_of_two_plants_with_one_plc_the_first_is_placed_and_the_other_is_told_of_it(tmp_path: Path) -> None:
    first, second = document("a", 1), document("b", 2)
    second["spec"]["connections"] = first["spec"]["connections"]
    answer = planned(tmp_path, first, second)
    assert [each["gateway"] for each in answer["plants"]] == ["voke-gw-default-0", None]
    (problem,) = (each for each in answer["problems"] if each["severity"] == "error")
    assert (problem["name"], problem["path"]) == ("b", "spec.connections[0].modbusTcp.host")
    assert problem["message"].startswith("Plant a connects to 10.0.0.1:502 already, and a PLC is read and")
    assert answer["plants"][1]["message"].endswith(problem["message"])
    assert voke_plan(tmp_path, first, second).exit_code == 1


def test_every_write_is_listed_with_its_object_but_never_a_secret(tmp_path: Path) -> None:
    answer = planned(tmp_path, document("a", 1))
    steps = {step["kind"]: step for step in answer["steps"]}
    assert steps["StatefulSet"]["object"]["spec"]["replicas"] == 1
    assert steps["Secret"]["object"] is None
    assert steps["Secret"]["reason"] == "does not exist"


def test_people_get_tables(tmp_path: Path) -> None:
    result = voke_plan(tmp_path, document("a", 1))
    assert result.exit_code == 0, result.output
    assert "PLANT" in result.output
    assert "1 of 1 plant on 1 gateway; 5 writes" in result.output


def test_a_plant_that_cannot_run_is_not_placed_and_says_why(tmp_path: Path) -> None:
    result = voke_plan(tmp_path, document("a", 1), document("b", 2, pool="nowhere"))
    assert result.exit_code == 1
    assert "there is no GatewayPool nowhere" in result.output
    assert "1 of 2 plants on 1 gateway" in result.output


def test_of_two_plants_with_one_id_one_is_placed(tmp_path: Path) -> None:
    answer = planned(tmp_path, document("b", 1), document("a", 1))
    assert {each["name"]: each["reason"] for each in answer["plants"]} == {
        "a": "Placed",
        "b": "DuplicatePlantId",
    }


def test_files_that_cannot_be_understood_are_said_and_the_rest_is_planned(tmp_path: Path) -> None:
    result = voke_plan(tmp_path, document("a", 1), {"kind": "Plant"})
    assert result.exit_code == 1
    assert "apiVersion" in result.output
    assert "1 of 1 plant on " in result.output


def test_of_files_without_a_plant_that_could_be_placed_no_tables_are_shown(tmp_path: Path) -> None:
    assert "there is no Plant in these files" in voke_plan(tmp_path, POOL).output
    said = voke_plan(tmp_path, {"kind": "Plant"}).output
    assert "there is no Plant that could be placed" in said
    assert "0 writes" not in said


def test_one_namespace_at_a_time(tmp_path: Path) -> None:
    elsewhere = document("b", 2)
    elsewhere["metadata"]["namespace"] = "north"
    result = voke_plan(tmp_path, document("a", 1), elsewhere)
    assert result.exit_code == 2
    assert "default, north" in result.output


@pytest.mark.parametrize("method", ["MTLS", "JWT"])
def test_what_stands_for_keys_has_their_size(method: str) -> None:
    plant = Plant.model_validate(document("a", 1, auth={"method": method}))
    found = candidate(plant, Surroundings(), now=NOW)
    issuer = new_fleet_ca(NOW, "CA")
    made = {
        **new_hmac_key(Random(1).randbytes),
        **(new_jwt_keys() if method == "JWT" else new_client_certificate(plant.spec.plant_id, issuer, NOW)),
    }

    def size(credentials: PlantCredentials) -> int:
        return pack_plant(BundlePlant(plant=plant, pool=None, credentials=credentials)).size

    assert size(stand_ins(found)) == pytest.approx(size(for_bundle(found.given.values, made)), rel=0.1)


def test_a_cluster_is_not_compared_with_without_the_client_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "voke_operator.kube.client", raising=False)
    monkeypatch.setitem(sys.modules, "kubernetes.aio.client.api_client", None)
    result = voke_plan(tmp_path, document("a", 1), arguments=("--live",))
    assert result.exit_code == 1
    assert "pip install '.[operator]' in a checkout" in result.stderr


def test_a_kubeconfig_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    result = voke_plan(tmp_path, document("a", 1), arguments=("--live", "--kubeconfig", missing))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"kubeconfig {missing} cannot be used")


def test_what_says_where_a_cluster_is_goes_with_live(tmp_path: Path) -> None:
    assert voke_plan(tmp_path, document("a", 1), arguments=("--namespace", "energy")).exit_code == 2
    assert CliRunner().invoke(app, ["plan"]).exit_code == 2
