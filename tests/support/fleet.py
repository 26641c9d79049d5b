"""A fleet of plants as a bundle that somebody edits, and a gateway on the virtual clock that follows it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from tests.support.simulated_plc import SimulatedPlcs, by_endpoint
from tests.support.simulated_voke import SimulatedSession, SimulatedVoke
from tests.support.virtual_time import VirtualTimeLoop
from voke_api.bundle import BundlePlant, pack
from voke_api.resolved import PlantCredentials
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_gateway.outbox.memory import MemoryStore
from voke_gateway.outbox.store import Quota
from voke_gateway.runtime.bundle_reader import BundleReader
from voke_gateway.runtime.gateway import Gateway

Json = dict[str, Any]

POOL = GatewayPool.model_validate(
    {
        "metadata": {"name": "default"},
        "spec": {"voke": {"host": "127.0.0.1", "ports": {"mtls": 1, "jwt": 1, "password": 1}}},
    }
)
"""A Voke at which nobody listens, unless a connector in memory stands for it."""


class SessionKeysVoke(SimulatedVoke):
    """A Voke that was told each new HMAC key the moment its gateway logged in with it."""

    def arrive(self, session: SimulatedSession, topic: str, payload: bytes, *, retain: bool) -> int | None:
        self.keys[topic.split("/")[1]] = session.login.credentials.hmac_key
        return super().arrive(session, topic, payload, retain=retain)

    def forget(self) -> None:
        """Forget what arrived."""
        for kept in (self.received, self.logins, self.nonces, self.evictions):
            kept.clear()


@dataclass
class Entry:
    """One plant of the bundle."""

    spec: Json
    hmac_key: bytes
    password: str = "planted"

    @property
    def endpoints(self) -> set[str]:
        return {
            f"{c['modbusTcp']['host']}:{c['modbusTcp'].get('port', 502)}" for c in self.spec["connections"]
        }


def point(name: str, address: int, **more: Any) -> Json:
    return {"field": name, "table": "input", "address": address, "type": "uint16", **more}


def entry(name: str, *hosts: str, interval: str = "1s", devices: int = 1, **spec: Any) -> Entry:
    """A plant with a connection per host and so many batteries on each."""
    plant_id = str(uuid.UUID(int=Random(name).getrandbits(128), version=4))
    setpoint = point("setpointW", 40, table="holding", writable={"min": 0, "max": 100}, publish=False)
    return Entry(
        {
            "plantId": plant_id,
            "auth": {"method": "PASSWORD"},
            "credentials": {"password": {"secretRef": {"name": "keys"}}},
            "telemetry": {"interval": interval},
            "connections": [
                {"name": f"plc{n}", "modbusTcp": {"host": host}} for n, host in enumerate(hosts, start=1)
            ],
            "devices": [
                {
                    "externalId": f"D{n}{k}",
                    "type": "BATTERY",
                    "connection": f"plc{n}",
                    "unitId": k,
                    "points": [point("a", 0), point("b", 1), setpoint],
                }
                for n, _ in enumerate(hosts, start=1)
                for k in range(1, devices + 1)
            ],
            "commands": {"SET": {"writes": [{"device": "D11", "field": "setpointW", "parameter": "w"}]}},
            **spec,
        },
        hmac_key=Random(name).randbytes(32),
    )


@dataclass
class Fleet:
    """What the bundle says. Edit ``plants``; :meth:`files` writes it down."""

    plants: dict[str, Entry] = field(default_factory=dict)
    profiles: dict[str, Json] = field(default_factory=dict)
    generation: int = 0
    _packed: dict[str, tuple[Entry, BundlePlant]] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """The bundle as its files, of the next generation."""
        self.generation += 1
        profiles = {
            name: DeviceProfile.model_validate({"metadata": {"name": name}, "spec": spec})
            for name, spec in self.profiles.items()
        }
        return pack([self._pack(name) for name in self.plants], profiles, generation=self.generation)

    def forget_removed(self) -> None:
        """Keep no memory of plants that are not there any more."""
        self._packed = {name: packed for name, packed in self._packed.items() if name in self.plants}

    def _pack(self, name: str) -> BundlePlant:
        now = self.plants[name]
        before = self._packed.get(name)
        if before is None or before[0] != now:
            document = {
                "apiVersion": "voke.lovinka.com/v1alpha1",
                "kind": "Plant",
                "metadata": {"name": name},
                "spec": now.spec,
            }
            credentials = PlantCredentials(
                client_id=now.spec["plantId"],
                username=now.spec["plantId"],
                hmac_key=now.hmac_key,
                password=now.password,
            )
            plant = Plant.model_validate_json(json.dumps(document), strict=True)
            packed = BundlePlant(plant=plant, pool=POOL, credentials=credentials)
            before = self._packed[name] = (deepcopy(now), packed)
        return before[1]


class Follower:
    """A gateway that follows a fleet, with PLCs by endpoint and a Voke in memory."""

    def __init__(self, seed: int = 1) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.loop = loop
        self.plcs = SimulatedPlcs(by_endpoint)
        self.voke = SessionKeysVoke(keys={})
        self.store = MemoryStore(Quota(), loop.wall_clock)
        nonces = count(1)
        self.gateway = Gateway(
            "test",
            drivers=self.plcs.drivers,
            connector=self.voke,
            store=self.store,
            wall_clock=loop.wall_clock,
            random=Random(seed),
            nonce=lambda: f"{next(nonces):016x}",
            per_connection_metrics=True,
        )
        self.gateway.start()
        self.reader = BundleReader()

    def apply(self, files: Mapping[str, bytes]) -> None:
        """Read a bundle and let the gateway follow it."""
        steps = self.reader.read(files)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                self.gateway.apply(done.value)
                return

    def live(self) -> dict[str, int]:
        """PLCs that are connected, with the number of their connections."""
        counts = {name: plc.opened - plc.closed for name, plc in self.plcs.plcs.items()}
        return {name: number for name, number in counts.items() if number}

    def metric(self, name: str) -> dict[str, float]:
        """Samples of a metric by their labels."""
        text = self.gateway.routes()["/metrics"]().body.decode()
        found = {}
        for line in text.splitlines():
            if line.startswith((name + " ", name + "{")):
                labels, value = line[len(name) :].rsplit(" ", 1)
                found[labels] = float(value)
        return found
