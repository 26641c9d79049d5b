"""Whatever people change, whatever is late, lost or interrupted: no plant id runs on two gateways.

The operator of this machine forgets everything between two plans, makes any part of its steps in order, and
knows gateways by answers that may be old.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.operator.plan.cluster import Cluster
from tests.operator.plan.sites import plant_id, site
from voke_api.resources import Plant
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
        self.writes = 0
        for name in ("default", "other"):
            self.cluster.pool(name, shard={"maxPlants": 2})

    @rule(name=NAMES, of=IDS, pool=POOLS)
    def write_plant(self, name: str, of: str, pool: str) -> None:
        self.cluster.add(site(name, plantId=plant_id(of), pool=pool))

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.plants)
    def change_pool(self, data: st.DataObject) -> None:
        plant = self.some_plant(data)
        pool = "other" if plant.spec.pool == "default" else "default"
        self.cluster.add(site(plant.metadata.name, plantId=plant.spec.plant_id, pool=pool))

    @rule(data=st.data(), name=NAMES, pool=POOLS)
    @precondition(lambda self: self.cluster.plants)
    def rename_plant(self, data: st.DataObject, name: str, pool: str) -> None:
        plant = self.some_plant(data)
        del self.cluster.plants[plant.metadata.name]
        self.cluster.add(site(name, plantId=plant.spec.plant_id, pool=pool))

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.plants)
    def break_plant(self, data: st.DataObject) -> None:
        plant = self.some_plant(data)
        gone = {"externalId": "M1", "type": "METER", "connection": "plc1", "profile": "gone"}
        spec: dict[str, Any] = {"plantId": plant.spec.plant_id, "pool": plant.spec.pool, "devices": [gone]}
        self.cluster.add(site(plant.metadata.name, **spec))

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.plants)
    def delete_plant(self, data: st.DataObject) -> None:
        del self.cluster.plants[self.some_plant(data).metadata.name]

    def some_plant(self, data: st.DataObject) -> Plant:
        return self.cluster.plants[data.draw(st.sampled_from(sorted(self.cluster.plants)))]

    @rule(most=st.integers(1, 3), name=POOLS)
    def change_limits(self, most: int, name: str) -> None:
        self.cluster.pool(name, shard={"maxPlants": most})

    @rule(share=st.sampled_from([0.3, 0.7, 1.0]))
    def plan_and_make_some_steps(self, share: float) -> None:
        steps = self.cluster.plan().steps
        self.cluster.make(steps[: ceil(share * len(steps))])

    @rule()
    def plan(self) -> None:
        self.steps = list(self.cluster.plan().steps)
        self.writes = self.cluster.writes

    @rule()
    @precondition(lambda self: self.steps)
    def make_an_old_plans_steps(self) -> None:
        if self.writes == self.cluster.writes:
            self.cluster.make(self.steps)
        self.steps = []

    @rule()
    def everything_happens_quickly(self) -> None:
        for _ in range(2):
            self.cluster.make(self.cluster.plan().steps)
            self.cluster.kubernetes()
            self.cluster.ask()

    @rule(data=st.data())
    @precondition(lambda self: self.cluster.gateways or self.cluster.workloads())
    def a_pod_follows(self, data: st.DataObject) -> None:
        shards = sorted(self.cluster.gateways.keys() | self.cluster.workloads())
        self.cluster.kubernetes(data.draw(st.sampled_from(shards)))

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
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPlacing = Placing.TestCase
