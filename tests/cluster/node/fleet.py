"""A namespace with Plants whose gateways are pods, the Voke that they lead to, and their PLCs."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    Installation,
    Json,
    plant_document,
    secret_document,
    voke_documents,
)
from tests.cluster.machine import ADDRESS
from tests.cluster.polls import missed, reads
from tests.support.thread import meter
from voke_operator import names
from voke_operator.kube.errors import NotFoundError
from voke_operator.kube.resources import SECRETS
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

SMALL: Final = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}}
"""Of a gateway with a handful of plants: many of them fit on the node of the tests."""
WITHIN: Final = 90.0


@dataclass
class Fleet:
    """Made by :func:`fleet`."""

    cluster: Cluster
    here: Installation
    voke: LocalVoke
    plcs: AsyncExitStack
    ids: dict[str, str] = field(default_factory=dict)
    """Plant id by name."""
    servers: dict[str, ModbusServer] = field(default_factory=dict)
    """PLC by Plant."""

    @property
    def namespace(self) -> str:
        """Where the Plants are."""
        return self.here.namespace

    async def by_hand(self, do: Callable[..., Any], *arguments: Any, **more: Any) -> None:
        """Do something to a program of the cluster while the rest goes on."""
        await asyncio.get_running_loop().run_in_executor(self.cluster.hands, partial(do, *arguments, **more))

    async def kubectl(self, *arguments: str, check: bool = True) -> str:
        """What it prints, in the fleet's namespace."""
        done = await asyncio.to_thread(self.here.plane.kubectl, "-n", self.namespace, *arguments, check=check)
        return done.stdout + done.stderr if not check else done.stdout

    async def get(self, *arguments: str) -> Any:
        """What ``kubectl get … -o json`` prints, parsed."""
        return await asyncio.to_thread(self.here.plane.get, "-n", self.namespace, *arguments)

    async def apply(self, *documents: Json) -> None:
        """As ``kubectl apply``."""
        await asyncio.to_thread(self.here.plane.apply, *documents, namespace=self.namespace)

    async def pool(self, name: str = "default", **spec: Any) -> None:
        """A GatewayPool that leads to the Voke, with small pods."""
        await self.apply(*voke_documents(self.voke, pool=name, **{"pod": SMALL, **spec}))

    async def document(self, name: str, **spec: Any) -> Json:
        """A Plant with a PLC of its own, and a tick of a second."""
        if name not in self.servers:
            server = await ModbusServer({1: meter(1)}).start(ADDRESS)
            self.servers[name] = await self.plcs.enter_async_context(server)
        self.ids.setdefault(name, str(uuid.uuid4()))
        return plant_document(name, self.ids[name], {"plc1": self.servers[name]}, **spec)

    async def add(self, name: str, **spec: Any) -> None:
        """Apply a Plant, register its generated keys, and wait until Voke has verified a snapshot."""
        await self.apply(await self.document(name, **spec))
        await self.here.register(self.voke, name)
        await self.until_read(name)

    async def add_known(self, name: str, authority: tuple[bytes, bytes], **spec: Any) -> float:
        """Apply a Plant of which Voke knows everything; seconds from then to its first verified snapshot.

        ``authority`` is the fleet's CA and its revocation list.
        """
        document = await self.document(
            name, **spec, credentials={"hmac": {"secretRef": {"name": f"{name}-hmac"}}}
        )
        key = secrets.token_hex(32)
        ca, crl = authority
        await self.voke.register_mtls(self.ids[name], hmac_key=key, ca_pem=ca, crl_pem=crl)
        await self.apply(secret_document(f"{name}-hmac", {"hmac.key": key}))
        began = time.time()
        await self.apply(document)
        return await self.until_read(name) - began

    async def authority(self) -> tuple[bytes, bytes]:
        """The fleet's CA and its revocation list, once there is one."""
        held = await self.here.secret(names.FLEET_CA, self.here.own)
        return held["ca.crt"], held["ca.crl"]

    async def until_read(self, *plants: str, since: float = 0.0, within: float = WITHIN) -> float:
        """Wait until each was read after ``since``, as Voke has verified; when the last of them arrived."""
        ids = {self.ids[name] for name in plants}

        def arrived() -> float | None:
            found: dict[str, float] = {}
            for each in self.voke.accepted:
                if (
                    each.kind == "telemetry"
                    and each.plant_id in ids - found.keys()
                    and each.received_at > since
                ):
                    found[each.plant_id] = each.received_at
            return max(found.values()) if found.keys() == ids else None

        return await self.voke.wait_for(arrived, within) or 0.0

    async def until_read_from_now(self, *plants: str, within: float = WITHIN) -> None:
        """Wait until each of these is read again."""
        await self.until_read(*plants, since=time.time() + 1.0, within=within)

    def missed(self, *plants: str, since: float) -> dict[str, int]:
        """Polls of these plants that are missing since then; only those of which some are."""
        found = {
            name: missed([at for at in reads(self.voke)[self.ids[name]] if at > since]) for name in plants
        }
        return {name: count for name, count in found.items() if count}

    async def key_ids(self, *plants: str) -> Mapping[str, Any]:
        """By plant, the ids of its keys: as its status has them, and as its Secret."""
        found = {}
        for name in plants:
            status = (await self.here.plant(name)).get("status", {})
            secret = await self.here.admin.get(SECRETS, self.namespace, names.plant_secret(name))
            recorded = {each["name"]: each["keyId"] for each in status.get("credentials", [])}
            found[name] = recorded, secret["metadata"]["annotations"][names.KEY_IDS_ANNOTATION]
        return found

    @asynccontextmanager
    async def undisturbed(self, *plants: str) -> AsyncIterator[None]:
        """No poll of these plants is missed inside the block, and their keys stay the same."""
        since, keys = time.time(), await self.key_ids(*plants)
        yield
        await self.until_read_from_now(*plants)
        assert self.missed(*plants, since=since) == {}
        assert await self.key_ids(*plants) == keys

    async def gateway(self, pool: str = "default", shard: int = 0) -> Json:
        """The pod of a shard."""
        found: Json = await self.get("pod", names.gateway_pod(pool, shard))
        return found

    async def until_pool_says(self, pool: str, reason: str, *, within: float = WITHIN) -> str:
        """Wait until a pool's ``Ready`` has this reason; its message."""
        async with asyncio.timeout(within):
            while True:
                found = (await self.get("gatewaypool", pool)).get("status", {}).get("conditions", [])
                for each in found:
                    if (each["type"], each["reason"]) == ("Ready", reason):
                        return str(each["message"])
                await asyncio.sleep(0.3)

    async def restarts(self) -> int:
        """Of all gateways, as Kubernetes counts them."""
        pods = (await self.get("pods"))["items"]
        return sum(
            each["restartCount"] for pod in pods for each in pod["status"].get("containerStatuses", [])
        )

    async def until_gone(self, kind: str, name: str, *, within: float = WITHIN) -> None:
        """Wait until there is no such object."""
        async with asyncio.timeout(within):
            while await self.kubectl("get", kind, name, "--ignore-not-found", "-o", "name"):
                await asyncio.sleep(0.3)

    async def has(self, secret: str) -> bool:
        """Whether there is such a Secret."""
        try:
            await self.here.admin.get(SECRETS, self.namespace, secret)
        except NotFoundError:
            return False
        return True


@asynccontextmanager
async def fleet(
    cluster: Cluster, here: Installation, voke: LocalVoke, *, pools: Iterable[str] = ("default",)
) -> AsyncIterator[Fleet]:
    """A fleet without Plants; at the end nothing that Voke was sent may have been refused."""
    async with AsyncExitStack() as plcs:
        made = Fleet(cluster, here, voke, plcs)
        for name in pools:
            await made.pool(name)
        yield made
