"""One installation for many stories that happen side by side, and the person who does what conditions tell them.

Most of a story is waiting: statuses are written at intervals on purpose. So all stories of a module run at the
same time, each with Plants of its own, and each test waits for its own story.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import (
    PROGRAM,
    Installation,
    Json,
    Operator,
    installed,
    plant_document,
    ready,
)
from tests.cluster.kubelet import Kubelet
from tests.support.thread import meter
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

LONG: Final = 150.0
"""Seconds for what takes one minute on a machine that is not busy."""
_COMMAND: Final = re.compile(r"kubectl (.*?)(?:[.;,] |$)", re.DOTALL)


def commands(message: str) -> list[list[str]]:
    """Arguments of each kubectl that a message names."""
    return [shlex.split(each) for each in _COMMAND.findall(message)]


@dataclass
class Scene:
    """What all stories share."""

    here: Installation
    operator: Operator
    kubelet: Kubelet
    voke: LocalVoke
    plcs: AsyncExitStack

    @property
    def namespace(self) -> str:
        """Where the Plants are."""
        return self.here.namespace

    async def apply(self, *documents: Json) -> None:
        """As ``kubectl apply``."""
        await asyncio.to_thread(self.here.plane.apply, *documents, namespace=self.namespace)

    async def kubectl(self, *arguments: str) -> str:
        """What it prints."""
        done = await asyncio.to_thread(self.here.plane.kubectl, *arguments)
        return done.stdout

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        await self.kubectl("delete", kind, name, "-n", self.namespace)

    async def obey(self, message: str, *more: str) -> None:
        """Run the command that a message names, with ``more`` arguments, and say yes if it asks."""
        found = commands(message)
        assert found, f"no command in: {message}"
        await asyncio.to_thread(self.here.plane.kubectl, *found[-1], *more, given="y\n")

    async def described(self, name: str) -> str:
        """``kubectl describe plant``, in one line: what a person sees of a Plant."""
        said = await self.kubectl("describe", "plant", name, "-n", self.namespace)
        return " ".join(said.split())

    async def plant(self, name: str, *, plant_id: str | None = None, plcs: int = 1, **more: Any) -> Json:
        """A Plant that is read from ``plcs`` PLCs of its own, or from ``servers``."""
        servers = more.pop("servers", None) or {
            f"plc{n}": await self.plcs.enter_async_context(ModbusServer({1: meter(n)}))
            for n in range(1, plcs + 1)
        }
        return plant_document(name, plant_id or str(uuid.uuid4()), servers, **more)

    async def said(self, name: str, reason: str, type_: str = "Ready") -> str:
        """Wait for a reason; its message, which ``kubectl describe`` shows, too."""
        found = await self.here.until_reason(name, reason, type_, within=LONG)
        message: str = found["message"]
        assert " ".join(message.split()) in await self.described(name)
        return message

    async def ready(self, name: str) -> Json:
        """Wait until the Plant is Ready in its newest version."""

        def holds(plant: Json) -> bool:
            found = ready(plant)
            newest: bool = found.get("observedGeneration") == plant["metadata"]["generation"]
            return found["status"] == "True" and newest

        return await self.here.until(name, holds, within=LONG)

    async def until(self, holds: Callable[[], Awaitable[Any]], *, within: float = LONG) -> Any:
        """Ask again and again until the answer is yes; the answer."""
        async with asyncio.timeout(within):
            while not (found := await holds()):
                await asyncio.sleep(0.5)
        return found

    async def registered(self, name: str, *, hmac_key: str | None = None) -> Json:
        """Register an mTLS plant at Voke, with its generated keys or an HMAC key of its own; Ready then."""
        await self.here.register(self.voke, name, hmac_key=hmac_key)
        return await self.ready(name)

    def snapshots(self, plant_id: str) -> int:
        """Verified ones so far."""
        return sum(each.kind == "telemetry" and each.plant_id == plant_id for each in self.voke.accepted)

    async def until_more_snapshots(self, plant_id: str) -> None:
        """Wait until another one arrives."""
        before = self.snapshots(plant_id)
        await self.voke.wait_for(lambda: self.snapshots(plant_id) > before, within=60)


@asynccontextmanager
async def scene(
    plane: ControlPlane,
    directory: Path,
    *,
    name: str,
    arguments: Iterable[str] = (),
    program: Sequence[str] = PROGRAM,
) -> AsyncIterator[Scene]:
    """An operator with ``arguments``, a node, a Voke, a PLC; namespaces ``name`` and ``name-system``."""
    own = f"{name}-system"
    for namespace in (own, name):
        plane.kubectl("create", "namespace", namespace)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        here = await enter(installed(plane, directory, own=own, namespace=name, watch=(name,)))
        voke = await enter(LocalVoke.start(directory / "voke"))
        plcs = await enter(AsyncExitStack())
        kubelet = await enter(here.kubelet())
        operator = await enter(here.operator(*arguments, program=program))
        yield Scene(here, operator, kubelet, voke, plcs)
        print(operator.text[-20_000:])
    for namespace in (own, name):
        plane.kubectl("delete", "namespace", namespace, "--wait=false")


Story = Callable[[Scene], Awaitable[None]]


@asynccontextmanager
async def side_by_side(
    scene: Scene, stories: Iterable[Story]
) -> AsyncIterator[Mapping[Story, asyncio.Task[None]]]:
    """Begin all stories; what comes of one is known when its task has ended."""

    async def tell(story: Story) -> None:
        await story(scene)

    tasks = {
        story: asyncio.create_task(tell(story), name=getattr(story, "__name__", "")) for story in stories
    }
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
