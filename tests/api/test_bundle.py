"""The bundle: what is packed is unpacked the same, and one broken plant costs the others nothing."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bundles import GZIPS, Gzip, edited
from voke_api.bundle import (
    FORMATS,
    MANIFEST,
    MAX_BYTES,
    BundlePlant,
    BundleTooLargeError,
    BundleUnreadableError,
    Leaving,
    NotHeldError,
    UnknownFormatError,
    assemble,
    contents,
    credentials_in,
    hold_the_same,
    needed_files,
    pack,
    pack_plant,
    packed_in,
    says_the_same,
    unpack,
)
from voke_api.resolved import PlantCredentials
from voke_api.resources import DeviceProfile, GatewayPool, Plant

PROFILE = DeviceProfile.model_validate(
    {
        "metadata": {"name": "acme"},
        "spec": {
            "type": "METER",
            "points": [{"field": "powerKw", "table": "input", "address": 0, "type": "float32"}],
        },
    }
)
POOL = GatewayPool.model_validate(
    {"metadata": {"name": "default"}, "spec": {"voke": {"host": "mqtt.example"}, "writes": "Disabled"}}
)


def plant(name: str, *, host: str = "10.0.0.1", interval: str = "10s") -> Plant:
    return Plant.model_validate(
        {
            "metadata": {"name": name, "annotations": {"touched": "today"}},
            "spec": {
                "plantId": "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f",
                "auth": {"method": "MTLS"},
                "telemetry": {"interval": interval},
                "connections": [{"name": "plc1", "modbusTcp": {"host": host}}],
                "devices": [{"externalId": "M1", "type": "METER", "connection": "plc1", "profile": "acme"}],
            },
        }
    )


def credentials(**others: bytes | str | None) -> PlantCredentials:
    return PlantCredentials(client_id="id", username="user", hmac_key=b"k" * 32, **others)  # type: ignore[arg-type]


def entry(name: str, **others: bytes | str | None) -> BundlePlant:
    return BundlePlant(plant=plant(name), pool=POOL, credentials=credentials(**others))


def packed(*names: str) -> dict[str, bytes]:
    return pack([entry(name) for name in names], {"acme": PROFILE}, generation=3)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert packed("a", "b") == packed("a", "b")


def test_no_version_of_python_leaves_its_mark_in_a_file() -> None:
    header = packed("a")["plant-a.json.gz"][:10]
    assert header == bytes.fromhex("1f8b08 00 00000000 02 ff")  # gzip.compress writes 03 or ff at the end


def test_adding_a_plant_leaves_the_files_of_the_others_as_they_were() -> None:
    one, two = packed("a"), packed("a", "b")
    assert two["plant-a.json.gz"] == one["plant-a.json.gz"]


def test_metadata_that_changes_by_itself_is_left_out() -> None:
    assert b"touched" not in gzip.decompress(packed("a")["plant-a.json.gz"])


def test_profiles_and_authorities_are_there_once() -> None:
    entries = [entry(name, broker_ca=b"-----BEGIN CERTIFICATE-----") for name in ("a", "b")]
    files = pack(entries, {"acme": PROFILE, "unused": PROFILE}, generation=1)
    assert list(json.loads(gzip.decompress(files["profiles.json.gz"]))) == ["acme"]
    assert len(json.loads(gzip.decompress(files["authorities.json.gz"]))) == 1
    assert all(p.credentials.broker_ca for p in unpack(files).plants)


def test_too_much_for_a_secret_is_an_error_that_names_the_largest_file() -> None:
    key = Random(1).randbytes(1_000_000)
    big = BundlePlant(plant=plant("big"), pool=None, credentials=credentials(tls_key=key))
    with pytest.raises(BundleTooLargeError, match=r"plant-big\.json\.gz") as caught:
        pack([big, entry("a")], {"acme": PROFILE}, generation=1)
    assert caught.value.size > MAX_BYTES


def test_two_plants_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two plants are called a"):
        packed("a", "a")


def test_a_broken_plant_is_reported_and_the_others_survive() -> None:
    files = packed("a", "b", "c")
    files["plant-b.json.gz"] = b"rubbish"
    del files["plant-c.json.gz"]
    bundle = unpack(files)
    assert [p.plant.metadata.name for p in bundle.plants] == ["a"]
    assert {p.name: p.message for p in bundle.unreadable} == {
        "b": "plant-b.json.gz is not the file that bundle.json speaks of",
        "c": "plant-c.json.gz is missing",
    }


def test_without_the_profiles_file_plants_are_still_read() -> None:
    files = packed("a")
    del files["profiles.json.gz"]
    bundle = unpack(files)
    assert [p.plant.metadata.name for p in bundle.plants] == ["a"]
    assert [p.name for p in bundle.unreadable] == ["profiles"]


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "is missing"),
        (b"[]", "not a bundle's manifest"),
        (b"\xff", "not a bundle's manifest"),
        (b'{"formatVersion": 99}', "format 99 is not supported; supported: 1"),
        (b'{"formatVersion": "1"}', "not a bundle's manifest"),
        (b'{"formatVersion": 1}', "lacks generation"),
    ],
)
def test_a_bundle_that_cannot_be_read_at_all_says_why(manifest: bytes | None, message: str) -> None:
    files = packed("a")
    del files[MANIFEST]
    with pytest.raises(BundleUnreadableError, match=message):
        unpack(files if manifest is None else files | {MANIFEST: manifest})


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9]{0,20}", fullmatch=True),
        st.tuples(
            st.binary(min_size=1, max_size=40),
            st.none() | st.text(max_size=20),
            st.none() | st.binary(max_size=40),
            st.integers(1, 10_000),
            st.booleans(),
        ),
        max_size=4,
    ),
    st.integers(0, 2**40),
)
def test_what_is_packed_is_unpacked_the_same(
    plants: dict[str, tuple[bytes, str | None, bytes | None, int, bool]], generation: int
) -> None:
    entries = [
        BundlePlant(
            plant=plant(name, interval=f"{seconds}s").model_copy(
                update={"metadata": plant(name).metadata.model_copy(update={"annotations": {}})}
            ),
            pool=POOL if pooled else None,
            credentials=PlantCredentials(
                client_id="c", username="u", hmac_key=key, password=password, broker_ca=ca
            ),
        )
        for name, (key, password, ca, seconds, pooled) in sorted(plants.items())
    ]
    bundle = unpack(pack(entries, {"acme": PROFILE}, generation=generation))
    assert not bundle.unreadable
    assert bundle.generation == generation
    assert list(bundle.plants) == entries
    assert dict(bundle.profiles) == ({"acme": PROFILE} if entries else {})


@given(st.dictionaries(st.sampled_from([MANIFEST, "plant-a.json.gz", "profiles.json.gz"]), st.binary()))
def test_no_bytes_crash_the_reader(broken: dict[str, bytes]) -> None:
    try:
        unpack(packed("a") | broken)
    except BundleUnreadableError:
        assert MANIFEST in broken


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_a_plant_file_of_another_shape_is_reported(document: object) -> None:
    files = packed("a", "b")
    content = gzip.compress(json.dumps({"plant": document, "credentials": document}).encode(), mtime=0)
    manifest = json.loads(files[MANIFEST])
    manifest["files"]["plant-b.json.gz"] = sha256(content).hexdigest()
    bundle = unpack(files | {"plant-b.json.gz": content, MANIFEST: json.dumps(manifest).encode()})
    assert [p.plant.metadata.name for p in bundle.plants] == ["a"]
    assert [p.name for p in bundle.unreadable] == ["b"]


def test_what_has_not_changed_is_not_read_again() -> None:
    first = unpack(packed("a", "b"))
    changed = pack(
        [entry("a"), BundlePlant(plant=plant("b", interval="5s"), pool=POOL, credentials=credentials())],
        {"acme": PROFILE},
        generation=4,
    )
    wanted = needed_files(changed[MANIFEST], first)
    assert "plant-b.json.gz" in wanted
    assert "plant-a.json.gz" not in wanted
    second = unpack({name: changed[name] for name in (MANIFEST, *wanted)}, first)
    assert second.plants[0] is first.plants[0]
    assert second.profiles["acme"] is first.profiles["acme"]
    assert second.plants[1].plant.spec.telemetry.interval == 5.0
    assert second == unpack(changed)
    assert needed_files(changed[MANIFEST], second) == ()


def test_a_new_root_certificate_is_a_change_of_the_plants_that_use_it() -> None:
    first = unpack(pack([entry("a", broker_ca=b"one")], {}, generation=1))
    renewed = pack([entry("a", broker_ca=b"two")], {}, generation=2)
    assert unpack(renewed, first).plants[0].credentials.broker_ca == b"two"


def test_a_broken_plant_is_read_again_once_it_is_whole() -> None:
    whole = packed("a", "b")
    first = unpack({**whole, "plant-b.json.gz": b"half"})
    assert [problem.name for problem in first.unreadable] == ["b"]
    assert "plant-b.json.gz" in needed_files(whole[MANIFEST], first)
    assert unpack(whole, first) == unpack(whole)


def test_notes_reach_the_reader() -> None:
    files = pack([entry("a")], {}, generation=1, notes={"a": "plant.yaml:7: no such profile"})
    assert unpack(files).notes == {"a": "plant.yaml:7: no such profile"}


def test_a_bundle_of_packed_plants_is_the_same_in_whatever_order_they_come() -> None:
    plants = [pack_plant(entry(name, broker_ca=b"root")) for name in ("c", "a", "b")]
    profiles = {"acme": PROFILE}
    assert assemble(plants, profiles, generation=3) == assemble(plants[::-1], profiles, generation=3)
    assert assemble(plants, profiles, generation=3) == pack(
        [entry(name, broker_ca=b"root") for name in ("a", "b", "c")], profiles, generation=3
    )


def test_a_packed_plant_knows_what_it_adds_to_a_bundle() -> None:
    two = [pack_plant(entry(name), inputs="0123") for name in ("a", "bc")]
    added = [
        sum(map(len, assemble(two[: n + 1], {}, generation=1).values()))
        - sum(map(len, assemble(two[:n], {}, generation=1).values()))
        for n in range(2)
    ]
    assert added[1] == two[1].size
    assert added[0] >= two[0].size


def test_what_a_plant_was_made_from_is_told_by_the_manifest_alone() -> None:
    files = assemble(
        [pack_plant(entry("a"), inputs="uid/7"), pack_plant(entry("b"))], {}, generation=5, notes={"b": "why"}
    )
    held = contents({MANIFEST: files[MANIFEST]})
    assert (held.format_version, held.generation, held.notes) == (1, 5, {"b": "why"})
    assert {name: each.inputs for name, each in held.plants.items()} == {"a": "uid/7", "b": ""}
    assert held.plants["a"].digest == sha256(files["plant-a.json.gz"]).hexdigest()


def test_a_plant_that_leaves_is_noted_until_its_gateway_has_let_go_of_it() -> None:
    left = Leaving(plant="a", plant_id="3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f", since=4)
    files = assemble([pack_plant(entry("b"))], {"acme": PROFILE}, generation=4, leaving=[left])
    assert contents(files).leaving == (left,)
    assert [item.plant.metadata.name for item in unpack(files).plants] == ["b"]
    assert not says_the_same(files[MANIFEST], packed("b")[MANIFEST])


def test_readers_ignore_what_plants_were_made_from() -> None:
    noted = assemble([pack_plant(entry("a"), inputs="uid/7")], {"acme": PROFILE}, generation=3)
    assert unpack(noted) == unpack(packed("a"))
    assert says_the_same(noted[MANIFEST], packed("a")[MANIFEST])
    assert not says_the_same(noted[MANIFEST], packed("b")[MANIFEST])
    assert not says_the_same(b"[]", b"[]")


def test_a_packed_plant_is_taken_out_of_a_bundle_as_it_went_in() -> None:
    before = [pack_plant(entry(name, broker_ca=b"root"), inputs=f"of {name}") for name in ("a", "b")]
    files = assemble(before, {"acme": PROFILE}, generation=1)
    assert list(packed_in(files).values()) == before
    assert list(packed_in(files, {"b"}).values()) == before[1:]


def test_a_plant_that_is_not_whole_is_not_taken_out() -> None:
    files = assemble([pack_plant(entry(name, broker_ca=b"root")) for name in ("a", "b")], {}, generation=1)
    assert packed_in({**files, "plant-a.json.gz": b"rubbish"}).keys() == {"b"}
    assert not packed_in({**files, "authorities.json.gz": b"rubbish"})
    assert not packed_in({MANIFEST: files[MANIFEST]})
    with pytest.raises(BundleUnreadableError):
        packed_in({})


def test_lost_credentials_are_found_in_a_bundle() -> None:
    item = entry("a", tls_key=b"key", tls_certificate=b"certificate", broker_ca=b"root")
    files = pack([item, entry("b")], {}, generation=1)
    assert credentials_in(files, "a", plant_id=item.plant.spec.plant_id) == item.credentials


def test_credentials_that_are_not_there_whole_are_not_given() -> None:
    files = packed("a", "b")
    for name, there in (("c", files), ("a", {**files, "plant-a.json.gz": b"rubbish"})):
        with pytest.raises(NotHeldError, match=name):
            credentials_in(there, name, plant_id=plant("a").spec.plant_id)


def test_credentials_of_another_plant_of_the_same_name_are_not_given() -> None:
    with pytest.raises(NotHeldError, match="holds plant 3f2c1a9e"):
        credentials_in(packed("a"), "a", plant_id="00000000-0000-4000-8000-000000000000")


def test_reprs_show_no_keys() -> None:
    item = pack_plant(entry("a", password="planted"))
    assert str(item.content) not in repr(item)
    assert "planted" not in repr(entry("a", password="planted"))


def test_a_file_that_unpacks_to_more_than_any_plant_is_not_read() -> None:
    files = packed("a")
    bomb = gzip.compress(b'{"plant": [' + b"[]," * 10_000_000 + b"[]]}", mtime=0)
    assert len(bomb) < MAX_BYTES
    manifest = json.loads(files[MANIFEST])
    manifest["files"]["plant-a.json.gz"] = sha256(bomb).hexdigest()
    forged = {**files, MANIFEST: json.dumps(manifest).encode(), "plant-a.json.gz": bomb}
    tracemalloc.start()
    try:
        assert packed_in(forged) == {}
        with pytest.raises(NotHeldError):
            credentials_in(forged, "a", plant_id=plant("a").spec.plant_id)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_only_a_format_of_another_version_is_no_damage() -> None:
    files = packed("a")
    with pytest.raises(UnknownFormatError):
        contents({**files, MANIFEST: edited(files[MANIFEST], formatVersion=99)})
    with pytest.raises(BundleUnreadableError) as caught:
        contents({**files, MANIFEST: edited(files[MANIFEST], formatVersion=None)})
    assert not isinstance(caught.value, UnknownFormatError)


@pytest.mark.parametrize("version", FORMATS)
def test_every_format_that_is_read_can_be_written(version: int) -> None:
    one = pack_plant(entry("a", broker_ca=b"root"), inputs="uid/7")
    files = assemble([one], {"acme": PROFILE}, generation=3, format_version=version)
    assert contents(files).format_version == unpack(files).format_version == version
    assert list(packed_in(files).values()) == [one]


@given(GZIPS)
def test_files_that_hold_the_same_stay_as_they_are_by_whatever_they_were_compressed(other: Gzip) -> None:
    plants = [pack_plant(entry(name, broker_ca=b"root")) for name in ("a", "b")]
    before = other.bundle(assemble(plants, {"acme": PROFILE}, generation=3))
    after = assemble(plants, {"acme": PROFILE}, generation=4, before=before)
    assert says_the_same(after[MANIFEST], before[MANIFEST])
    assert {**after, MANIFEST: b""} == {**before, MANIFEST: b""}
    changed = [pack_plant(entry("a", broker_ca=b"root", password="new")), plants[1]]
    after = assemble(changed, {"acme": PROFILE}, generation=4, before=before)
    assert {name for name in after if after[name] != before[name]} == {MANIFEST, "plant-a.json.gz"}
    assert not unpack(after).unreadable


@given(GZIPS)
def test_a_reader_finds_the_same_in_a_bundle_that_was_compressed_otherwise(other: Gzip) -> None:
    files = pack([entry(name, broker_ca=b"root") for name in ("a", "b")], {"acme": PROFILE}, generation=3)
    first = unpack(files)
    second = unpack(other.bundle(files), first)
    assert (second.plants, second.profiles, second.unreadable) == (first.plants, first.profiles, ())


@given(GZIPS)
def test_files_hold_the_same_if_their_documents_are_the_same(other: Gzip) -> None:
    one, another = (packed(name)[f"plant-{name}.json.gz"] for name in ("a", "b"))
    assert hold_the_same(one, other.file(one))
    assert hold_the_same(other.file(one), one)
    assert not hold_the_same(other.file(one), another)
    for broken in (b"", b"rubbish", other.file(one)[:-1], other.file(one) + b"more"):
        assert not hold_the_same(one, broken)
        assert not hold_the_same(broken, one)


def forged(files: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    """A bundle as somebody may write it who may write Secrets: whole, and with these files and plants."""
    manifest = json.loads(files[MANIFEST])
    changed = dict(files)
    for name, document in changes.items():
        if name == "plants":
            manifest["plants"] = document
            continue
        file = f"{name.replace('_', '-')}.json.gz"
        changed[file] = gzip.compress(json.dumps(document).encode(), mtime=0)
        manifest["files"][file] = sha256(changed[file]).hexdigest()
    return {**changed, MANIFEST: json.dumps(manifest).encode()}


@pytest.mark.parametrize("plants", [["a", "a"], ["a"] * 100_000, [f"p{n}" for n in range(5_001)]])
def test_a_bundle_that_lists_plants_twice_or_more_than_there_can_be_is_not_read(plants: list[str]) -> None:
    with pytest.raises(BundleUnreadableError, match="lists plants twice, or more than 5000"):
        packed_in(forged(packed("a"), plants=plants))


def document_of(files: dict[str, bytes], name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(files[f"plant-{name}.json.gz"]))
    return found


def test_many_plants_with_one_root_keep_one_copy_of_it_and_a_huge_one_is_none() -> None:
    files = pack([entry(name, broker_ca=b"root") for name in ("a", "b")], {"acme": PROFILE}, generation=3)
    first, second = packed_in(files).values()
    assert first.authority is second.authority
    key = sha256(b"root").hexdigest()
    assert packed_in(forged(files, authorities={key: "x" * (1024 * 1024)})) == {}


def test_no_more_is_unpacked_of_a_bundle_than_all_plants_of_a_gateway_need() -> None:
    names = [f"p{n}" for n in range(30)]
    files = packed(*names)
    fat = document_of(files, "p0") | {"more": "x" * (3 * 1024 * 1024)}
    found = packed_in(forged(files, **{f"plant_{name}": fat for name in names}))
    assert len(found) == 64 // 3


@pytest.mark.parametrize("change", [{"plantId": "x" * 1000}, {"plantId": "3F2C"}, {"plantId": 7}])
def test_what_no_api_server_has_let_pass_is_no_plant(change: dict[str, object]) -> None:
    files = packed("a")
    document = document_of(files, "a")
    document["plant"]["spec"] |= change
    assert packed_in(forged(files, plant_a=document)) == {}


@pytest.mark.parametrize("host", ["h" * 1000])
def test_a_plant_with_a_host_of_no_possible_name_is_not_kept(host: str) -> None:
    files = packed("a")
    document = document_of(files, "a")
    document["plant"]["spec"]["connections"][0]["modbusTcp"]["host"] = host
    assert packed_in(forged(files, plant_a=document)) == {}
