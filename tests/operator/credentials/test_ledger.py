"""A plant's own Secret: made once, kept, restored, and never exchanged without a person's word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.operator.credentials.world import (
    OTHER_PLANT_ID,
    START,
    Operator,
    Server,
    edit,
    ids,
    kept,
    kinds,
    refused,
    secret_of,
    served,
    work,
)
from tests.support.plants import PLANT_ID
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import (
    Create,
    Keep,
    Mint,
    Reason,
    Record,
    Update,
    needs_fresh_reads,
)
from voke_operator.credentials.ids import parse_ids
from voke_operator.credentials.ledger import decide
from voke_operator.credentials.secret import from_document, to_document


def test_a_new_plant_takes_two_writes_before_its_keys_are_used() -> None:
    server = Server()
    server.put_plant()
    decisions = work(server)
    assert kinds(decisions) == [Mint, Create, Record, Keep]
    assert not any(needs_fresh_reads(each) for each in decisions)


def test_at_rest_nothing_is_written() -> None:
    server = served()
    assert kinds(work(server)) == [Keep]


def test_the_secret_says_whose_it_is_and_which_keys_it_holds() -> None:
    server = served()
    secret, plant = secret_of(server), server.plant
    assert plant is not None
    assert secret.name == "voke-plant-site"
    assert secret.type == names.PLANT_SECRET_TYPE
    assert secret.labels == {**names.OWNED, names.PLANT_LABEL: "site"}
    assert secret.annotations[names.PLANT_ID_ANNOTATION] == PLANT_ID
    assert parse_ids(secret.annotations[names.KEY_IDS_ANNOTATION]) == plant.recorded == ids(secret.data)
    assert sorted(secret.data) == ["ca.crt", "hmac.key", "tls.crt", "tls.key"]
    (owner,) = secret.owners
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Plant", "site", plant.uid)


def test_a_jwt_plant_gets_a_pair_and_its_public_half_in_both_forms() -> None:
    server = served(method="JWT")
    assert sorted(secret_of(server).data) == [
        "hmac.key",
        "jwt-private.pem",
        "jwt-public.der",
        "jwt-public.pem",
    ]


def test_a_plant_that_brings_everything_needs_no_secret() -> None:
    server = Server()
    server.put_plant(method="PASSWORD")
    plant = server.plant
    assert plant is not None
    document = plant.plant.model_dump(by_alias=True, mode="json")
    document["spec"]["credentials"]["hmac"] = {"secretRef": {"name": "login"}}
    brings_all = type(plant.plant).model_validate(document)
    decision = decide(brings_all, None, recorded=(), copy=None, issuer=None, now=START)
    assert decision == Keep(in_use=(), material={})


def test_a_changed_method_adds_keys_and_touches_none() -> None:
    server = served(method="PASSWORD")
    before = secret_of(server)
    server.put_plant(method="JWT")
    assert kinds(work(server)) == [Mint, Update, Record, Keep]
    after = secret_of(server)
    assert before.data.items() < after.data.items()
    server.put_plant(method="PASSWORD")
    assert kinds(work(server)) == [Record, Keep]
    server.put_plant(method="JWT")
    assert kinds(work(server)) == [Record, Keep]
    assert secret_of(server).data == after.data


def test_the_second_of_two_writers_takes_the_first_ones_keys() -> None:
    server = Server()
    server.put_plant()
    one, two = Operator(server), Operator(server)
    for operator in (one, two):
        operator.read()
        operator.think()
        operator.act()
        operator.think()
        assert isinstance(operator.about_to, Create)
    one.act()
    first = secret_of(server)
    two.act()
    assert secret_of(server) == first
    assert ids(kept(server).material) == ids(first.data)


def test_a_crash_before_the_status_is_written_costs_nothing() -> None:
    server = Server()
    server.put_plant()
    operator = Operator(server)
    operator.read()
    while server.secret is None:
        operator.think()
        operator.act()
    assert kinds(work(server)) == [Record, Keep]


@pytest.mark.parametrize("method", ["MTLS", "JWT"])
def test_a_deleted_secret_is_restored_from_the_bundle(method: str) -> None:
    server = served(method=method)
    before = secret_of(server)
    server.put_secret(None)
    decisions = work(server)
    assert kinds(decisions) == [Create, Keep]
    assert needs_fresh_reads(decisions[0])
    assert secret_of(server).data == before.data
    assert secret_of(server).annotations == before.annotations


EDITS = {
    "another key": {material.HMAC_KEY: b"0" * 64},
    "a key with a newline": {material.HMAC_KEY: b"0" * 64 + b"\n"},
    "a foreign pair": {
        name: content
        for name, content in material.new_client_certificate(
            PLANT_ID, material.new_fleet_ca(START, "x"), START
        ).items()
        if name != material.ISSUER
    },
    "another plant's certificate": material.new_client_certificate(
        OTHER_PLANT_ID, material.new_fleet_ca(START, "x"), START
    ),
    "an RSA key": {
        material.TLS_KEY: rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    },
    "garbage": {material.TLS_CERTIFICATE: b"\xff", material.HMAC_KEY: b"", material.ISSUER: b"x"},
}


@pytest.mark.parametrize("edit_", EDITS.values(), ids=EDITS.keys())
def test_an_edited_secret_is_restored_to_the_keys_that_are_recorded(edit_: dict[str, bytes]) -> None:
    server = served()
    before = secret_of(server)
    edit(server, data={**before.data, **edit_})
    assert kinds(work(server)) == [Update, Keep]
    assert secret_of(server).data == before.data


@pytest.mark.parametrize("file", [material.JWT_PRIVATE, material.JWT_PUBLIC_PEM, material.JWT_PUBLIC_DER])
def test_edited_jwt_files_are_restored(file: str) -> None:
    server = served(method="JWT")
    before = secret_of(server)
    other = material.new_jwt_keys()
    edit(server, data={**before.data, file: other[file]})
    assert kinds(work(server)) == [Update, Keep]
    assert secret_of(server).data == before.data


def test_a_damaged_rsa_key_is_found_though_its_public_half_is_right() -> None:
    server = served(method="JWT")
    before = secret_of(server)
    key = material.load_private_key(before.data[material.JWT_PRIVATE])
    assert isinstance(key, rsa.RSAPrivateKey)
    numbers = key.private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d + 2,
        dmp1=numbers.dmp1,
        dmq1=numbers.dmq1,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    pem = damaged.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    edit(server, data={**before.data, material.JWT_PRIVATE: pem})
    assert kinds(work(server)) == [Update, Keep]
    assert secret_of(server).data == before.data


def test_what_others_added_stays() -> None:
    server = served()
    secret = secret_of(server)
    edit(
        server,
        labels={**secret.labels, "team": "solar"},
        annotations={**secret.annotations, "note": "x"},
        data={**secret.data, "more": b"y", material.HMAC_KEY: b"edited"},
    )
    kept(server)
    after = secret_of(server)
    assert after.labels["team"] == "solar"
    assert after.annotations["note"] == "x"
    assert after.data["more"] == b"y"


def test_half_from_the_secret_and_half_from_the_bundle_make_a_pair() -> None:
    server = served()
    before = secret_of(server)
    held = {name: content for name, content in before.data.items() if name != material.TLS_CERTIFICATE}
    server.put_bundle(held)
    edit(server, data={name: before.data[name] for name in (material.HMAC_KEY, material.TLS_CERTIFICATE)})
    kept(server)
    assert secret_of(server).data == before.data


def test_a_secret_from_a_backup_is_brought_up_to_what_is_in_force() -> None:
    server = served()
    backup, before = secret_of(server), server.plant
    assert before is not None
    server.put_plant(replace=before.recorded["hmac"])
    kept(server)
    newest = secret_of(server)
    server.put_secret(replace(backup, uid=""))
    assert kinds(work(server)) == [Update, Keep]
    assert secret_of(server).data == newest.data


def test_with_retain_the_secret_has_no_owner_and_the_next_plant_takes_it_up() -> None:
    server = served(policy="Retain")
    before = secret_of(server)
    assert before.owners == ()
    server.plant = None
    server.put_bundle(None)
    server.put_plant(policy="Retain")
    assert kinds(work(server)) == [Record, Keep]
    assert secret_of(server) == before


def test_a_plant_that_is_to_take_its_secret_along_becomes_its_owner() -> None:
    server = served(policy="Retain")
    before = secret_of(server)
    server.put_plant(policy="Delete")
    (update, *_) = work(server)
    assert isinstance(update, Update)
    assert update.changes == ("ownerReferences",)
    assert needs_fresh_reads(update)
    assert secret_of(server).data == before.data
    assert len(secret_of(server).owners) == 1
    server.put_plant(policy="Retain")
    kept(server)
    assert secret_of(server).owners == ()


def test_a_plant_that_was_created_anew_takes_over_from_the_one_that_is_gone() -> None:
    server = served()
    before = secret_of(server)
    server.plant = None
    server.put_bundle(None)
    server.put_plant()
    assert kinds(work(server)) == [Update, Record, Keep]
    (owner,) = secret_of(server).owners
    assert server.plant is not None
    assert owner["uid"] == server.plant.uid
    assert secret_of(server).data == before.data


STRANGERS: dict[str, dict[str, Any]] = {
    "its type is Opaque": {"type": "Opaque"},
    "it lacks the label app.kubernetes.io/managed-by": {"labels": {names.PLANT_LABEL: "site"}},
    "it lacks the label voke.lovinka.com/plant=site": {"labels": dict(names.OWNED)},
    "it belongs to Deployment web": {
        "owners": ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1"},)
    },
    f"it holds the keys of plant {OTHER_PLANT_ID}": {
        "annotations": {names.PLANT_ID_ANNOTATION: OTHER_PLANT_ID}
    },
    "it lacks the annotation voke.lovinka.com/plant-id": {"annotations": {}, "owners": ()},
}


@pytest.mark.parametrize(("why", "changes"), STRANGERS.items(), ids=STRANGERS.keys())
def test_a_strangers_secret_is_named_and_not_touched(why: str, changes: dict[str, Any]) -> None:
    server = served()
    edit(server, **changes)
    strange = secret_of(server)
    (problem,) = refused(server)
    assert problem.reason is Reason.NAME_CONFLICT
    assert why in problem.message
    assert secret_of(server) == strange


def test_a_plant_that_needs_nothing_of_it_does_not_mind_a_strangers_secret() -> None:
    server = served()
    edit(server, type="Opaque")
    plant = server.plant
    assert plant is not None
    document = plant.plant.model_dump(by_alias=True, mode="json", exclude_none=True)
    ref = {"secretRef": {"name": "keys"}}
    document["spec"]["credentials"] = {"hmac": ref, "mtls": ref}
    brings_all = type(plant.plant).model_validate(document)
    decision = decide(brings_all, server.secret, recorded=(), copy=None, issuer=None, now=START)
    assert decision == Keep(in_use=(), material={})


def test_removed_ids_are_written_again() -> None:
    server = served()
    before = secret_of(server)
    edit(server, annotations={})
    kept(server)
    assert secret_of(server).annotations == before.annotations


def test_without_a_record_an_unusable_key_is_not_replaced() -> None:
    server = served(method="PASSWORD")
    server.put_plant(method="JWT")
    edit(server, data={**secret_of(server).data, material.JWT_PRIVATE: b"by hand"})
    (problem,) = refused(server)
    assert (problem.reason, problem.credential) == (Reason.KEY_LOST, "jwt")
    assert "jwt-private.pem in the Secret voke-plant-site cannot be used" in problem.message
    assert secret_of(server).data[material.JWT_PRIVATE] == b"by hand"


def test_a_secret_survives_the_way_to_the_api_server_and_back() -> None:
    secret = secret_of(served())
    assert from_document(to_document(secret)) == secret


def test_no_decision_shows_what_it_holds() -> None:
    server = served(method="JWT")
    shown = []
    for method in ("JWT", "MTLS"):
        server.put_plant(method=method)
        kept(server)
        held = secret_of(server)
        changes: tuple[dict[str, Any], ...] = (
            {"data": {**held.data, material.HMAC_KEY: b"0" * 64}},
            {"type": "Opaque"},
            {"data": {}},
        )
        for change in changes:
            for bundled in (held.data, None):
                server.put_secret(replace(held, **change))
                server.put_bundle(None if bundled is None else dict(bundled))
                shown += [f"{each!r} {each}" for each in work(server)]
                server.put_secret(held)
                kept(server)
    server.put_plant(replace=ids(held.data)["hmac"])
    shown += [f"{each!r} {each}" for each in work(server)]
    text = "\n".join(shown)
    for planted in (held.data, secret_of(server).data):
        for name, content in planted.items():
            lines = [line for line in content.decode("latin-1").splitlines() if "-----" not in line]
            assert not any(line in text for line in lines if len(line) > 20), name


def test_mint_without_an_issuer_is_refused() -> None:
    from voke_operator.credentials.ledger import mint

    with pytest.raises(material.UnusableIssuerError, match="no CA"):
        mint(["mtls"], PLANT_ID, issuer=None, now=START, random_bytes=bytes)


def test_material_that_is_of_no_use_is_not_taken() -> None:
    server = Server()
    server.put_plant(method="PASSWORD")
    operator = Operator(server)
    operator.read()
    operator.fresh = {"hmac": {material.HMAC_KEY: b"short"}}
    with pytest.raises(ValueError, match="what was made for hmac is not usable"):
        operator.think()


def test_fresh_material_that_is_not_needed_any_more_is_dropped() -> None:
    server = served()
    operator = Operator(server)
    operator.read()
    operator.fresh = {"hmac": material.new_hmac_key(bytes)}
    operator.think()
    assert isinstance(operator.about_to, Keep)


def test_a_record_is_only_of_what_was_generated() -> None:
    server = Server()
    server.put_plant(method="PASSWORD")
    decisions = work(server)
    (record,) = [each for each in decisions if isinstance(each, Record)]
    assert [(each.name, each.source) for each in record.in_use] == [("hmac", "Generated")]


@pytest.mark.parametrize("said", ["x;kubectl${IFS}delete${IFS}ns;#", "\x1b[2J", "ab\ncd"])
def test_what_a_secret_says_of_its_keys_is_not_repeated_unless_it_is_an_id(said: str) -> None:
    server = Server()
    server.put_plant(method="JWT")
    kept(server)
    assert server.plant is not None
    server.plant = replace(server.plant, status=())
    server.put_bundle(None)
    held = secret_of(server)
    server.put_secret(
        replace(
            held,
            data={},
            annotations={**held.annotations, names.KEY_IDS_ANNOTATION: f"hmac={said},jwt={said}"},
        )
    )
    for decision in work(server):
        assert said not in repr(decision)
