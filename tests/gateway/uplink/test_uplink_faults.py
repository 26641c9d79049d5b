"""Whatever happens between gateway and Voke: nothing is lost, nothing overtakes, nothing is signed twice alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.support.simulated_voke import SimulatedVoke
from tests.support.uplinks import Rig, make_credentials, simulated_voke
from tests.support.virtual_time import run
from voke_gateway.outbox.store import Entry, Kind, Quota
from voke_gateway.protocol.canonical import parse
from voke_gateway.uplink.session import CloseReason

CODES = (0x00, 0x10, 0x80, 0x87, 0x97, 0x99, None)
TOO_LARGE = "x" * 600


@dataclass
class World:
    """One run: an Uplink, its Voke, and what was put."""

    voke: SimulatedVoke = field(default_factory=lambda: simulated_voke(size_limit=500))
    entries: list[Entry] = field(default_factory=list)
    background: list[asyncio.Task[None]] = field(default_factory=list)
    rig: Rig = field(init=False)
    odds: Random = field(default_factory=lambda: Random(0))
    codes: tuple[int | None, ...] = (0,)
    condemned: set[bytes] = field(default_factory=set)
    """Contents that were called invalid."""

    def __post_init__(self) -> None:
        self.rig = Rig(self.voke, quota=Quota(max_bytes=20_000, max_age=3600.0))
        self.voke.answer = self.answer

    def answer(self, _suffix: str, document: dict[str, Any]) -> int | None:
        code = self.odds.choice(self.codes)
        if code == 0x99:
            self.condemned.add(identity(document))
        return code


def identity(document: dict[str, Any]) -> bytes:
    return repr([document.get(key) for key in ("no", "cmdId", "alarmId", "info")]).encode()


async def put(world: World, kind: Kind, count: int) -> None:
    rig = world.rig
    puts: dict[Kind, Callable[[], Entry]] = {
        Kind.TELEMETRY: rig.snapshot,
        Kind.ACK: rig.ack,
        Kind.ALARM: rig.alarm,
        Kind.INFO: rig.info,
    }
    world.entries += [puts[kind]() for _ in range(count)]


async def put_too_large(world: World) -> None:
    world.entries.append(world.rig.snapshot(text=TOO_LARGE))


async def wait(_: World, seconds: float) -> None:
    await asyncio.sleep(seconds)


async def cut(world: World, reason: CloseReason) -> None:
    world.voke.cut(reason)


async def cut_in_flight(world: World, kind: Kind, seconds: float) -> None:
    """Messages have arrived or not, and their PUBACKs are lost."""
    if not world.rig.stats.connected:
        await asyncio.sleep(0.1)
    await put(world, kind, 3)
    await asyncio.sleep(seconds)
    world.voke.cut()


async def break_in_flight(world: World, seconds: float) -> None:
    """One of several messages in flight is too large."""
    if not world.rig.stats.connected:
        await asyncio.sleep(0.1)
    for kind in Kind:
        await put(world, kind, 2)
    await put_too_large(world)
    await asyncio.sleep(seconds)


async def offline(world: World) -> None:
    world.voke.go_offline()


async def online(world: World) -> None:
    world.voke.online = True


async def answer_with(world: World, codes: list[int | None]) -> None:
    world.codes = tuple(codes)


async def slow_down(world: World, latency: float) -> None:
    world.voke.latency = latency


async def narrow(world: World, receive_maximum: int) -> None:
    world.voke.receive_maximum = receive_maximum
    world.voke.cut(CloseReason.SERVER)  # it is told in CONNACK, so it holds for the next session


async def renew(world: World) -> None:
    rig = world.rig
    world.background.append(asyncio.create_task(rig.uplink.renew(make_credentials(rig.plant))))


async def refuse(world: World) -> None:
    world.voke.refuse_logins(0x86, "bad user name or password")


async def let_in(world: World) -> None:
    world.voke.refusal = None


Action = tuple[Callable[..., Awaitable[None]], tuple[Any, ...]]

_ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just(put), st.tuples(st.sampled_from(Kind), st.integers(1, 30))),
    st.tuples(st.just(put_too_large), st.just(())),
    st.tuples(st.just(wait), st.tuples(st.sampled_from((0.0, 0.005, 0.012, 0.3, 3.0, 20.0, 200.0)))),
    st.tuples(
        st.just(cut),
        st.tuples(st.sampled_from((CloseReason.NETWORK, CloseReason.SERVER, CloseReason.TAKEN_OVER))),
    ),
    st.tuples(
        st.just(cut_in_flight), st.tuples(st.sampled_from(Kind), st.sampled_from((0.0, 0.008, 0.012, 0.025)))
    ),
    st.tuples(st.just(break_in_flight), st.tuples(st.sampled_from((0.0, 0.015, 5.0)))),
    st.tuples(st.just(answer_with), st.tuples(st.lists(st.sampled_from(CODES), min_size=1, max_size=4))),
    st.tuples(st.just(slow_down), st.tuples(st.sampled_from((0.001, 0.02, 1.0, 11.0)))),
    st.tuples(st.just(narrow), st.tuples(st.integers(1, 30))),
    st.sampled_from([(f, ()) for f in (offline, online, renew, refuse, let_in)]),
)


async def play(script: list[Action]) -> World:
    world = World()
    async with world.rig.running():
        for action, arguments in script:
            await action(world, *arguments)
        world.voke.online, world.voke.refusal, world.voke.latency = True, None, 0.02
        world.codes = (0,)
        await world.rig.empty(within=7 * 86_400)
        await asyncio.gather(*world.background)
        await asyncio.sleep(60)
        assert world.rig.stats.in_flight == 0
    return world


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_ACTIONS, min_size=5, max_size=40))
def test_nothing_is_lost_overtaken_or_signed_alike(script: list[Action]) -> None:
    world = run(play(script))
    voke, state = world.voke, world.rig.store.state(world.rig.plant.name)

    assert voke.faults == []  # nonces, ts, signatures, Receive Maximum
    assert voke.most_in_flight <= 20

    arrived = {identity(m.document) for m in voke.received if m.code == 0}
    put_by_us = {identity(_parsed(entry)) for entry in world.entries}
    delivered = sum(world.rig.stats.delivered.values())
    assert arrived <= put_by_us
    assert len(put_by_us - arrived) <= state.dropped + state.quarantined
    assert delivered + state.dropped + state.quarantined >= len(world.entries)
    too_large = {identity(_parsed(e)) for e in world.entries if TOO_LARGE.encode() in e.content}
    assert state.quarantined <= len(too_large | world.condemned)

    for suffix, key in (("ack", "cmdId"), ("alarm", "alarmId")):
        order = [int(m.document[key][1:]) for m in voke.received if m.suffix == suffix]
        assert all(a <= b for a, b in pairwise(order)), f"{suffix}: {order}"

    event(f"sessions: {min(voke.opened, 10)}")
    event(f"repeated: {len(voke.received) > len(put_by_us)}")
    event(f"quarantined: {min(state.quarantined, 3)}")


def _parsed(entry: Entry) -> dict[str, Any]:
    document = parse(entry.content)
    assert isinstance(document, dict)
    return document
