"""A thousand random edits of a bundle under load: who is not edited notices nothing, and nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from tests.support.fleet import Entry, Fleet, Follower, entry, point
from tests.support.virtual_time import run

STEADY = {"steady-0": ("10.9.0.1", "10.9.0.2"), "steady-1": ("10.9.1.1",), "steady-2": ("10.9.2.1",)}
NAMES = [f"edited-{n}" for n in range(6)]
HOSTS = [f"10.1.0.{n}" for n in range(12)]
PROFILE = {"type": "METER", "points": [{"field": "p", "table": "input", "address": 9, "type": "uint16"}]}
ALARM = {"name": "hot", "device": "D11", "field": "a", "code": 7, "severity": "ERROR"}
SECONDS = 1.5
"""Between two edits, on average."""


def steady() -> dict[str, Entry]:
    return {name: entry(name, *hosts, interval="1s", devices=2) for name, hosts in STEADY.items()}


class Editor:
    """Edits a fleet at random. PLCs may be wanted twice: then the gateway has to refuse somebody."""

    def __init__(self, fleet: Fleet, random: Random) -> None:
        self.fleet = fleet
        self.random = random
        self.done: list[str] = []

    def edit(self) -> None:
        """One edit; of a plant that is not there its addition."""
        name = self.random.choice(NAMES)
        plants = self.fleet.plants
        if name not in plants:
            hosts = self.random.sample(HOSTS, self.random.randint(1, 3))
            plants[name] = entry(name, *hosts, interval=self.random.choice(["500ms", "1s", "2s", "7s"]))
            self.done.append(f"add {name} {hosts}")
            return
        edits: list[Callable[[Entry], None]] = [
            self.points, self.points, self.device, self.host, self.host, self.timeout, self.password,
            self.hmac_key, self.interval, self.alarm, self.suspend, self.broken, self.command, self.nothing,
            self.profile, self.plant_id, self.max_age, self.remove, self.exchange,
        ]  # fmt: skip
        edit = self.random.choice(edits)
        self.done.append(f"{edit.__name__} {name}")
        self.name = name
        edit(plants[name])

    def points(self, plant: Entry) -> None:
        points = self.random.choice(plant.spec["devices"]).get("points")
        if points:
            points[0]["scale"] = self.random.randint(2, 9)

    def device(self, plant: Entry) -> None:
        devices = plant.spec["devices"]
        if len(devices) > 2 and self.random.random() < 0.6:
            devices.pop()
        else:
            points = [point("a", self.random.randint(0, 9))]
            taken = len(devices) + self.random.randint(100, 900)
            devices.append(
                {"externalId": f"X{taken}", "type": "METER", "connection": "plc1", "points": points}
            )

    def host(self, plant: Entry) -> None:
        self.random.choice(plant.spec["connections"])["modbusTcp"]["host"] = self.random.choice(HOSTS)

    def timeout(self, plant: Entry) -> None:
        tcp = self.random.choice(plant.spec["connections"])["modbusTcp"]
        tcp["timeout"] = f"{self.random.randint(1, 9)}s"

    def password(self, plant: Entry) -> None:
        plant.password = f"p{self.random.random()}"

    def hmac_key(self, plant: Entry) -> None:
        plant.hmac_key = self.random.randbytes(32)

    def interval(self, plant: Entry) -> None:
        plant.spec["telemetry"]["interval"] = self.random.choice(["500ms", "1s", "3s", "10s"])

    def alarm(self, plant: Entry) -> None:
        when = {"gt": self.random.randint(1, 30)}
        plant.spec["alarms"] = [] if plant.spec.get("alarms") else [{**ALARM, "when": when}]

    def suspend(self, plant: Entry) -> None:
        plant.spec["suspend"] = not plant.spec.get("suspend", False)

    def broken(self, plant: Entry) -> None:
        """A reference into nothing, which only resolving finds; the next time it is mended."""
        broken = any(a["name"] == "broken" for a in plant.spec.get("alarms", ()))
        bad = {**ALARM, "name": "broken", "field": "nonsense", "when": {"gt": 1}}
        plant.spec["alarms"] = [] if broken else [bad]

    def command(self, plant: Entry) -> None:
        plant.spec["commands"]["SET"]["writes"][0]["max"] = self.random.randint(1, 100)

    def nothing(self, plant: Entry) -> None:
        """The same again, as a bundle of another generation."""

    def profile(self, plant: Entry) -> None:
        """The profile that some of them share."""
        self.fleet.profiles["meter"] = {**PROFILE, "limits": {"maxRegisters": self.random.randint(10, 90)}}
        if not any("profile" in device for device in plant.spec["devices"]):
            plant.spec["devices"].append(
                {"externalId": "PM", "type": "METER", "connection": "plc1", "unitId": 9, "profile": "meter"}
            )

    def plant_id(self, plant: Entry) -> None:
        plant.spec["plantId"] = f"00000000-0000-4000-8000-{self.random.getrandbits(48):012x}"

    def max_age(self, plant: Entry) -> None:
        plant.spec["commandMaxAge"] = f"{self.random.randint(1, 9)}m"

    def remove(self, plant: Entry) -> None:
        del self.fleet.plants[self.name]

    def exchange(self, plant: Entry) -> None:
        """Two plants swap their first PLCs."""
        other = self.fleet.plants.get(self.random.choice(NAMES), plant)
        mine, theirs = (each.spec["connections"][0]["modbusTcp"] for each in (plant, other))
        mine["host"], theirs["host"] = theirs["host"], mine["host"]

    def mend(self) -> None:
        """Leave nothing that must be refused: what then runs does not depend on how it came about."""
        taken: set[str] = set()
        for name, plant in sorted(self.fleet.plants.items()):
            if not name.startswith("steady"):
                plant.spec["alarms"] = [a for a in plant.spec.get("alarms", ()) if a["name"] != "broken"]
                if len(plant.endpoints) < len(plant.spec["connections"]) or plant.endpoints & taken:
                    del self.fleet.plants[name]
                    continue
            taken |= plant.endpoints


def disturb(follower: Follower, random: Random) -> None:
    """Load: latency everywhere, and now and then a PLC that does not answer."""
    for host in HOSTS:
        plc = follower.plcs[f"{host}:502"]
        plc.latency, plc.jitter = 0.01, 0.1
        plc.silent = random.random() < 0.15
        plc.timeout = 1.0
    for hosts in STEADY.values():
        for host in hosts:
            follower.plcs[f"{host}:502"].latency = 0.02


def picture(follower: Follower) -> list[dict[str, Any]]:
    """What a gateway is, without when and how often."""
    found = []
    for plant in follower.gateway.status().plants:
        document = plant.model_dump(mode="json")
        for key in ("lastSnapshotAt", "lastDeliveredAt", "outbox", "commands"):
            document.pop(key)
        document["session"].pop("since")
        for part in (*document["connections"], *document["devices"]):
            for key in ("lastSuccessAt", "lastReadAt", "lastError"):
                part.pop(key, None)
        found.append(document)
    return found


def last_contents(follower: Follower) -> dict[str, list[tuple[str, list[str]]]]:
    """Devices and fields of the newest message of every plant that is connected."""
    newest = {}
    for message in follower.voke.received:
        if message.suffix == "telemetry" and message.plant_id in follower.voke.sessions:
            newest[message.plant_id] = message.document["devices"]
    return {
        plant: [(d["externalId"], sorted(d["values"])) for d in devices] for plant, devices in newest.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_whoever_is_not_edited_misses_no_poll_and_the_end_is_that_of_a_fresh_start(seed: int) -> None:
    edits = 250

    async def main() -> None:
        random = Random(seed)
        fleet = Fleet(steady(), {"meter": PROFILE})
        follower = Follower(seed)
        editor = Editor(fleet, random)
        follower.apply(fleet.files())
        published = 0.0
        for _ in range(edits):
            editor.edit()
            disturb(follower, random)
            follower.apply(fleet.files())
            await asyncio.sleep(random.choice([0.0, 0.01, 0.3, 1.0, 2 * SECONDS]))
            assert_nothing_doubled(follower, editor)
            counted = sum(follower.metric("voke_gateway_polls_total").values())
            assert counted >= published, "a counter of the process went back"
            published = counted
        editor.mend()
        for plc in follower.plcs.plcs.values():
            plc.silent, plc.latency, plc.jitter = False, 0.001, 0.0
        files = fleet.files()
        follower.apply(files)
        await asyncio.sleep(90)
        await follower.gateway.settled()

        fresh = Follower()
        fresh.apply(files)
        await asyncio.sleep(30)
        assert picture(follower) == picture(fresh), editor.done[-20:]
        assert last_contents(follower) == last_contents(fresh)
        active = [plant for plant in fleet.plants.values() if not plant.spec.get("suspend")]
        wanted = {endpoint: 1 for plant in active for endpoint in plant.endpoints}
        assert follower.live() == wanted
        assert set(follower.voke.sessions) == {plant.spec["plantId"] for plant in active}
        assert follower.voke.faults == []
        assert follower.voke.evictions == []
        assert_steady_ones_missed_nothing(follower, fleet)

        for each in (follower, fresh):
            await each.gateway.stop(8.0)
            assert each.live() == {}
        assert len(asyncio.all_tasks()) == 1

    began = time.perf_counter()
    with structlog.testing.capture_logs() as logs:
        run(main())
    errors = {line["event"] for line in logs if line["log_level"] == "error"}
    assert errors <= {"plant is not as its bundle says"}
    changed = sum(line["event"] == "plant changed" for line in logs)
    assert changed > edits / 5
    print(f"\n{edits} edits in {time.perf_counter() - began:.1f} s")


def assert_nothing_doubled(follower: Follower, editor: Editor) -> None:
    assert all(plc.most_open <= 1 for plc in follower.plcs.plcs.values()), editor.done[-10:]


def assert_steady_ones_missed_nothing(follower: Follower, fleet: Fleet) -> None:
    for name, hosts in STEADY.items():
        for host in hosts:
            times = [at for at, _ in follower.plcs[f"{host}:502"].passes][1:]
            assert len(times) > 100
            assert all(abs(b - a - 1.0) < 1e-6 for a, b in pairwise(times)), f"{name} missed a poll"
            assert follower.plcs[f"{host}:502"].opened == 1
        plant_id = fleet.plants[name].spec["plantId"]
        messages = [m for m in follower.voke.received if m.plant_id == plant_id]
        assert len(messages) >= len(times)
        assert len({m.session for m in messages}) == 1, "its session was never touched"


def reloaded(edits: int) -> tuple[list[int], list[int]]:
    """Objects alive, and bytes resident, after each quarter of so many edits."""
    objects, resident = [], []

    async def main() -> None:
        random = Random(7)
        fleet = Fleet(steady(), {"meter": PROFILE})
        follower = Follower()
        editor = Editor(fleet, random)
        for number in range(1, edits + 1):
            editor.edit()
            editor.done.clear()
            fleet.forget_removed()
            follower.apply(fleet.files())
            await asyncio.sleep(0.4)
            follower.voke.forget()
            for plc in follower.plcs.plcs.values():
                plc.passes.clear()
                plc.writes.clear()
            if number % (edits // 5) == 0:
                follower.apply(Fleet(steady(), generation=number).files())
                await asyncio.sleep(60)
                follower.voke.forget()
                gc.collect()
                objects.append(len(gc.get_objects()))
                resident.append(_resident())
        await follower.gateway.stop(8.0)

    run(main())
    return objects, resident


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_five_hundred_reloads_leave_nothing_behind() -> None:
    objects, resident = reloaded(500)
    print(f"\nobjects {objects}, resident MB {[size >> 20 for size in resident]}")
    assert max(objects[1:]) < 1.02 * objects[0] + 500


@pytest.mark.slow
def test_ten_thousand_reloads_leave_memory_flat() -> None:
    objects, resident = reloaded(10_000)
    print(f"\nobjects {objects}, resident MB {[size >> 20 for size in resident]}")
    assert max(objects[1:]) < 1.02 * objects[0] + 500
    assert max(resident[1:]) < 1.05 * resident[0] + 5_000_000
