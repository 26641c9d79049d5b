"""The whole plan, carried out on a cluster in memory."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given

from tests.operator.plan.cluster import NAMESPACE, Cluster
from tests.operator.plan.sites import plant_id, site
from tests.support.bundles import GZIPS, Gzip, edited
from voke_api.bundle import MANIFEST, unpack
from voke_operator import names
from voke_operator.plan.difference import Action, ObjectRef, Step
from voke_operator.plan.objects import Defaults
from voke_operator.plan.placement import Reason, ShardId

FIRST, SECOND, ELSEWHERE = ShardId("default", 0), ShardId("default", 1), ShardId("other", 0)


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.pool("default", shard={"maxPlants": 2})
    made.pool("other")
    made.add(*(site(name) for name in "abc"))
    return made


def kinds(steps: tuple[Step, ...]) -> Counter[str]:
    return Counter(f"{step.action} {step.ref.kind}" for step in steps)


def test_plants_get_gateways_with_all_that_these_need(cluster: Cluster) -> None:
    assert kinds(cluster.plan().steps) == {
        "apply PodDisruptionBudget": 1,
        "apply NetworkPolicy": 1,
        "create Secret": 2,
        "apply Service": 2,
        "apply StatefulSet": 2,
    }
    cluster.settle()
    assert cluster.where() == {"a": FIRST, "b": FIRST, "c": SECOND}


def test_a_bundle_is_there_before_its_gateway(cluster: Cluster) -> None:
    order = [step.ref.kind for step in cluster.plan().steps if step.ref.name.endswith("default-0")]
    assert order == ["Secret", "Service", "StatefulSet"]


def test_when_all_is_as_wanted_nothing_is_written(cluster: Cluster) -> None:
    cluster.settle()
    assert cluster.plan().steps == ()


def test_a_change_of_one_plant_is_one_write_that_says_what_changes(cluster: Cluster) -> None:
    cluster.settle()
    cluster.add(site("b", telemetry={"interval": "5s"}))
    (step,) = cluster.plan().steps
    assert (step.action, step.reason) == (Action.UPDATE, "changes b")
    assert step.ref.name == "voke-bundle-default-0"


@given(GZIPS)
def test_what_another_zlib_has_written_is_no_change(other: Gzip) -> None:
    cluster = Cluster()
    cluster.pool("default")
    cluster.add(site("a"), site("b"))
    cluster.settle()
    cluster.put_files(FIRST, other.bundle(cluster.files(FIRST) or {}))
    assert cluster.plan().steps == ()
    cluster.add(site("b", telemetry={"interval": "5s"}))
    assert [step.reason for step in cluster.plan().steps] == ["changes b"]


def test_a_bundle_of_another_version_is_left_alone(cluster: Cluster) -> None:
    cluster.settle()
    files = cluster.files(SECOND) or {}
    cluster.put_files(SECOND, {**files, MANIFEST: edited(files[MANIFEST], formatVersion=99)})
    cluster.recorded = cluster.where()
    cluster.add(site("c", telemetry={"interval": "5s"}), site("d"))
    planned = cluster.plan()
    assert planned.steps == ()
    (left_alone,) = (each.bundle.mismatch for each in planned.shards if each.carries.shard == SECOND)
    assert left_alone == (
        "an operator of another version has written its bundle (bundle format 99 is not supported; supported: 1), so that "
        "is left as it is"
    )
    del cluster.plants["c"]
    assert cluster.plan().steps == (), "nobody knows what else is in it"


def test_a_new_gateway_image_changes_workloads_only(cluster: Cluster) -> None:
    cluster.settle()
    cluster.defaults = Defaults(image="voke-gateway:2")
    steps = cluster.plan().steps
    assert kinds(steps) == {"apply StatefulSet": 2}
    assert all(step.restarts for step in steps)


def test_a_plant_that_cannot_be_used_any_more_runs_on_as_it_was(cluster: Cluster) -> None:
    cluster.settle()
    broken = {"externalId": "M1", "type": "METER", "connection": "plc1", "profile": "gone"}
    cluster.add(site("a", devices=[broken]))
    planned = cluster.settle()
    (decision,) = (each.decision for each in planned.plants if each.decision.plant == "a")
    assert decision.shard == FIRST
    assert decision.reason is Reason.UNUSABLE
    bundle = unpack(cluster.files(FIRST) or {})
    assert bundle.plants[0].plant.spec.devices[0].external_id == "BAT1"
    assert "there is no DeviceProfile gone" in bundle.notes["a"]


def test_a_plant_that_was_never_usable_is_not_placed_and_costs_the_others_nothing(cluster: Cluster) -> None:
    cluster.add(site("0", pool="nowhere"))
    planned = cluster.settle()
    (decision,) = (each.decision for each in planned.plants if each.decision.plant == "0")
    assert decision.message.startswith("not placed: spec.pool: there is no GatewayPool nowhere")
    assert cluster.where() == {"a": FIRST, "b": FIRST, "c": SECOND}


def test_of_two_plants_with_one_id_the_one_that_runs_wins(cluster: Cluster) -> None:
    cluster.settle()
    cluster.add(site("0", created="2020-01-01T00:00:00Z", plantId=plant_id("a")))
    planned = cluster.settle()
    (loser,) = (each.decision for each in planned.plants if each.decision.plant == "0")
    assert loser.reason is Reason.DUPLICATE
    assert "Plant a has this plantId already" in loser.message
    del cluster.plants["a"]
    cluster.settle()
    assert "0" in cluster.where()


def test_a_plant_on_its_way_is_still_in_the_right(cluster: Cluster) -> None:
    cluster.settle()
    cluster.add(site("a", pool="other", created="2026-01-02T00:00:00Z"))
    cluster.make(cluster.plan().steps)
    cluster.add(site("0", created="2020-01-01T00:00:00Z", plantId=plant_id("a")))
    cluster.settle()
    assert cluster.where()["a"] == ELSEWHERE
    assert "0" not in cluster.where()


def test_of_two_new_plants_with_one_id_the_older_wins(cluster: Cluster) -> None:
    cluster.plants.clear()
    cluster.add(site("x", created="2026-01-01T00:00:00Z"))
    cluster.add(site("b", created="2026-01-02T00:00:00Z", plantId=plant_id("x")))
    cluster.settle()
    assert set(cluster.where()) == {"x"}


def test_a_plant_moves_by_stopping_first(cluster: Cluster) -> None:
    cluster.settle()
    cluster.add(site("a", pool="other"))
    cluster.make(cluster.plan().steps)
    assert cluster.files(ELSEWHERE) is None
    cluster.kubernetes()
    assert "a" not in cluster.where()
    cluster.ask()
    assert cluster.files(ELSEWHERE) is None, "it is still draining"
    cluster.settle()
    assert cluster.where()["a"] == ELSEWHERE


def test_an_operator_that_forgot_everything_still_waits_for_the_old_gateway(cluster: Cluster) -> None:
    cluster.settle()
    cluster.add(site("c", pool="other"))
    cluster.make(cluster.plan().steps)
    cluster.gateways[SECOND].reachable = False
    cluster.ask()
    for _ in range(3):
        planned = cluster.plan()
        cluster.make(planned.steps)
    (waiting,) = (each.decision for each in planned.plants if each.decision.plant == "c")
    assert waiting.waits_for == (SECOND,)
    cluster.released["c"] = [str(SECOND)]
    planned = cluster.plan()
    assert {step.ref.name for step in planned.steps if step.action is Action.CREATE} == {
        "voke-bundle-other-0"
    }


def test_a_shard_that_nobody_is_on_goes_and_its_bundle_goes_last(cluster: Cluster) -> None:
    cluster.settle()
    del cluster.plants["c"]
    cluster.make(cluster.plan().steps)
    cluster.kubernetes()
    cluster.gateways[SECOND].drain()
    cluster.ask()
    steps = cluster.plan().steps
    assert kinds(steps) == {"delete StatefulSet": 1, "delete Service": 1}
    assert all(step.reason == "no plant is on this gateway any more" for step in steps)
    cluster.make(steps)
    assert cluster.plan().steps == (), "its pod is still there"
    cluster.settle()
    assert cluster.shards() == {FIRST}


def test_with_the_last_plant_everything_goes(cluster: Cluster) -> None:
    cluster.settle()
    cluster.plants.clear()
    cluster.settle()
    assert cluster.objects == {}


def test_gateways_of_a_deleted_pool_run_on(cluster: Cluster) -> None:
    cluster.add(site("d", pool="other"))
    cluster.settle()
    del cluster.pools["other"]
    cluster.settle()
    assert cluster.where()["d"] == ELSEWHERE
    assert ELSEWHERE in cluster.workloads()


def test_a_lost_bundle_is_made_anew_for_the_same_plants_where_they_are(cluster: Cluster) -> None:
    cluster.settle()
    before = cluster.where()
    for ref in list(cluster.objects):
        if ref.kind == "Secret":
            del cluster.objects[ref]
    del cluster.plants["a"]
    cluster.settle()
    assert cluster.where() == {name: shard for name, shard in before.items() if name != "a"}


def test_a_lost_bundle_of_a_silent_gateway_is_made_anew_by_what_was_recorded(cluster: Cluster) -> None:
    cluster.settle()
    cluster.recorded = cluster.where()
    cluster.answers.clear()
    for ref in list(cluster.objects):
        if ref.kind == "Secret":
            del cluster.objects[ref]
    cluster.plants = dict(reversed(cluster.plants.items()))
    del cluster.plants["a"]
    cluster.make(cluster.plan().steps)
    assert {p.plant.metadata.name for p in unpack(cluster.files(SECOND) or {}).plants} == {"c"}


def test_a_strangers_object_is_a_conflict_and_the_rest_goes_on(cluster: Cluster) -> None:
    stranger = {"metadata": {"labels": {}, "uid": "theirs", "resourceVersion": "1"}}
    ref = ObjectRef(kind="Service", namespace=NAMESPACE, name=str(FIRST))
    cluster.objects[ref] = stranger
    planned = cluster.plan()
    assert [conflict.ref for conflict in planned.conflicts] == [ref]
    assert "apply StatefulSet" in kinds(planned.steps)


def test_a_shard_over_its_limits_says_so_and_moves_nobody(cluster: Cluster) -> None:
    cluster.settle()
    before = cluster.where()
    cluster.pool("default", shard={"maxPlants": 1})
    planned = cluster.settle()
    assert cluster.where() == before
    assert [shard.carries.over for shard in planned.shards] == [("2 plants, of at most 1",), ()]


def test_without_a_pool_called_default_the_installation_stands_for_it() -> None:
    cluster = Cluster()
    cluster.add(site("a"))
    cluster.settle()
    assert cluster.where() == {"a": FIRST}
    assert names.OWNED.items() <= next(iter(cluster.objects.values()))["metadata"]["labels"].items()


def test_the_whole_plan_shows_no_keys(cluster: Cluster) -> None:
    cluster.settle()
    assert "kkkkkkkk" not in repr(cluster.plan())
    assert "bundle.json" not in repr(cluster.plan())
