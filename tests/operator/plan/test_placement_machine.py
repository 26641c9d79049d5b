"""Whatever people change, whatever is late, lost or interrupted: no plant id runs on two gateways.

The operator of this machine forgets everything between two plans, makes any part of its steps in order, and
knows gateways by answers that may be old.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.operator.plan.cluster import Cluster
from tests.operator.plan.sites import plant_id, site
from voke_operator.plan.difference import Step
from voke_operator.plan.placement import Reason

NAMES = st.sampled_from("abcde")
IDS = st.sampled_from(["a", "b", "c"])
POOLS = st.sampled_from(["default", "other"])


class Placing(RuleBasedStateMachine):
    """People, an operator, gateways."""

    @initialize()
    def start(self) -> None:
        self.cluster = Cluster()
        self.steps: list[Step] = []
        for name in ("default", "other"):
            self.cluster.pool(name, shard={"maxPlants": 2})

    @rule(name=NAMES, of=IDS, pool=POOLS)
    def write_plant(self, name: str, of: str, pool: str) -> None:
        self.cluster.add(site(name, plantId=plant_id(of), pool=pool))

    @rule(name=NAMES)
    def break_plant(self, name: str) -> None:
        if name in self.cluster.plants:
            spec = self.cluster.plants[name].spec
            missing: dict[str, Any] = {
                "externalId": "M1",
                "type": "METER",
                "connection": "plc1",
                "profile": "gone",
            }
            self.cluster.add(site(name, plantId=spec.plant_id, pool=spec.pool, devices=[missing]))

    @rule(name=NAMES)
    def delete_plant(self, name: str) -> None:
        self.cluster.plants.pop(name, None)

    @rule(most=st.integers(1, 3), name=POOLS)
    def change_limits(self, most: int, name: str) -> None:
        self.cluster.pool(name, shard={"maxPlants": most})

    @rule()
    def plan(self) -> None:
        self.steps = list(self.cluster.plan().steps)

    @rule(share=st.floats(0, 1))
    @precondition(lambda self: self.steps)
    def make_some_steps_and_crash(self, share: float) -> None:
        self.cluster.make(self.steps[: 1 + int(share * len(self.steps))])
        self.steps = []

    @rule()
    def pods_follow(self) -> None:
        self.cluster.kubernetes()

    @rule()
    def gateways_drain(self) -> None:
        for gateway in self.cluster.gateways.values():
            gateway.drain()

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.gateways)
    def a_gateway_is_lost_or_found(self, data: st.DataObject) -> None:
        gateway = self.cluster.gateways[data.draw(st.sampled_from(sorted(self.cluster.gateways)))]
        gateway.reachable = not gateway.reachable

    @rule()
    def ask(self) -> None:
        self.cluster.ask()

    @invariant()
    def no_plant_id_runs_twice(self) -> None:
        running = [each for gateway in self.cluster.gateways.values() for each in gateway.all()]
        assert len(running) == len(set(running)), running

    def teardown(self) -> None:
        if not hasattr(self, "cluster"):
            return
        for gateway in self.cluster.gateways.values():
            gateway.reachable = True
        planned = self.cluster.settle(20)
        self.no_plant_id_runs_twice()
        where = self.cluster.where()
        for each in planned.plants:
            decision, plant = each.decision, each.candidate.plant
            assert decision.reason is not Reason.MOVING, decision.message
            if decision.reason in {Reason.PLACED, Reason.STAYS}:
                assert where[plant.metadata.name] == decision.shard
                assert decision.shard.pool == plant.spec.pool


Placing.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPlacing = Placing.TestCase
