"""The world around ``examples/cluster``: three sites' PLCs and a Voke on the machine's address.

And the person who registers plants there: whose keys appear in the cluster is made known to this Voke.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.installation import secret_document
from tests.cluster.machine import ADDRESS
from tests.support.loops import beside
from voke_operator import names
from voke_operator.credentials.secret import from_document
from voke_operator.kube.client import Client
from voke_operator.kube.errors import AlreadyExistsError, KubeError, NotFoundError
from voke_operator.kube.resources import PLANTS, SECRETS
from voke_sim.demo import Demo, Tell
from voke_sim.voke import LocalVoke
from voke_sim.voke.broker import Ports

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "cluster"
FIRST_PORT: Final = 5020
"""Of the PLCs; each site has ten."""
VOKE_PORTS: Final = Ports(mtls=8886, jwt=8887, password=8885, ingest=8884)
CA_SECRET: Final = "voke-broker-ca"
_LOOK: Final = 0.5

Json = dict[str, Any]


@asynccontextmanager
async def showcase(directory: Path, *, tell: Tell) -> AsyncIterator[Demo]:
    """PLCs that live and misbehave, and a Voke, until the end of the block; the network has to be the machine's."""
    async with (
        LocalVoke.start(directory, address=ADDRESS, ports=VOKE_PORTS) as voke,
        Demo.start(voke, tell=tell, host=ADDRESS, first_port=FIRST_PORT) as demo,
    ):
        yield demo


def ca_secret(voke: LocalVoke) -> str:
    """What ``examples/cluster`` cannot hold: the root of a Voke that was made a moment ago, as a document."""
    return yaml.safe_dump(secret_document(CA_SECRET, {"ca.crt": voke.ca_pem.decode()}))


class Registrar:
    """Does at a local Voke what a person does there for each Plant."""

    def __init__(self, voke: LocalVoke, admin: Client, *, own: str, tell: Tell) -> None:
        """``own`` is the operator's namespace, where the CA of client certificates is."""
        self._voke = voke
        self._admin = admin
        self._own = own
        self._tell = tell
        self._registered: dict[tuple[str, str], bytes] = {}
        """Of each Plant, the HMAC key that Voke knows."""
        self._passwords: set[tuple[str, str]] = set()

    @asynccontextmanager
    async def registering(self) -> AsyncIterator[None]:
        """Inside the block all Plants are looked at, again and again."""
        async with beside(self._run()):
            yield

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(KubeError):
                for plant in (await self._admin.list(PLANTS)).items:
                    await self._register(plant)
            await asyncio.sleep(_LOOK)

    async def _register(self, plant: Json) -> None:
        namespace, name = plant["metadata"]["namespace"], plant["metadata"]["name"]
        plant_id, method = plant["spec"]["plantId"], plant["spec"]["auth"]["method"]
        if method == "PASSWORD":
            await self._give_password(namespace, name, plant)
        with contextlib.suppress(NotFoundError):
            held = await self._held(namespace, names.plant_secret(name))
            key = held["hmac.key"]
            if self._registered.get((namespace, name)) == key:
                return
            if method == "MTLS":
                crl = (await self._held(self._own, names.FLEET_CA))["ca.crl"]
                await self._voke.register_mtls(plant_id, hmac_key=key, ca_pem=held["ca.crt"], crl_pem=crl)
            elif method == "JWT":
                der = held["jwt-public.der"]
                await self._voke.register_jwt(plant_id, hmac_key=key, public_key_der=der)
            else:
                self._voke.rotate_hmac(plant_id, key)
            self._registered[namespace, name] = key
            self._tell(name, "registered at Voke")

    async def _give_password(self, namespace: str, name: str, plant: Json) -> None:
        """Voke makes passwords; the Plant says in which Secret it wants one."""
        if (namespace, name) in self._passwords:
            return
        unknown = secrets.token_hex(32)  # until its HMAC key is there
        login = await self._voke.register_password(plant["spec"]["plantId"], hmac_key=unknown)
        wanted = plant["spec"]["credentials"]["password"]["secretRef"]["name"]
        document = secret_document(
            wanted, {"username": login.username, "password": login.password, "clientId": login.client_id}
        )
        document["metadata"]["namespace"] = namespace
        with contextlib.suppress(AlreadyExistsError):
            await self._admin.create(SECRETS, document)
        self._passwords.add((namespace, name))

    async def _held(self, namespace: str, name: str) -> dict[str, bytes]:
        return dict(from_document(await self._admin.get(SECRETS, namespace, name)).data)
