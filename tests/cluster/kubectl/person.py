"""A person with kubectl, the plugin and no more rights than docs/kubectl.md names."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.cluster.control_plane import ControlPlane
from tests.cluster.front import Front
from voke_api.probe import PORT
from voke_api.status import GatewayStatus
from voke_cli.kubectl.edge import Kubectl
from voke_cli.kubectl.gateways import AskStatus, Place
from voke_cli.kubectl.rights import GET_POD, RIGHTS, Right
from voke_operator.names import pod_of
from voke_operator.plan.objects import HTTP_PORT

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass
class Person:
    """Calls ``kubectl voke`` in one namespace."""

    plane: ControlPlane
    namespace: str
    front: Front | None = None
    """By which they reach the cluster; None: directly."""

    async def voke(
        self,
        *arguments: str,
        account: str | None = None,
        given: str = "",
        lacking: tuple[Right, ...] = (),
        temporary: Path | None = None,
    ) -> Said:
        """``kubectl voke …`` as an account that has the rights of this command, but for some.

        ``temporary``: where its temporary files are.
        """
        kubeconfig = await asyncio.to_thread(
            account_for, self.plane, self.namespace, account or arguments[0], lacking
        )
        if self.front is not None:
            kubeconfig = self.front.kubeconfig(kubeconfig)
        process = await asyncio.create_subprocess_exec(
            str(self.plane.programs / "kubectl"),
            *("voke", *arguments, "-n", self.namespace, "--kubeconfig", str(kubeconfig)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.plane.environment() | ({} if temporary is None else {"TMPDIR": str(temporary)}),
        )
        async with asyncio.timeout(120):
            out, err = await process.communicate(given.encode())
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def json(self, *arguments: str, status: int = 0) -> Json:
        """What a command prints with ``--json``."""
        said = await self.voke(*arguments, "--json")
        assert said.status == status, said
        found: Json = json.loads(said.out)
        return found

    def address(self, gateway: str) -> str:
        """Of a gateway's pod."""
        found: str = self.plane.get("pod", pod_of(gateway), "-n", self.namespace)["status"]["podIP"]
        return found

    def endpoint(self, gateway: str) -> str:
        """Where the pod's loopback port would be forwarded to: here it is on an address of its own."""
        return f"http://{self.address(gateway)}:{PORT}"


@cache
def account_for(plane: ControlPlane, namespace: str, command: str, lacking: tuple[Right, ...] = ()) -> Path:
    """A kubeconfig of somebody who may do what a command needs."""
    name = f"for-{command}" + "".join(
        f"-no-{each.verb}-{each.resource.replace('/', '-')}" for each in lacking
    )
    rules = [
        {"apiGroups": [each.group], "resources": [each.resource], "verbs": [each.verb]}
        for each in RIGHTS[command]
        if each not in lacking
    ]
    api = "rbac.authorization.k8s.io"
    metadata = {"name": name, "namespace": namespace}
    plane.apply(
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
    )
    return plane.service_account(namespace, name)


def directly(kubectl: Kubectl) -> AskStatus:
    """Gateways are asked at their pods' addresses: the API server passes nothing on to a loopback address."""

    def ask(place: Place) -> GatewayStatus:
        namespace, gateway = place
        pod = kubectl.get("pods", pod_of(gateway), "-n", namespace, needs=GET_POD)
        with urlopen(f"http://{pod['status']['podIP']}:{HTTP_PORT}/status", timeout=10) as answer:
            return GatewayStatus.model_validate_json(answer.read())

    return ask
