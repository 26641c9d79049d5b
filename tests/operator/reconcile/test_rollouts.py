"""What an upgrade waits for, and what it says of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.site_facts import gateway, on_gateway
from voke_api.resources.common import API_VERSION
from voke_api.resources.pool import GatewayPoolSpec
from voke_api.status import GatewayStatus, SessionStatus
from voke_operator import names
from voke_operator.kube.objects import Objects, known_of
from voke_operator.kube.resources import PODS, POOLS, STATEFUL_SETS
from voke_operator.plan.objects import Defaults, shard_objects, template_hash
from voke_operator.reconcile.documents import Documents
from voke_operator.reconcile.fleet import Fleet, Name, Restart
from voke_operator.reconcile.rollouts import Rollouts, missing
from voke_operator.status.pods import Pod
from voke_operator.status.poll import FetchError, Gateways, Shard, View
from voke_operator.status.pools import sessions
from voke_operator.status.reports import gateway_report, plant_report

POOL = Name("energy", "default")
SHARDS = [Shard(*POOL, number) for number in range(3)]
OLD, NEW = Defaults(image="voke-gateway:1"), Defaults(image="voke-gateway:2")


def session(name: str, *, through: bool = True, reason: str = "") -> Any:
    status = on_gateway(session=SessionStatus(connected=through, reason=reason))
    return status.model_copy(update={"name": name})


def answer(*plants: Any, started_at: float = 1.0, bundle: int | None = 1) -> GatewayStatus:
    return gateway(bundle=bundle).model_copy(update={"plants": plants, "started_at": started_at})


def view(*plants: Any, **about: Any) -> View:
    reports = {each.name: plant_report(each) for each in plants}
    status = answer(*plants, **about)
    return View(gateway=gateway_report(status), plants=reports, sessions=sessions(reports.values()))


@dataclass
class World:
    """A pool of three gateways, each with a plant, run by an operator that wants a new image."""

    objects: Objects = field(default_factory=Objects)
    fleet: Fleet = field(default_factory=Fleet)
    answers: dict[str, GatewayStatus] = field(default_factory=dict)
    gateways: Gateways = field(init=False)
    rollouts: Rollouts = field(init=False)
    clock: float = 1000.0
    versions: int = 0

    def __post_init__(self) -> None:
        self.gateways = Gateways(
            fetch=self.fetch,
            locate=lambda shard: f"http://{shard.number}",
            changed=lambda _: None,
            wall_clock=lambda: self.clock,
            interval=3600,
        )
        documents = Documents(self.objects, defaults=NEW)
        self.rollouts = Rollouts(
            self.objects, documents, self.fleet, self.gateways, defaults=NEW, clock=lambda: self.clock
        )
        for shard in SHARDS:
            self.fleet.assign(Name(shard.namespace, f"plant{shard.number}"), shard, f"id-{shard.number}")
            self.applied(shard, OLD)
            self.pod(shard, OLD)
            self.gateways.watch(shard)

    async def fetch(self, url: str) -> bytes:
        found = self.answers.get(url.removeprefix("http://").removesuffix("/status"))
        if found is None:
            raise FetchError("connection refused")
        return found.model_dump_json(by_alias=True).encode()

    async def works(self, shard: Shard, *, started_at: float, through: bool = True) -> None:
        plant = session(f"plant{shard.number}", through=through)
        self.answers[str(shard.number)] = answer(plant, started_at=started_at)
        await self.gateways.ask(shard)

    def applied(self, shard: Shard, defaults: Defaults, *, by: str | None = names.FIELD_MANAGER) -> None:
        """Its StatefulSet is made for these; ``by`` None: by 0.1.0."""
        more = {} if by is None else {names.APPLIED_ANNOTATION: by}
        self._put(STATEFUL_SETS, str(shard.local), _template(shard, defaults), **more)

    def pod(self, shard: Shard, defaults: Defaults, *, ready: bool = True, problem: str = "") -> None:
        """Its pod is of that template."""
        self._put(PODS, f"{shard.local}-0", _template(shard, defaults))
        pod = Pod(version=str(self.versions), ready=ready, problem=problem, failing=bool(problem))
        self.fleet.shard(shard).pod = pod

    def restarts(self, shard: Shard, **pod: Any) -> None:
        """What was allowed is done, and Kubernetes has replaced the pod."""
        assert self.rollouts.may_restart(shard, _template(shard, NEW))
        self.applied(shard, NEW)
        self.pod(shard, NEW, **pod)

    def _put(self, resource: Any, name: str, template: str, **more: str) -> None:
        self.versions += 1
        metadata = {
            "namespace": POOL.namespace,
            "name": name,
            "uid": name,
            "resourceVersion": str(self.versions),
            "annotations": {names.TEMPLATE_HASH_ANNOTATION: template, **more},
        }
        self.objects.put(resource, known_of(resource, {"metadata": metadata}))

    @property
    def said(self) -> tuple[str, str]:
        cause = self.fleet.rollouts.get(POOL)
        return ("", "") if cause is None else (cause.reason, cause.message)


def _template(shard: Shard, defaults: Defaults) -> str:
    return template_hash(shard_objects(shard.local, shard.namespace, GatewayPoolSpec(), defaults)[-1])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    for shard in SHARDS:
        await world.works(shard, started_at=1.0)
    yield world
    await world.gateways.close()


async def test_gateways_restart_one_after_another_each_when_its_sessions_are_back(world: World) -> None:
    first, second, third = SHARDS
    assert world.rollouts.proceed(POOL) == [first]
    assert world.rollouts.proceed(POOL) == [], "it is allowed once"
    world.restarts(first)
    assert world.rollouts.proceed(POOL) == []
    assert world.said[0] == "RollingOut"
    assert "voke-gw-default-0 is not back: it has not answered yet" in world.said[1], (
        "the answer is an old one"
    )
    await world.works(first, started_at=2.0, through=False)
    assert world.rollouts.proceed(POOL) == []
    assert "sessions with Voke are missing, of plant0" in world.said[1]
    await world.works(first, started_at=2.0)
    assert world.rollouts.proceed(POOL) == [second]
    world.restarts(second)
    await world.works(second, started_at=2.0)
    assert world.rollouts.proceed(POOL) == [third]
    world.restarts(third)
    await world.works(third, started_at=2.0)
    assert world.rollouts.proceed(POOL) == []
    assert world.said == ("", "")
    assert all(world.fleet.shard(shard).restart is None for shard in SHARDS)


async def test_one_that_cannot_start_is_said_at_once_and_the_next_template_is_tried_on_it(
    world: World,
) -> None:
    first = SHARDS[0]
    world.rollouts.proceed(POOL)
    world.restarts(first, ready=False, problem="ImagePullBackOff: no such image")
    assert world.rollouts.proceed(POOL) == []
    reason, message = world.said
    assert reason == "RolloutStuck"
    assert "its pod is not ready (ImagePullBackOff: no such image)" in message
    assert "voke-gw-default-1, voke-gw-default-2 to follow" in message
    assert "kubectl -n energy describe pod voke-gw-default-0-0" in message
    world.rollouts = Rollouts(
        world.objects,
        Documents(world.objects, defaults=NEW),
        world.fleet,
        world.gateways,
        defaults=Defaults(image="voke-gateway:3"),
        clock=lambda: world.clock,
    )
    assert world.rollouts.proceed(POOL) == [first]


async def test_a_pool_that_is_there_and_cannot_be_read_is_not_taken_for_the_installations_own(
    world: World,
) -> None:
    metadata = {"namespace": POOL.namespace, "name": POOL.name, "uid": "pool", "resourceVersion": "1"}
    document = {
        "apiVersion": API_VERSION,
        "kind": "GatewayPool",
        "metadata": metadata,
        "spec": {"of": "later"},
    }
    world.objects.put(POOLS, known_of(POOLS, document))
    assert world.rollouts.proceed(POOL) == []
    assert [world.rollouts.wanted(shard) for shard in SHARDS] == [(), (), ()]


async def test_one_that_says_nothing_of_why_is_stuck_after_three_minutes(world: World) -> None:
    world.rollouts.proceed(POOL)
    world.restarts(SHARDS[0], ready=False)
    world.rollouts.proceed(POOL)
    world.clock += 179
    world.rollouts.proceed(POOL)
    assert world.said[0] == "RollingOut"
    world.clock += 2
    world.rollouts.proceed(POOL)
    assert world.said[0] == "RolloutStuck"


async def test_a_gateway_that_was_not_asked_yet_does_not_restart_for_what_runs_there_is_not_known() -> None:
    world = World()
    assert world.rollouts.proceed(POOL) == []
    for shard in SHARDS:
        await world.works(shard, started_at=1.0)
    assert world.rollouts.proceed(POOL) == [SHARDS[0]]
    await world.gateways.close()


async def test_a_pod_that_is_of_the_template_already_is_not_waited_for_to_restart(world: World) -> None:
    world.pod(SHARDS[0], NEW)  # what a person does who takes the template's hash off a StatefulSet
    assert world.rollouts.proceed(POOL) == [SHARDS[0]]
    world.applied(SHARDS[0], NEW)
    assert world.rollouts.proceed(POOL) == [SHARDS[1]]


async def test_those_of_0_1_0_are_taken_over_one_after_another_and_waited_for_if_they_restart(
    world: World,
) -> None:
    first, second, third = SHARDS
    for shard in SHARDS:
        world.applied(shard, NEW, by=None)
        world.pod(shard, NEW)
    assert world.rollouts.proceed(POOL) == [first]
    world.restarts(first)  # its pod had what its pool no longer says: by the hash one cannot tell
    assert world.rollouts.proceed(POOL) == []
    await world.works(first, started_at=2.0)
    assert world.rollouts.proceed(POOL) == [second]
    world.applied(second, NEW)
    assert world.rollouts.proceed(POOL) == []
    world.rollouts.restarts_not(second)
    assert world.rollouts.proceed(POOL) == [third]
    world.applied(third, NEW)
    world.rollouts.restarts_not(third)
    assert world.rollouts.proceed(POOL) == []
    assert world.said == ("", "")


async def test_a_pool_that_is_as_it_should_be_has_nothing_to_say(world: World) -> None:
    for shard in SHARDS:
        world.applied(shard, NEW)
        world.pod(shard, NEW)
    await world.works(SHARDS[0], started_at=1.0, through=False)
    assert world.rollouts.proceed(POOL) == []
    assert world.said == ("", ""), "that a session is missing is another matter"


@pytest.mark.parametrize(
    ("seen", "restart", "expected"),
    [
        (view(session("a"), session("b")), None, ""),
        (view(session("a"), session("b", through=False)), None, "sessions with Voke are missing, of b"),
        (view(session("a"), session("b", through=False, reason="LoginRefused")), None, ""),
        (
            view(session("a", through=False, reason="LoginRefused")),
            None,
            "sessions with Voke are missing, of a",
        ),
        (view(session("a"), session("b", through=False)), frozenset("a"), ""),
        (view(session("a")), frozenset("ab"), "sessions with Voke are missing, of b"),
        (view(session("a")), frozenset("ac"), ""),
        (view(session("a"), bundle=None), None, "it has not taken in its bundle yet"),
    ],
    ids=[
        "all through",
        "one cut off, and what was before is not known",
        "one refused, as it may have been before",
        "the only one refused",
        "one cut off as it was before",
        "one gone that was through before",
        "one moved away meanwhile",
        "no bundle yet",
    ],
)
def test_what_is_missing_at_a_gateway(seen: View, restart: frozenset[str] | None, expected: str) -> None:
    fleet = Fleet()
    for name in "ab":
        fleet.assign(Name("energy", name), SHARDS[0], f"id-{name}")
    record = fleet.shard(SHARDS[0])
    if restart is not None:
        record.restart = Restart(template="t", sessions=restart, started_at=0.0)
    assert missing(seen, record) == expected
