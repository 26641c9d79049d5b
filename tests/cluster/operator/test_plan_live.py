"""``voke plan --live``: what the operator would change in a cluster, read with the right to read alone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.another_version import program
from tests.cluster.installation import Installation, Json, plant_document, ready
from voke_api.bundle import FORMATS, contents
from voke_operator import names
from voke_operator.kube.errors import NotFoundError

READER: Final = "reader"
PROGRAM: Final = ("-m", "voke_cli")
_SHORTEST: Final = 12
"""Characters of a line of a key; what is shorter would be found anywhere."""
POOL: Final[Json] = {
    "apiVersion": "voke.lovinka.com/v1alpha1",
    "kind": "GatewayPool",
    "metadata": {"name": "default"},
    "spec": {"shard": {"maxPlants": 2}},
}


@dataclass
class Planner:
    """A person who may read."""

    here: Installation
    kubeconfig: Path

    async def plan(
        self, *documents: Json, arguments: tuple[str, ...] = (), program: Sequence[str] = PROGRAM
    ) -> tuple[int, str]:
        """Exit status and all that is said."""
        file = self.here.directory / "files.yaml"
        file.write_text(yaml.safe_dump_all(documents))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(*program, "plan", *([str(file)] if documents else [])),
            *("--live", "--kubeconfig", str(self.kubeconfig), "-n", self.here.namespace, *arguments),
            env={**os.environ, "COLUMNS": "300"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return await process.wait(), said.decode()

    async def steps(self, *documents: Json) -> list[tuple[str, str, str]]:
        """Actions, objects and reasons."""
        status, said = await self.plan(*documents, arguments=("--json",))
        assert status == 0, said
        answer = json.loads(said)
        assert all(step["object"] is None for step in answer["steps"] if step["kind"] == "Secret")
        return [
            (step["action"], f"{step['kind']} {step['name']}", step["reason"]) for step in answer["steps"]
        ]


def rights(namespace: str, *, secrets: bool = True) -> list[Json]:
    """The right to read what a plan is made from."""
    core = ["services", "pods", *(["secrets"] if secrets else [])]
    kinds = {
        "voke.lovinka.com": ["plants", "deviceprofiles", "gatewaypools"],
        "": core,
        "apps": ["statefulsets"],
        "policy": ["poddisruptionbudgets"],
        "networking.k8s.io": ["networkpolicies"],
    }
    rules = [
        {"apiGroups": [group], "resources": resources, "verbs": ["get", "list"]}
        for group, resources in kinds.items()
    ]
    api = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{api}/v1",
            "kind": "Role",
            "metadata": {"name": READER, "namespace": namespace},
            "rules": rules,
        },
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": READER, "namespace": namespace},
            "roleRef": {"apiGroup": api, "kind": "Role", "name": READER},
            "subjects": [{"kind": "ServiceAccount", "name": READER, "namespace": namespace}],
        },
    ]


def plant(name: str, **spec: Any) -> Json:
    connections = [{"name": "plc1", "modbusTcp": {"host": f"{name}.example"}}]
    plant_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
    return plant_document(name, plant_id, connections=connections, **spec)


@asynccontextmanager
async def planned_by_an_operator(here: Installation, *documents: Json) -> AsyncIterator[Planner]:
    """What an operator has made of the documents; it is away now, so that nothing changes any more."""
    here.plane.apply(*rights(here.namespace))
    kubeconfig = here.plane.service_account(here.namespace, READER)
    plants = {each["metadata"]["name"] for each in documents if each["kind"] == "Plant"}
    async with here.operator():
        here.plane.apply(*documents, namespace=here.namespace)
        async with asyncio.timeout(60):
            while await _listed(here) != plants or not await _complete(here):
                await asyncio.sleep(0.2)
        for name in plants:
            await here.until(name, lambda found: ready(found)["status"])
    yield Planner(here, kubeconfig)


async def _listed(here: Installation) -> set[str]:
    try:
        return set(contents(await here.secret(names.bundle_secret("default", 0))).plants)
    except NotFoundError:
        return set()


async def _complete(here: Installation) -> bool:
    kinds = "statefulsets,services,poddisruptionbudgets,networkpolicies"
    found = await asyncio.to_thread(here.plane.get, kinds, "-n", here.namespace)
    return len(found["items"]) == len(kinds.split(","))


async def test_it_says_what_would_change_and_writes_nothing(installation: Installation) -> None:
    here = installation
    documents = [POOL, plant("brno"), plant("olomouc")]
    async with planned_by_an_operator(here, *documents) as person:
        here.plane.writes()
        assert await person.plan() == (0, "nothing to do: the cluster is as it is to be\n")
        assert await person.steps(*documents) == [], "what is applied already changes nothing"
        laptop = program("voke_cli", *FORMATS)
        assert await person.plan(program=laptop) == (0, "nothing to do: the cluster is as it is to be\n")

        changed = plant("brno", telemetry={"interval": "7s"})
        bundle = "Secret voke-bundle-default-0"
        assert await person.steps(changed) == [("update", bundle, "changes brno")]
        status, said = await person.plan(changed)
        assert status == 0
        assert f"update  {bundle}  changes brno" in " ".join(said.split("\n")).replace("   ", "  ")
        assert said.endswith("1 write; no gateway restarts\n")

        third = [("create", "Secret voke-bundle-default-1", "does not exist")]
        third += [
            ("apply", f"{kind} voke-gw-default-1", "does not exist") for kind in ("Service", "StatefulSet")
        ]
        assert await person.steps(plant("zlin")) == third

        image = {**POOL, "spec": {**POOL["spec"], "pod": {"image": "voke-gateway:2"}}}
        reason = "what is wanted of it has changed; the gateway restarts"
        assert await person.steps(image) == [("apply", "StatefulSet voke-gw-default-0", reason)]

        here.plane.kubectl("delete", "plant", "olomouc", "-n", here.namespace)
        assert await person.steps() == [("update", bundle, "drops olomouc")]
        here.plane.kubectl("delete", "service", "voke-gw-default-0", "-n", here.namespace)
        stranger = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "voke-gw-default-0"},
            "spec": {"ports": [{"port": 80}], "clusterIP": "None"},
        }
        here.plane.apply(stranger, namespace=here.namespace)
        _, said = await person.plan()
        assert "was not made by the operator and is not touched" in said

        user = f"system:serviceaccount:{here.namespace}:{READER}"
        assert not [each for each in here.plane.writes() if each.user == user]


async def test_it_shows_nothing_of_the_keys_that_it_reads(installation: Installation) -> None:
    async with planned_by_an_operator(installation, POOL, plant("brno")) as person:
        keys = await installation.keys("brno")
        changed = plant("brno", telemetry={"interval": "7s"})
        for arguments in ((), ("--json",)):
            _, said = await person.plan(changed, plant("olomouc"), arguments=arguments)
            lines = {line for key in keys.values() for line in key.decode("latin-1").splitlines()}
            needles = {line for line in lines if len(line) >= _SHORTEST and "-----" not in line}
            assert len(needles) > len(keys)
            assert not any(needle in said for needle in needles)


async def test_without_the_right_to_read_bundles_it_says_which_right_it_lacks(
    installation: Installation,
) -> None:
    here = installation
    here.plane.apply(*rights(here.namespace, secrets=False))
    person = Planner(here, here.plane.service_account(here.namespace, READER))
    status, said = await person.plan()
    assert status == 1
    assert said.startswith("the cluster cannot be read: ")
    assert "secrets" in said
    assert "Traceback" not in said


async def test_files_of_another_namespace_are_refused(installation: Installation) -> None:
    here = installation
    here.plane.apply(*rights(here.namespace))
    person = Planner(here, here.plane.service_account(here.namespace, READER))
    document = plant("brno")
    status, said = await person.plan({**document, "metadata": {"name": "brno", "namespace": "elsewhere"}})
    assert status == 2
    assert "of namespace elsewhere" in said
