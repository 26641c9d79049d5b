"""A cluster in memory: objects that steps are made on, gateways that follow their bundles, a person who writes Plants.

Everything that can be late or lost is: a step may not be made, an answer of a gateway may be old, a gateway may
be out of reach, and what it has to stop runs on for a while.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.operator.plan.sites import keys
from voke_api.bundle import MANIFEST, contents, packed_in
from voke_api.resources import DeviceProfile, GatewayPool, Plant
from voke_api.status import GatewayStatus
from voke_operator import names
from voke_operator.plan.bundles import ShardState
from voke_operator.plan.candidates import Surroundings
from voke_operator.plan.difference import Action, ObjectRef, Observed, Step
from voke_operator.plan.objects import Defaults
from voke_operator.plan.placement import ShardId
from voke_operator.plan.plan import Plan, World, plan

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMESPACE = "site"
QUIET = 3
"""Plans in a row without a step: after the last step somebody may still be waited for."""
DEFAULTS = Defaults(image="voke-gateway:1")


@dataclass
class Gateway:
    """A pod of a shard: what it runs, and what it still runs though its bundle dropped it."""

    generation: int | None = None
    runs: dict[str, str] = field(default_factory=dict)
    draining: dict[str, str] = field(default_factory=dict)
    reachable: bool = True

    def follow(self, files: dict[str, bytes]) -> None:
        """Take in a bundle: what it drops is drained, what it adds runs at once."""
        wanted = {name: packed.plant_id for name, packed in packed_in(files).items()}
        gone = {name: each for name, each in self.runs.items() if wanted.get(name) != each}
        self.draining.update(gone)
        self.runs = wanted
        self.draining = {n: each for n, each in self.draining.items() if each not in wanted.values()}
        self.generation = contents(files).generation

    def drain(self) -> None:
        """What it had to stop has stopped."""
        self.draining.clear()

    def all(self) -> list[str]:
        """Plant ids that it runs."""
        return [*self.runs.values(), *self.draining.values()]

    def status(self, shard: ShardId) -> GatewayStatus:
        """Its answer at ``/status``."""
        there = [
            {"name": name, "plantId": plant_id}
            for name, plant_id in sorted((self.runs | self.draining).items())
        ]
        return GatewayStatus.model_validate(
            {
                "gateway": str(shard),
                "version": "1",
                "startedAt": 0.0,
                "bundleGeneration": self.generation,
                "plants": there,
            }
        )


@dataclass
class Cluster:
    """Objects, gateways, and what people wrote."""

    plants: dict[str, Plant] = field(default_factory=dict)
    pools: dict[str, GatewayPool] = field(default_factory=dict)
    profiles: dict[str, DeviceProfile] = field(default_factory=dict)
    objects: dict[ObjectRef, dict[str, Any]] = field(default_factory=dict)
    gateways: dict[ShardId, Gateway] = field(default_factory=dict)
    answers: dict[ShardId, GatewayStatus] = field(default_factory=dict)
    """Of gateways, as they were last asked."""
    recorded: dict[str, ShardId] = field(default_factory=dict)
    released: dict[str, list[str]] = field(default_factory=dict)
    defaults: Defaults = DEFAULTS
    writes: int = 0

    def pool(self, name: str, **spec: Any) -> None:
        self.pools[name] = GatewayPool.model_validate({"metadata": {"name": name}, "spec": spec})

    def add(self, *plants: Plant) -> None:
        self.plants.update({plant.metadata.name: plant for plant in plants})

    def files(self, shard: ShardId) -> dict[str, bytes] | None:
        """Of the shard's bundle Secret."""
        ref = ObjectRef(
            kind="Secret", namespace=NAMESPACE, name=names.bundle_secret(shard.pool, shard.number)
        )
        there = self.objects.get(ref)
        return None if there is None else {key: b64decode(text) for key, text in there["data"].items()}

    def put_files(self, shard: ShardId, files: Mapping[str, bytes]) -> None:
        """Somebody else writes the shard's bundle Secret."""
        name = names.bundle_secret(shard.pool, shard.number)
        document = self.objects[ObjectRef(kind="Secret", namespace=NAMESPACE, name=name)]
        document["data"] = {key: b64encode(content).decode() for key, content in files.items()}

    def shards(self) -> set[ShardId]:
        """Of which any object or a pod is there."""
        labels = [document["metadata"]["labels"] for document in self.objects.values()]
        return set(self.gateways) | {
            ShardId(each[names.POOL_LABEL], int(each[names.SHARD_LABEL]))
            for each in labels
            if names.SHARD_LABEL in each
        }

    def workloads(self) -> set[ShardId]:
        """Shards with a StatefulSet."""
        return {
            shard
            for shard in self.shards()
            if ObjectRef(kind="StatefulSet", namespace=NAMESPACE, name=str(shard)) in self.objects
        }

    def world(self) -> World:
        shards = [
            ShardState(
                shard=shard,
                files=self.files(shard),
                status=self.answers.get(shard),
                may_run=shard in self.gateways or shard in self.workloads(),
            )
            for shard in sorted(self.shards())
        ]
        observed = {
            ref: Observed(
                ref=ref,
                uid=document["metadata"]["uid"],
                resource_version=document["metadata"]["resourceVersion"],
                labels=document["metadata"]["labels"],
                annotations=document["metadata"].get("annotations", {}),
                content=document,
            )
            for ref, document in self.objects.items()
        }
        return World(shards=tuple(shards), objects=observed, recorded=self.recorded, released=self.released)

    def plan(self) -> Plan:
        return plan(
            NAMESPACE,
            self.plants.values(),
            Surroundings(pools=self.pools, profiles=self.profiles),
            self.world(),
            defaults=self.defaults,
            credentials=lambda candidate: keys(candidate.plant.metadata.name),
            now=NOW,
        )

    def make(self, steps: Iterable[Step]) -> None:
        """Make steps as an API server would, preconditions included."""
        for step in steps:
            self.writes += 1
            there = self.objects.get(step.ref)
            if step.action is Action.DELETE:
                assert there is not None
                assert there["metadata"]["uid"] == step.uid
                del self.objects[step.ref]
                continue
            assert step.document is not None
            if step.action is Action.CREATE:
                assert there is None
            if step.action is Action.UPDATE:
                assert there is not None
                assert there["metadata"]["resourceVersion"] == step.resource_version
            uid = f"uid-{self.writes}" if there is None else there["metadata"]["uid"]
            metadata = {**step.document["metadata"], "uid": uid, "resourceVersion": str(self.writes)}
            self.objects[step.ref] = {**step.document, "metadata": metadata}

    def kubernetes(self, only: ShardId | None = None) -> None:
        """Pods start and end as StatefulSets say, and gateways read their bundles; or of one shard only."""
        for shard in self.workloads() if only is None else self.workloads() & {only}:
            files = self.files(shard)
            if files is not None and MANIFEST in files:
                self.gateways.setdefault(shard, Gateway()).follow(files)
        for shard in (set(self.gateways) if only is None else {only}) - self.workloads():
            self.gateways.pop(shard, None)

    def ask(self) -> None:
        """Ask every gateway for its status."""
        self.answers = {
            shard: gateway.status(shard) for shard, gateway in self.gateways.items() if gateway.reachable
        }

    def settle(self, rounds: int = 12) -> Plan:
        """Let everything happen until nothing is left to do."""
        quiet = 0
        for _ in range(rounds):
            planned = self.plan()
            self.make(planned.steps)
            self.kubernetes()
            for gateway in self.gateways.values():
                gateway.drain()
            self.ask()
            quiet = 0 if planned.steps else quiet + 1
            if quiet == QUIET:
                return planned
        raise AssertionError([f"{step.action} {step.ref}: {step.reason}" for step in planned.steps])

    def where(self) -> dict[str, ShardId]:
        """Where plants run, by name."""
        return {name: shard for shard, gateway in self.gateways.items() for name in gateway.runs}
