"""The bundle of one shard: changed when it has to be, and never too large."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given

from tests.operator.plan.sites import pack_of_size
from tests.support.bundles import GZIPS, WORST, Gzip, edited
from voke_api.bundle import MANIFEST, Leaving, PackedPlant, contents, form, packed_in
from voke_operator.plan.bundles import LONGEST_NOTE, changes, inputs_of, shard_bundle


def packed(name: str, size: int = 100, *, seed: int = 0, inputs: str = "") -> PackedPlant:
    return pack_of_size(name, Random(f"{name}{seed}").randbytes(size), inputs=inputs)


def test_a_bundle_without_changes_is_the_one_before() -> None:
    first = shard_bundle([packed("a"), packed("b")], {}, None)
    again = shard_bundle([packed("b"), packed("a")], {}, first.files)
    assert first.changed
    assert not again.changed
    assert again.files is first.files
    assert again.generation == first.generation == 1


def test_every_change_has_a_higher_generation() -> None:
    first = shard_bundle([packed("a")], {}, None)
    second = shard_bundle([packed("a"), packed("b")], {}, first.files)
    assert second.changed
    assert contents(second.files).generation == 2


def test_a_lost_bundle_continues_after_what_the_gateway_has_applied() -> None:
    assert shard_bundle([packed("a")], {}, None, applied=41).generation == 42
    assert shard_bundle([packed("a")], {}, {MANIFEST: b"rubbish"}, applied=41).generation == 42


def test_a_damaged_file_is_written_anew() -> None:
    first = shard_bundle([packed("a")], {}, None)
    damaged = {**first.files, "plant-a.json.gz": b"rubbish"}
    again = shard_bundle([packed("a")], {}, damaged)
    assert again.changed
    assert again.files["plant-a.json.gz"] == first.files["plant-a.json.gz"]


def test_a_plant_that_leaves_is_noted_at_the_generation_that_drops_it() -> None:
    first = shard_bundle([packed("a"), packed("b")], {}, None)
    left = Leaving(plant="a", plant_id="id", since=0)
    second = shard_bundle([packed("b")], {}, first.files, leaving=[left])
    assert contents(second.files).leaving == (Leaving(plant="a", plant_id="id", since=2),)
    third = shard_bundle([packed("b")], {}, second.files, leaving=contents(second.files).leaving)
    assert not third.changed


def test_what_a_plant_was_made_from_is_noted_with_the_next_change() -> None:
    first = shard_bundle([packed("a", inputs="one")], {}, None)
    assert not shard_bundle([packed("a", inputs="two")], {}, first.files).changed
    second = shard_bundle([packed("a", inputs="two"), packed("b")], {}, first.files)
    assert packed_in(second.files)["a"].inputs == "two"


def test_growth_that_does_not_fit_costs_only_the_plant_that_grew_most() -> None:
    before = [packed(name, 150_000) for name in "abcd"]
    first = shard_bundle(before, {}, None)
    grown = [packed("a", 150_500, seed=1), packed("b", 300_000, seed=1), *before[2:]]
    second = shard_bundle(grown, {}, first.files)
    assert second.changed
    assert list(second.notes) == ["b"]
    assert "does not fit" in second.notes["b"]
    there = packed_in(second.files)
    assert there["b"].digest == before[1].digest
    assert there["a"].digest == grown[0].digest


def test_another_plant_of_the_same_name_is_not_replaced_by_the_one_before() -> None:
    before = [packed(name, 150_000) for name in "abcd"]
    first = shard_bundle(before, {}, None)
    another = replace(packed("b", 300_000, seed=1), plant_id="another")
    second = shard_bundle([before[0], another, *before[2:]], {}, first.files)
    assert not second.changed
    assert second.full


def test_a_bundle_that_cannot_be_made_smaller_stays_as_it_was_and_says_why() -> None:
    before = [packed("a", 200_000), packed("b", 200_000)]
    first = shard_bundle(before, {}, None)
    second = shard_bundle([*before, packed("c", 600_000)], {}, first.files)
    assert not second.changed
    assert second.files == first.files
    assert "at most 921600" in second.full


def test_a_change_is_said_in_a_few_words() -> None:
    first = shard_bundle([packed("a"), packed("b")], {}, None)
    second = shard_bundle([packed("b", seed=1), packed("c")], {}, first.files)
    assert changes(None, first.files) == "adds a, b"
    assert changes(first.files, second.files) == "adds c; changes b; drops a"


def test_inputs_differ_when_anything_does_that_a_file_is_made_from() -> None:
    one = inputs_of(uid="u", generation=1, versions={"Secret a": "5", "DeviceProfile p": "u/1"})
    assert one == inputs_of(uid="u", generation=1, versions={"DeviceProfile p": "u/1", "Secret a": "5"})
    assert (
        len(
            {
                one,
                inputs_of(uid="v", generation=1, versions={"Secret a": "5", "DeviceProfile p": "u/1"}),
                inputs_of(uid="u", generation=2, versions={"Secret a": "5", "DeviceProfile p": "u/1"}),
                inputs_of(uid="u", generation=1, versions={"Secret a": "6", "DeviceProfile p": "u/1"}),
            }
        )
        == 4
    )


def test_reprs_show_no_files() -> None:
    bundle = shard_bundle([packed("a")], {}, None)
    assert "plant-a" not in repr(bundle)


@given(GZIPS)
def test_a_bundle_that_holds_the_same_is_not_written_by_whatever_it_was_compressed(other: Gzip) -> None:
    plants = [packed("a"), packed("b")]
    before = other.bundle(shard_bundle(plants, {}, None).files)
    assert not shard_bundle(plants, {}, before).changed
    after = shard_bundle([packed("a", seed=1), plants[1]], {}, before)
    assert after.changed
    assert changes(before, after.files) == "changes a"
    assert after.files["plant-b.json.gz"] == before["plant-b.json.gz"]


def test_a_file_that_is_not_the_manifests_is_written_though_it_holds_the_same() -> None:
    first = shard_bundle([packed("a")], {}, None)
    before = {**first.files, "plant-a.json.gz": WORST.file(first.files["plant-a.json.gz"])}
    after = shard_bundle([packed("a")], {}, before)
    assert after.changed
    assert packed_in(after.files).keys() == {"a"}


def test_another_format_is_a_change_of_no_plant(monkeypatch: pytest.MonkeyPatch) -> None:
    first = shard_bundle([packed("a")], {}, None)
    assert not shard_bundle([packed("a")], {}, first.files, reads=[1, 2]).changed
    monkeypatch.setattr(form, "FORMATS", (1, 2))
    second = {**first.files, MANIFEST: edited(first.files[MANIFEST], formatVersion=2)}
    assert changes(first.files, second) == "is written in format 2"
    back = shard_bundle([packed("a")], {}, second, reads=[1])
    assert changes(second, back.files) == "is written in format 1", "it is what its gateway reads"


def test_a_gateway_that_reads_no_format_of_ours_keeps_its_bundle() -> None:
    first = shard_bundle([packed("a")], {}, None)
    second = shard_bundle([packed("b")], {}, first.files, reads=[7, 8])
    assert not second.changed
    assert second.files is first.files
    assert second.mismatch.startswith("it reads bundle format 7, 8 and this operator writes 1: ")


def test_what_is_said_of_one_plant_does_not_fill_the_bundle_of_all() -> None:
    first = shard_bundle([packed("a"), packed("b")], {}, None)
    second = shard_bundle([packed("a", seed=1), packed("b")], {}, first.files, notes={"b": "x" * 1_000_000})
    assert second.changed
    assert not second.full
    assert len(contents(second.files).notes["b"]) == LONGEST_NOTE
