"""Plays the node for gateway pods: each becomes a process on an address of its own, its Secret a directory.

What a kubelet does with a pod that matters to the operator is done here: the mounted Secret is swapped in when the
pod changes (an annotation is enough) and every minute otherwise, the pod gets an address and is said to be ready, and
a deleted one is stopped. Nothing of the pod's security is enforced.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from voke_api.probe import PORT
from voke_operator.kube.client import Client
from voke_operator.kube.errors import ConflictError, KubeError, NotFoundError
from voke_operator.kube.resources import PODS, SECRETS
from voke_operator.plan.objects import HTTP_PORT

_REFRESH: Final = 60.0
_LOOK: Final = 0.1
_GATEWAY: Final = ("-m", "voke_gateway")
_addresses = itertools.count(os.getpid() % 200 * 250 + 1)


@dataclass
class Pod:
    """One pod that runs."""

    name: str
    uid: str
    secret: str
    address: str
    directory: Path
    image: str
    process: asyncio.subprocess.Process
    seen: dict[str, str] = field(default_factory=dict)
    """Annotations when its Secret was last looked at."""
    mounted: str = ""
    """resourceVersion of the Secret in the directory."""
    looked_at: float = 0.0
    restarts: int = 0


class Kubelet:
    """Runs the gateway pods of one namespace."""

    def __init__(self, client: Client, namespace: str, directory: Path) -> None:
        self._client = client
        self._namespace = namespace
        self._directory = directory
        self.pods: dict[str, Pod] = {}
        self.unknown_images: set[str] = set()
        """No registry has them."""
        self.programs: dict[str, tuple[str, ...]] = {}
        """What images run that do not run this version of the gateway: arguments of Python."""
        self.started = 0
        """Processes started so far."""

    @classmethod
    @asynccontextmanager
    async def running(cls, client: Client, namespace: str, directory: Path) -> AsyncIterator[Kubelet]:
        kubelet = cls(client, namespace, directory)
        task = asyncio.create_task(kubelet._run(), name="kubelet")
        try:
            yield kubelet
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            for pod in list(kubelet.pods.values()):
                await kubelet._stop(pod)

    @property
    def names(self) -> list[str]:
        """Pods that run, or have run."""
        return sorted(path.stem for path in self._directory.glob("*.log"))

    def text(self, pod: str) -> str:
        """All that its gateway has written."""
        return (self._directory / f"{pod}.log").read_text(errors="replace")

    def log(self, pod: str) -> list[dict[str, Any]]:
        """What its gateway has logged."""
        return [json.loads(line) for line in self.text(pod).splitlines() if line.startswith("{")]

    async def kill(self, pod: str) -> None:
        """Its process dies, as by the OOM killer; it is started again."""
        self.pods[pod].process.kill()
        await self.pods[pod].process.wait()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(KubeError, OSError):
                await self._look()
            await asyncio.sleep(_LOOK)

    async def _look(self) -> None:
        page = await self._client.list(PODS, self._namespace)
        there = {each["metadata"]["name"]: each for each in page.items}
        for name, pod in list(self.pods.items()):
            if name not in there or there[name]["metadata"]["uid"] != pod.uid:
                await self._stop(pod)
        for name, document in there.items():
            if document["metadata"].get("deletionTimestamp"):
                if name in self.pods:
                    await self._stop(self.pods[name])
                continue
            if name not in self.pods:
                await self._start(name, document)
            elif self.pods[name].process.returncode is not None:
                pod = self.pods[name]
                pod.restarts += 1
                pod.process = await self._process(name, pod.address, pod.directory, pod.image)
            else:
                pod = self.pods[name]
                if document.get("status", {}).get("podIP") != pod.address:  # somebody else was quicker
                    await self._report(name, document, pod.address)
                await self._refresh(pod, document)

    async def _start(self, name: str, document: dict[str, Any]) -> None:
        volumes = document["spec"]["volumes"]
        secret = next(each["secret"]["secretName"] for each in volumes if "secret" in each)
        directory = self._directory / name
        directory.mkdir(parents=True, exist_ok=True)
        image = document["spec"]["containers"][0]["image"]
        if image in self.unknown_images:
            await self._report_unpullable(name, document, image)
            return
        number = next(_addresses) % 65_000 + 1
        address = f"127.{number // 250 % 250 + 2}.{number % 250 + 1}.1"
        try:
            mounted = await self._mount(secret, directory, "")
        except NotFoundError:
            return  # kubelet waits for what a pod mounts
        process = await self._process(name, address, directory, image)
        uid = document["metadata"]["uid"]
        pod = Pod(name, uid, secret, address, directory, image, process, mounted=mounted)
        pod.seen = dict(document["metadata"].get("annotations") or {})
        self.pods[name] = pod
        await self._report(name, document, address)

    async def _process(
        self, name: str, address: str, directory: Path, image: str
    ) -> asyncio.subprocess.Process:
        self.started += 1
        with (self._directory / f"{name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *self.programs.get(image, _GATEWAY),
                *("--bundle", str(directory)),
                *("--http", f"{address}:{HTTP_PORT}", "--local", f"{address}:{PORT}", "--name", name),
                stderr=log,
                stdout=log,
            )

    async def _refresh(self, pod: Pod, document: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        annotations = document["metadata"].get("annotations") or {}
        if annotations == pod.seen and now - pod.looked_at < _REFRESH:
            return
        pod.seen, pod.looked_at = dict(annotations), now
        with contextlib.suppress(NotFoundError):
            pod.mounted = await self._mount(pod.secret, pod.directory, pod.mounted)

    async def _mount(self, secret: str, directory: Path, mounted: str) -> str:
        """Swap in the Secret as it is now, if it is another."""
        document = await self._client.get(SECRETS, self._namespace, secret)
        version: str = document["metadata"]["resourceVersion"]
        if version == mounted:
            return version
        target = directory / f"..{version}"
        target.mkdir(mode=0o700)
        for name, content in (document.get("data") or {}).items():
            (target / name).write_bytes(b64decode(content))
            link = directory / name
            if not link.is_symlink():
                link.symlink_to(Path("..data") / name)
        swap = directory / "..data_tmp"
        swap.symlink_to(target.name)
        current = directory / "..data"
        before = current.readlink() if current.is_symlink() else None
        swap.rename(current)
        if before is not None:
            shutil.rmtree(directory / before, ignore_errors=True)
        return version

    async def _report_unpullable(self, name: str, document: dict[str, Any], image: str) -> None:
        waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
        container = {
            "name": document["spec"]["containers"][0]["name"],
            "image": image,
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": waiting},
        }
        conditions = [{"type": type_, "status": "False"} for type_ in ("Ready", "ContainersReady")]
        status = {"phase": "Pending", "conditions": conditions, "containerStatuses": [container]}
        if "containerStatuses" not in document.get("status", {}):
            await self._patch(name, document, status)

    async def _report(self, name: str, document: dict[str, Any], address: str) -> None:
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [
                {"type": type_, "status": "True"} for type_ in ("Initialized", "Ready", "ContainersReady")
            ],
        }
        await self._patch(name, document, status)

    async def _patch(self, name: str, document: dict[str, Any], status: dict[str, Any]) -> None:
        with contextlib.suppress(ConflictError):
            await self._client.patch_status(
                PODS,
                self._namespace,
                name,
                status,
                resource_version=document["metadata"]["resourceVersion"],
            )

    async def _stop(self, pod: Pod) -> None:
        self.pods.pop(pod.name, None)
        if pod.process.returncode is None:
            pod.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(pod.process.wait(), 15)
            except TimeoutError:
                pod.process.kill()
                await pod.process.wait()
        shutil.rmtree(pod.directory, ignore_errors=True)
