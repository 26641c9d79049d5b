"""What is known of the cluster, and what of it counts as a change."""

from __future__ import annotations

import gc
import tracemalloc
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voke_operator.kube.errors import GoneError
from voke_operator.kube.objects import Objects, known_of, metadata_of
from voke_operator.kube.resources import ALLOWED_SECRETS, PLANTS, SECRETS


def made(
    name: str = "roof", *, version: int = 10, uid: str = "u1", generation: int = 1, **more: Any
) -> dict[str, Any]:
    metadata = {
        "namespace": "energy",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "generation": generation,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
    }
    return {"metadata": metadata | more, "spec": {"plantId": uid}, "status": {"seen": version}}


FOREIGN = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "voke.lovinka.com.example/a": "b"}


class Heard:
    """Objects, and what they told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.objects = Objects(lambda *what: self.told.append(what))

    def put(self, document: dict[str, Any], resource: Any = PLANTS) -> bool:
        before = len(self.told)
        self.objects.put(resource, known_of(resource, document))
        return len(self.told) > before

    def drop(self, document: dict[str, Any], resource: Any = PLANTS) -> bool:
        before = len(self.told)
        self.objects.drop(resource, metadata_of(document))
        return len(self.told) > before

    def listed(self, *documents: dict[str, Any], version: int, resource: Any = PLANTS) -> list[str]:
        before = len(self.told)
        with self.objects.listing(resource, None) as listing:
            for document in documents:
                listing.add(document, version=str(version))
            listing.finish(version=str(version))
        return [name for _, _, name in self.told[before:]]

    def names(self, resource: Any = PLANTS) -> list[str]:
        return sorted(metadata.name for metadata in self.objects.all(resource))


@pytest.fixture
def it() -> Heard:
    return Heard()


def test_a_custom_resource_is_kept_whole_but_for_what_nobody_reads(it: Heard) -> None:
    ours = {"voke.lovinka.com/registered": "abc"}
    document = made(annotations={**FOREIGN, **ours}, labels={"site": "brno"})
    assert it.put(document)
    kept = it.objects.document(PLANTS, "energy", "roof")
    assert kept is not None
    assert (kept["spec"], kept["status"]) == (document["spec"], document["status"])
    assert kept["metadata"]["annotations"] == ours
    assert "managedFields" not in kept["metadata"]
    assert it.told == [("Plant", "energy", "roof")]


@pytest.mark.parametrize("resource", [PLANTS, SECRETS])
def test_what_others_write_on_an_object_takes_no_memory(it: Heard, resource: Any) -> None:
    tracemalloc.start()
    for number in range(20):
        written = {f"{number}.example/{part}": token_hex(32 * 1024) for part in range(4)}
        it.put(made(f"roof{number}", annotations=written), resource)
    del written
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 200_000
    assert it.objects.count(resource) == 20


def test_of_a_child_only_metadata_is_kept(it: Heard) -> None:
    owners = [{"uid": "somebody"}, {"uid": "plant", "controller": True}]
    secret = made("voke-plant-roof", ownerReferences=owners, deletionTimestamp="2026-01-01T00:00:00Z")
    it.put(secret | {"data": {"key": "c2VjcmV0"}}, SECRETS)
    metadata = it.objects.get(SECRETS, "energy", "voke-plant-roof")
    assert metadata is not None
    assert (metadata.owner, metadata.deleting, metadata.uid) == ("plant", True, "u1")
    assert it.objects.document(SECRETS, "energy", "voke-plant-roof") is None


def test_the_two_views_of_secrets_do_not_know_of_each_other(it: Heard) -> None:
    it.put(made("keys"), ALLOWED_SECRETS)
    it.put(made("keys"), SECRETS)
    it.drop(made("keys"), ALLOWED_SECRETS)
    assert (it.names(ALLOWED_SECRETS), it.names(SECRETS)) == ([], ["keys"])


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 2},
        {"labels": {"site": "brno"}},
        {"annotations": {"voke.lovinka.com/registered": "abc"}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"uid": "u2"},
    ],
)
def test_what_a_person_changes_is_told(it: Heard, change: dict[str, Any]) -> None:
    it.put(made())
    assert it.put(made(version=11, **change))


@pytest.mark.parametrize("change", [{}, {"annotations": FOREIGN}])
def test_a_status_that_was_written_is_known_and_not_told(it: Heard, change: dict[str, Any]) -> None:
    it.put(made())
    assert not it.put(made(version=11, **change))
    kept = it.objects.document(PLANTS, "energy", "roof")
    assert kept is not None
    assert (kept["status"], kept["metadata"]["resourceVersion"]) == ({"seen": 11}, "11")


def test_any_change_of_a_child_is_told_and_what_we_wrote_ourselves_only_once(it: Heard) -> None:
    it.put(made(), SECRETS)
    assert it.put(made(version=11), SECRETS)
    it.objects.written(SECRETS, made(version=12))
    assert not it.put(made(version=12), SECRETS)


def test_the_answer_to_a_write_does_not_undo_a_later_event(it: Heard) -> None:
    it.put(made(version=13, generation=3))
    it.objects.written(PLANTS, made(version=12, generation=2))
    metadata = it.objects.get(PLANTS, "energy", "roof")
    assert metadata is not None
    assert metadata.generation == 3


def test_what_is_gone_is_told_once(it: Heard) -> None:
    it.put(made())
    assert it.drop(made(version=11))
    assert not it.drop(made(version=11))
    assert it.names() == []
    assert it.objects.count(PLANTS) == 0


def test_the_late_word_that_an_object_is_gone_does_not_take_its_successor(it: Heard) -> None:
    it.put(made(version=12, uid="u2"))
    assert not it.drop(made(version=11, uid="u1"))
    assert it.names() == ["roof"]


def test_a_list_finds_what_vanished_and_what_was_missed(it: Heard) -> None:
    it.put(made("kept"))
    it.put(made("vanished"))
    it.put(made("changed"))
    listed = it.listed(
        made("kept"), made("changed", version=12, generation=2), made("missed", version=11), version=12
    )
    assert sorted(listed) == ["changed", "missed", "vanished"]
    assert it.names() == ["changed", "kept", "missed"]


def test_a_list_knows_nothing_of_what_came_after_it(it: Heard) -> None:
    it.put(made("later", version=30))
    it.put(made("newer", version=31, generation=2))
    assert it.listed(made("newer", version=10, generation=1), version=20) == []
    assert it.names() == ["later", "newer"]


def test_what_vanishes_while_a_list_is_read_is_no_ghost_afterwards(it: Heard) -> None:
    it.put(made("roof"))
    with it.objects.listing(PLANTS, None) as listing:
        it.drop(made("roof", version=21))
        listing.add(made("roof"), version="20")
        listing.finish(version="20")
    assert it.names() == []


def test_a_list_of_one_namespace_says_nothing_of_another(it: Heard) -> None:
    elsewhere = made("elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    it.put(elsewhere)
    it.put(made("roof"))
    with it.objects.listing(PLANTS, "energy") as listing:
        listing.finish(version="20")
    assert it.names() == ["elsewhere"]


def test_a_list_that_breaks_off_takes_nothing_away(it: Heard) -> None:
    it.put(made("roof"))
    with pytest.raises(GoneError), it.objects.listing(PLANTS, None):
        raise GoneError("the rest of the list is not kept any more")
    assert it.names() == ["roof"]


def test_after_the_cluster_was_restored_from_a_backup_the_list_is_believed(it: Heard) -> None:
    it.listed(made("roof", version=100, generation=7), made("later", version=101), version=200)
    assert sorted(it.listed(made("roof", version=50, generation=3), version=60)) == ["later", "roof"]
    metadata = it.objects.get(PLANTS, "energy", "roof")
    assert metadata is not None
    assert metadata.generation == 3


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "drop", "list"]), st.sampled_from("abc"), st.integers(0, 8)),
        max_size=40,
    )
)
def test_events_and_lists_in_any_mixture_end_at_the_truth(steps: list[tuple[str, str, int]]) -> None:
    """The cluster changes; events about it arrive late, lists show it as it was a while ago; then all is delivered."""
    it = Heard()
    truth: dict[str, dict[str, Any]] = {}
    history: list[dict[str, dict[str, Any]]] = [{}]
    pending: list[tuple[str, dict[str, Any]]] = []
    for version, (step, name, late) in enumerate(steps, start=1):
        if step == "put":
            uid = truth[name]["metadata"]["uid"] if name in truth else f"u{version}"
            truth = truth | {name: made(name, version=version, uid=uid, generation=version)}
            pending.append(("put", truth[name]))
        elif step == "drop" and name in truth:
            gone = made(name, version=version, uid=truth[name]["metadata"]["uid"])
            truth = {key: value for key, value in truth.items() if key != name}
            pending.append(("drop", gone))
        history.append(truth)
        for what, document in pending[: len(pending) - late] if late < len(pending) else ():
            (it.put if what == "put" else it.drop)(document)
        pending = pending[max(0, len(pending) - late) :] if late < len(pending) else pending
        if step == "list":
            at = max(0, version - late)
            it.listed(*history[at].values(), version=at) if at else None
    for what, document in pending:
        (it.put if what == "put" else it.drop)(document)
    it.listed(*truth.values(), version=len(history) - 1)
    assert it.names() == sorted(truth)
    for name, document in truth.items():
        metadata = it.objects.get(PLANTS, "energy", name)
        assert metadata is not None
        assert metadata.generation == document["metadata"]["generation"]


def test_ten_thousand_plants_take_less_than_five_kilobytes_each() -> None:
    points = [{"field": f"value{i}", "table": "input", "address": i, "type": "float32"} for i in range(10)]
    devices = [{"externalId": f"INV{i}", "type": "INVERTER", "connection": f"plc{i}"} for i in range(10)]

    def plant(number: int) -> dict[str, Any]:
        document = made(f"plant-{number}", uid=f"{number:032x}", labels={"site": f"s{number}"})
        document["spec"] = {
            "plantId": f"{number:08x}-7b64-4d1e-9c55-0a1b2c3d4e5f",
            "connections": [
                {"name": f"plc{i}", "modbusTcp": {"host": f"10.{number % 200}.3.{i}"}} for i in range(10)
            ],
            "devices": [device | {"points": points} for device in devices],
        }
        return document

    objects = Objects()
    gc.collect()
    tracemalloc.start()
    for number in range(2_000):
        objects.put(PLANTS, known_of(PLANTS, plant(number)))
    gc.collect()
    each = tracemalloc.get_traced_memory()[0] / 2_000
    tracemalloc.stop()
    print(f"{each:.0f} bytes for each Plant of ten devices with ten points")
    assert each < 5_000
