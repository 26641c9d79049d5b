"""Whatever is killed and when: every Plant keeps the keys that it had first, and is listed once, with them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.cluster import faulty_api
from tests.cluster.faulty_api import FaultyApi
from tests.cluster.installation import Installation
from tests.cluster.operator.chronicle import Chronicle, look
from tests.cluster.operator.nursery import Forked, Nursery
from tests.cluster.operator.script import Script
from voke_operator.kube.errors import KubeError
from voke_operator.kube.resources import LEASES, POOLS
from voke_operator.names import LEASE

LEASE_SECONDS: Final = 1.5
_NOT_ITS_WORK: Final = {"leases", "events", "selfsubjectaccessreviews"}
_WRITES: Final = {"create", "update", "patch", "delete"}
_SETTLES_WITHIN: Final = 60.0
_MOST_WRITES: Final = 12
_STOPPED_EVERY: Final = 12
"""So many are killed for each that is stopped past its Lease and goes on."""


class Reign:
    """Two operators, of which one leads; whatever ends is started again."""

    def __init__(
        self, nursery: Nursery, installation: Installation, faulty: FaultyApi, chance: random.Random
    ) -> None:
        self._nursery = nursery
        self._installation = installation
        self._faulty = faulty
        self._chance = chance
        kubeconfig = faulty.for_user_of(installation.kubeconfig)
        self._arguments = (
            *("--namespace", installation.own, "--defaults", str(installation.defaults)),
            *("--http", "127.0.0.1:0"),
            *("--kubeconfig", str(kubeconfig), "--lease-seconds", str(LEASE_SECONDS)),
            *(part for each in installation.watch for part in ("--watch", each)),
        )
        self.alive: list[Forked] = []
        self.kills: Counter[str] = Counter()

    async def keep_two(self) -> None:
        for each in list(self.alive):
            if await each.ended():
                self.alive.remove(each)
        while len(self.alive) < 2:
            self.alive.append(await self._nursery.fork(*self._arguments))

    async def leader(self) -> Forked:
        async with asyncio.timeout(60):
            while True:
                await self.keep_two()
                leading = [each for each in self.alive if each.leads]
                if len(leading) == 1:
                    return leading[0]
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill the leader at a point taken by chance, and now and then the other one with it."""
        leader = await self.leader()
        where = self._chance.choice(["before a write", "after a write", "at any time"])
        if where == "at any time":
            await asyncio.sleep(self._chance.uniform(0, 1))
            leader.signal(signal.SIGKILL)
        else:
            where = await self._kill_at_write(leader, where, self._chance.randint(1, _MOST_WRITES))
        if self._chance.random() < 0.1:
            where = "both"
            for each in self.alive:
                each.signal(signal.SIGKILL)
        self.kills[where] += 1
        await leader.wait()
        if self._chance.random() < 0.8:  # or most of the time would be spent waiting for its end
            await self._take_lease_away()

    async def stop_and_go_on(self) -> None:
        """Stop the leader past its Lease, and let it go on while another one leads."""
        leader = await self.leader()
        await asyncio.sleep(self._chance.uniform(0, 1))
        leader.signal(signal.SIGSTOP)
        self.alive.remove(leader)
        await self.leader()
        leader.signal(signal.SIGCONT)
        assert await leader.wait() == 0, leader.text
        self.kills["stopped"] += 1

    async def end(self) -> None:
        for each in self.alive:
            each.signal(signal.SIGTERM)
        assert [await each.wait() for each in self.alive] == [0] * len(self.alive)
        self.alive.clear()

    async def _kill_at_write(self, leader: Forked, where: str, number: int) -> str:
        left, over = number, asyncio.Event()

        def met(verb: str, resource: str) -> bool:
            nonlocal left
            if verb not in _WRITES or resource in _NOT_ITS_WORK or over.is_set():
                return True
            left -= 1
            if left == 0:
                leader.signal(signal.SIGKILL)
                over.set()
                return False
            return True

        if where == "before a write":
            self._faulty.before = met
        else:
            self._faulty.after = met
        try:
            async with asyncio.timeout(2):
                await over.wait()
        except TimeoutError:
            leader.signal(signal.SIGKILL)
            where = "while there was little to do"
        finally:
            self._faulty.before, self._faulty.after = (lambda *_: True), (lambda *_: None)
        return where

    async def _take_lease_away(self) -> None:
        admin, own = self._installation.admin, self._installation.own
        with contextlib.suppress(KubeError):
            lease = await admin.get(LEASES, own, LEASE)
            await admin.delete(
                LEASES,
                own,
                LEASE,
                uid=lease["metadata"]["uid"],
                resource_version=lease["metadata"]["resourceVersion"],
            )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.slow)])
async def test_keys_and_bundles_are_right_whenever_the_operator_is_killed(
    installation: Installation, tmp_path: Path, kills: int
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    began = time.monotonic()
    admin, namespace = installation.admin, installation.namespace
    await admin.create(
        POOLS,
        {
            "apiVersion": POOLS.api_version,
            "kind": POOLS.kind,
            "metadata": {"namespace": namespace, "name": "default"},
            "spec": {"shard": {"maxPlants": 4}},
        },
    )
    async with (
        faulty_api.running(installation.plane, tmp_path) as faulty,
        Nursery.running(tmp_path) as nursery,
        Chronicle.following(admin, namespace) as chronicle,
    ):
        reign = Reign(nursery, installation, faulty, random.Random(seed))
        script = Script(admin, namespace, random.Random(seed + 1))
        people = asyncio.create_task(script.run())
        for number in range(1, kills + 1):
            assert not people.done(), people
            await (reign.kill() if number % _STOPPED_EVERY else reign.stop_and_go_on())
        people.cancel()
        await asyncio.gather(people, return_exceptions=True)
        killed = time.monotonic()
        await reign.leader()
        wrong = ["not looked yet"]
        try:
            async with asyncio.timeout(_SETTLES_WITHIN):
                while wrong:
                    await reign.keep_two()
                    wrong = list((await look(admin, namespace)).wrong())
                    await asyncio.sleep(0.2)
        except TimeoutError:
            print((await reign.leader()).text[-6000:])
        print(
            f"{sum(reign.kills.values())} kills {dict(reign.kills)} in {killed - began:.0f} s, settled after "
            f"{time.monotonic() - killed:.1f} s; {dict(script.done)}"
        )
        assert not wrong
        await asyncio.sleep(1)  # what the chronicle has yet to hear
        await reign.end()
    assert not chronicle.unnamed
    for (uid, name), ids in chronicle.history.items():
        again = [key for key in ids[:-1] if key not in script.replaced]
        assert not again, f"{name} of {chronicle.plants[uid]} was {again}, for which nobody asked: {ids}"
        assert len(set(ids)) == len(ids), f"{name} of {chronicle.plants[uid]} went back: {ids}"
    said = "\n".join(each.text for each in nursery.born)
    assert not [each for each in chronicle.material if each.decode() in said]
    assert "Traceback" not in said, said[said.index("Traceback") - 2000 :][:6000]
