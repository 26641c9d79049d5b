"""The operator as it is installed: its own ServiceAccount and rights, a Voke, PLCs, and pods that really run."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.charts import rights
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubelet import Kubelet
from tests.support.thread import device
from voke_operator import names
from voke_operator.credentials.secret import from_document
from voke_operator.kube.client import Client
from voke_operator.kube.errors import NotFoundError
from voke_operator.kube.reach import from_kubeconfig
from voke_operator.kube.resources import PLANTS, SECRETS
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

Json = dict[str, Any]
ACCOUNT: Final = "voke-operator"
IMAGE: Final = "voke-gateway:test"
WITHIN: Final = 60.0
PROGRAM: Final = ("-m", "voke_operator")


class Operator:
    """``python -m voke_operator`` as a process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> list[Json]:
        """Lines of its log."""
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    @property
    def text(self) -> str:
        """All that it wrote."""
        return self._log.read_text()

    @property
    def memory(self) -> int:
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * 4096

    async def until_logged(self, event: str, *, count: int = 1, within: float = WITHIN) -> None:
        """Wait for a line of its log."""
        async with asyncio.timeout(within):
            while sum(line.get("event") == event for line in self.log) < count:
                assert self.process.returncode is None, self.text
                await asyncio.sleep(0.05)

    async def metrics(self) -> dict[str, dict[tuple[str, ...], float]]:
        """What it counts: values by name, without prefix, and by the values of the labels, in order of their names."""
        http = next(line["http"] for line in self.log if line["event"] == "operator started")
        async with aiohttp.ClientSession() as session, session.get(f"http://{http}/metrics") as answer:
            text = await answer.text()
        found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = tuple(value for _, value in sorted(sample.labels.items()))
                found[sample.name.removeprefix("voke_operator_")][labels] = sample.value
        return found

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
        async with asyncio.timeout(30):
            return await self.process.wait()


@dataclass
class Installation:
    """An operator's own namespace, and one with Plants."""

    plane: ControlPlane
    admin: Client
    own: str
    """The operator's namespace."""
    namespace: str
    """The one with Plants."""
    directory: Path
    kubeconfig: Path
    """Of the operator's ServiceAccount."""
    watch: Sequence[str] = ()
    operators: list[Operator] = field(default_factory=list)

    @property
    def user(self) -> str:
        """As the audit log names the operator."""
        return f"system:serviceaccount:{self.own}:{ACCOUNT}"

    @property
    def defaults(self) -> Path:
        """The operator's file of defaults."""
        return self.directory / "defaults.yaml"

    def grant(self, issuer: str | None = None) -> None:
        """Give the operator its account and its rights, as the chart does."""
        self.plane.apply(*rights(account=ACCOUNT, namespace=self.own, watch=self.watch, issuer=issuer))

    @asynccontextmanager
    async def operator(
        self, *arguments: str, kubeconfig: Path | None = None, program: Sequence[str] = PROGRAM
    ) -> AsyncIterator[Operator]:
        """Run one; at the end it is stopped as a pod is. A CA that ``arguments`` name is one that it may read."""
        if "--issuer-secret" in arguments:
            issuer = arguments[arguments.index("--issuer-secret") + 1]
            await asyncio.to_thread(self.grant, issuer)
        log = self.directory / f"operator-{len(self.operators)}.log"
        watch = [part for each in self.watch for part in ("--watch", each)]
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *program,
                *("--namespace", self.own, "--defaults", str(self.defaults)),
                *("--kubeconfig", str(kubeconfig or self.kubeconfig), "--http", "127.0.0.1:0"),
                *watch,
                *arguments,
                stdout=output,
                stderr=output,
            )
        running = Operator(process, log)
        self.operators.append(running)
        try:
            yield running
        finally:
            await running.stop()

    async def plant(self, name: str) -> Json:
        """A Plant as it is."""
        return await self.admin.get(PLANTS, self.namespace, name)

    async def condition(self, name: str, type_: str = "Ready") -> Json:
        """A condition of a Plant; empty if it has none."""
        found = (await self.plant(name)).get("status", {}).get("conditions", [])
        return next((each for each in found if each["type"] == type_), {})

    async def until(self, name: str, holds: Callable[[Json], Any], *, within: float = WITHIN) -> Json:
        """Wait until a Plant is as it should be; fails with what it is."""
        found: Json = {}
        try:
            async with asyncio.timeout(within):
                while True:
                    with contextlib.suppress(NotFoundError):
                        found = await self.plant(name)
                        if holds(found):
                            return found
                    await asyncio.sleep(0.25)
        except TimeoutError:
            raise AssertionError(
                f"not within {within} s: {json.dumps(found.get('status'), indent=1)}"
            ) from None

    async def until_reason(self, name: str, reason: str, type_: str = "Ready", **more: Any) -> Json:
        """Wait for a condition's reason; the condition."""

        def holds(plant: Json) -> bool:
            return any(
                each["type"] == type_ and each["reason"] == reason
                for each in plant.get("status", {}).get("conditions", [])
            )

        found = await self.until(name, holds, **more)
        return next(each for each in found["status"]["conditions"] if each["type"] == type_)

    async def until_ready(self, name: str, **more: Any) -> Json:
        """Wait until a Plant is Ready."""
        return await self.until(name, lambda plant: ready(plant)["status"] == "True", **more)

    async def keys(self, plant: str) -> dict[str, bytes]:
        """What is in the Secret of a plant."""
        return await self.secret(names.plant_secret(plant))

    async def secret(self, name: str, namespace: str | None = None) -> dict[str, bytes]:
        """What a Secret holds."""
        found = await self.admin.get(SECRETS, namespace or self.namespace, name)
        return dict(from_document(found).data)

    async def until_keys(self, plant: str, within: float = WITHIN) -> dict[str, bytes]:
        """Wait for the Secret of a plant."""
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(NotFoundError):
                    return await self.keys(plant)
                await asyncio.sleep(0.1)

    async def register(self, voke: LocalVoke, plant: str, *, hmac_key: str | None = None) -> None:
        """What a person does at Voke, for an mTLS plant with generated keys, or an HMAC key of its own."""
        keys = await self.until_keys(plant)
        plant_id = (await self.plant(plant))["spec"]["plantId"]
        crl = (await self.secret(names.FLEET_CA, self.own))["ca.crl"]
        await voke.register_mtls(
            plant_id, hmac_key=hmac_key or keys["hmac.key"], ca_pem=keys["ca.crt"], crl_pem=crl
        )

    @asynccontextmanager
    async def kubelet(self) -> AsyncIterator[Kubelet]:
        """The namespace's pods run."""
        directory = self.directory / "pods"
        directory.mkdir(exist_ok=True)
        async with Kubelet.running(self.admin, self.namespace, directory) as kubelet:
            yield kubelet


def ready(plant: Json, type_: str = "Ready") -> Json:
    """A condition of a Plant's document."""
    found = plant.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == type_), {"status": "", "reason": ""})


@asynccontextmanager
async def beside(
    plane: ControlPlane,
    directory: Path,
    *,
    own: str,
    namespace: str,
    kubeconfig: Path | None = None,
    watch: Sequence[str] = (),
) -> AsyncIterator[Installation]:
    """What a test needs beside an operator whose namespace is ``own``; ``kubeconfig``: of its account, if that is used."""
    async with aclosing(Client(await from_kubeconfig(plane.kubeconfig))) as admin:
        yield Installation(
            plane, admin, own, namespace, directory, kubeconfig or plane.kubeconfig, tuple(watch)
        )


@asynccontextmanager
async def installed(
    plane: ControlPlane, directory: Path, *, own: str, namespace: str, watch: Sequence[str] = ()
) -> AsyncIterator[Installation]:
    """Give the operator its account and its rights, as the chart does; both namespaces are there."""
    kubeconfig = plane.service_account(own, ACCOUNT)
    async with beside(
        plane, directory, own=own, namespace=namespace, kubeconfig=kubeconfig, watch=watch
    ) as here:
        here.grant()
        here.defaults.write_text(json.dumps({"image": IMAGE}))
        yield here


def nowhere(name: str) -> tuple[str, int]:
    """A PLC that is not there, for each name another one."""
    first, second, third, *port = hashlib.sha256(name.encode()).digest()[:5]
    return f"127.{first}.{second}.{third}", 1 + int.from_bytes(port) % 1000


def plant_document(
    name: str,
    plant_id: str,
    servers: Mapping[str, ModbusServer] | None = None,
    *,
    devices: list[Json] | None = None,
    method: str = "MTLS",
    **spec: Any,
) -> Json:
    """A Plant that ticks every second, with a meter on every server; none: on an address of its own where nobody is."""
    places = {key: (each.host, each.port) for key, each in (servers or {}).items()} or {"plc1": nowhere(name)}
    return {
        "apiVersion": "voke.lovinka.com/v1alpha1",
        "kind": "Plant",
        "metadata": {"name": name},
        "spec": {
            "plantId": plant_id,
            "auth": {"method": method},
            "telemetry": {"interval": "1s"},
            "connections": [
                {"name": key, "modbusTcp": {"host": host, "port": port}}
                for key, (host, port) in places.items()
            ],
            "devices": devices or [device(f"M{n}", key) for n, key in enumerate(places, 1)],
            **spec,
        },
    }


def voke_documents(voke: LocalVoke, *, pool: str = "default", **spec: Any) -> list[Json]:
    """A pool that leads to this Voke, and the Secret with its root."""
    ports = {"mtls": voke.ports.mtls, "jwt": voke.ports.jwt, "password": voke.ports.password}
    place = {
        "host": voke.host,
        "ports": ports,
        "ca": {"secretRef": {"name": "voke-ca", "key": "ca.crt"}},
    }
    return [
        {
            "apiVersion": "voke.lovinka.com/v1alpha1",
            "kind": "GatewayPool",
            "metadata": {"name": pool},
            "spec": {"voke": place, **spec},
        },
        secret_document("voke-ca", {"ca.crt": voke.ca_pem.decode()}),
    ]


def secret_document(name: str, data: Mapping[str, str], *, allowed: bool = True) -> Json:
    """A Secret that Plants may refer to, or not."""
    labels = {names.ALLOW_LABEL: "true"} if allowed else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "stringData": dict(data),
    }
