"""Certificates that last for seconds: renewed, from another CA, from a CA that ends; the plant's polls go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from tests.cluster.control_plane import ControlPlane
from tests.cluster.installation import Json, secret_document, voke_documents
from tests.cluster.scene import Scene, scene
from tests.support.thread import meter
from voke_operator.credentials import material
from voke_operator.credentials.ids import certificate_id
from voke_sim.plc.server import ModbusServer
from voke_sim.voke import LocalVoke

LIFE: Final = "24"
"""Seconds; so a certificate is renewed after 14 to 16."""
WITHIN: Final = 90.0
NEIGHBOUR_KEY: Final = "0123456789abcdef0123456789abcdef"


def authority(name: str, *, ends_in: timedelta = material.CA_LIFETIME) -> material.Material:
    """A CA that ends then."""
    return material.new_fleet_ca(datetime.now(UTC) + ends_in - material.CA_LIFETIME, name)


def polls(voke: LocalVoke, plant_id: str) -> list[int]:
    """Seconds from the second poll to each later one, of all that was verified; the first is out of phase."""
    reads = sorted(
        datetime.fromisoformat(each.document["timestamp"]).timestamp()
        for each in voke.accepted
        if each.kind == "telemetry" and each.plant_id == plant_id
    )
    return [round(each - reads[1]) for each in reads[1:]]


@dataclass
class Town:
    """Two plants on one gateway: one with a generated certificate, and a neighbour that brings its own."""

    scene: Scene
    plcs: tuple[ModbusServer, ModbusServer]
    plant_id: str
    neighbour_id: str

    async def trust(self, ca: material.Material) -> None:
        """As Voke's administrator."""
        keys = await self.scene.here.until_keys("site")
        await self.scene.voke.register_mtls(
            self.plant_id,
            hmac_key=keys["hmac.key"],
            ca_pem=ca[material.ISSUER],
            crl_pem=material.revocation_list(ca, datetime.now(UTC)),
        )

    async def in_force(self) -> Json:
        """What the status says of the certificate."""
        plant = await self.scene.here.plant("site")
        found: Json = next(each for each in plant["status"]["credentials"] if each["name"] == "mtls")
        return found

    async def leaf(self) -> x509.Certificate:
        """The certificate in its Secret."""
        return x509.load_pem_x509_certificate((await self.scene.here.keys("site"))["tls.crt"])

    def shown(self) -> list[int]:
        """Serial numbers of the certificates with which the plant has logged in."""
        return self.scene.voke.broker.certificates(self.plant_id)

    async def until_shown(self, count: int) -> None:
        """Wait until it has logged in with so many."""
        await self.scene.voke.wait_for(lambda: len(set(self.shown())) >= count, within=WITHIN)

    async def until_issued_by(self, ca: material.Material) -> None:
        """Wait until the plant has logged in with a certificate of that CA."""

        async def holds() -> bool:
            leaf = await self.leaf()
            of_it = (await self.scene.here.keys("site"))["ca.crt"] == ca[material.ISSUER]
            return of_it and leaf.serial_number in self.shown()

        await self.scene.until(holds, within=WITHIN)

    async def nothing_was_missed(self) -> None:
        """Each tick of both plants was verified once, and no PLC was let go of."""
        await self.scene.until_more_snapshots(self.plant_id)
        for plant_id in (self.plant_id, self.neighbour_id):
            seen = polls(self.scene.voke, plant_id)
            assert seen == list(range(len(seen)))
        assert [(plc.stats.connections, plc.stats.connections_peak) for plc in self.plcs] == [(1, 1), (1, 1)]
        assert not self.scene.voke.refused
        assert len(self.scene.voke.broker.certificates(self.neighbour_id)) == 1


@asynccontextmanager
async def town(plane: ControlPlane, directory: Path, ca: material.Material) -> AsyncIterator[Town]:
    """An operator that was given ``ca``, and both plants, Ready."""
    program = ("-m", "tests.cluster.short_lived", LIFE)
    async with (
        scene(
            plane, directory, name="renewal", arguments=("--issuer-secret", "company-ca"), program=program
        ) as one,
        ModbusServer({1: meter(1)}) as first,
        ModbusServer({1: meter(2)}) as second,
    ):
        await give(one, ca)
        own = {name: {"secretRef": {"name": "neighbour"}} for name in ("hmac", "mtls")}
        site = await one.plant("site", servers={"plc1": first})
        neighbour = await one.plant("neighbour", servers={"plc1": second}, credentials=own)
        ids = site["spec"]["plantId"], neighbour["spec"]["plantId"]
        certificate, key = await one.voke.issue_mtls(ids[1], hmac_key=NEIGHBOUR_KEY)
        files = {"hmac.key": NEIGHBOUR_KEY, "tls.crt": certificate.decode(), "tls.key": key.decode()}
        await one.apply(*voke_documents(one.voke), secret_document("neighbour", files), site, neighbour)
        here = Town(one, (first, second), *ids)
        await here.trust(ca)
        await asyncio.gather(one.ready("site"), one.ready("neighbour"))
        yield here


async def give(one: Scene, ca: material.Material) -> None:
    """The operator issues from that CA."""
    files = {name: content.decode() for name, content in ca.items()}
    document = secret_document("company-ca", files, allowed=False)
    await asyncio.to_thread(one.here.plane.apply, document, namespace=one.here.own)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("crds")
async def test_a_certificate_is_renewed_by_its_ca_and_by_the_next_without_a_missed_poll(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    first, second = authority("first"), authority("second")
    last = authority("last")
    async with town(control_plane, tmp_path, first) as here:
        one = here.scene
        hmac = (await one.here.keys("site"))["hmac.key"]

        await here.until_shown(3)
        leaf = await here.leaf()
        assert here.shown()[-1] == leaf.serial_number, "the broker has seen the newest"
        in_force = await here.in_force()
        assert in_force["keyId"] == certificate_id(leaf)
        assert datetime.fromisoformat(in_force["notAfter"]) == leaf.not_valid_after_utc
        await here.nothing_was_missed()

        async def counts() -> bool:
            found = await one.operator.metrics()
            rotations = found["credential_rotations_total"].get(("mtls", "ok"), 0.0)
            return min(rotations, found["rotation_duration_seconds_count"].get(("mtls",), 0.0)) >= 2

        await one.until(counts, within=WITHIN)
        counted = await one.operator.metrics()
        assert ("mtls", "error") not in counted["credential_rotations_total"]

        await here.trust(second)
        await give(one, second)
        await here.until_issued_by(second)
        await here.nothing_was_missed()

        ending = authority("ending", ends_in=timedelta(seconds=60))
        await here.trust(ending)
        await give(one, ending)
        await here.until_issued_by(ending)
        message = await one.said("site", "IssuerUnusable")
        assert "the issuing CA " in message
        assert "cannot be used: it ended on " in message or "cannot be used: it ends on " in message
        assert message.endswith("give the operator its successor")
        counted = await one.operator.metrics()
        assert counted["credential_rotations_total"]["mtls", "error"] >= 1
        await here.nothing_was_missed()

        await here.trust(last)
        await give(one, last)
        await here.until_issued_by(last)
        await one.ready("site")
        await here.nothing_was_missed()
        assert (await one.here.keys("site"))["hmac.key"] == hmac
