"""A plant's own Secret: made once, kept, restored, and never exchanged without a person's word."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.operator.credentials.world import (
    NO_ISSUER,
    OTHER_PLANT_ID,
    START,
    Operator,
    Server,
    days,
    ending_ca,
    fleet_ca,
    ids,
)
from tests.support.plants import PLANT_ID
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import (
    Create,
    Decision,
    Finding,
    Keep,
    Mint,
    Reason,
    Record,
    Refuse,
    Update,
    needs_fresh_reads,
)
from voke_operator.credentials.ids import parse_ids
from voke_operator.credentials.issuer import Issuer
from voke_operator.credentials.keys import issued_by
from voke_operator.credentials.ledger import decide
from voke_operator.credentials.secret import Secret, from_document, to_document


def served(**plant: Any) -> Server:
    """A server with a plant whose credentials are in force."""
    server = Server()
    server.put_plant(**plant)
    kept(server)
    return server


def work(server: Server) -> list[Decision]:
    """All decisions of an operator that has just started, until nothing more is to be done."""
    return list(Operator(server).steps())


def kept(server: Server) -> Keep:
    decision = work(server)[-1]
    assert isinstance(decision, Keep), decision
    return decision


def refused(server: Server) -> tuple[Finding, ...]:
    decision = work(server)[-1]
    assert isinstance(decision, Refuse), decision
    return decision.problems


def secret_of(server: Server) -> Secret:
    assert server.secret is not None
    return server.secret


def edit(server: Server, **changes: Any) -> None:
    server.put_secret(replace(secret_of(server), **changes))


def kinds(decisions: list[Decision]) -> list[type]:
    return [type(each) for each in decisions]


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


def test_a_lost_key_is_said_and_not_replaced() -> None:
    server = served()
    before = server.plant
    server.put_secret(None)
    server.put_bundle(None)
    problems = refused(server)
    assert [(each.reason, each.credential) for each in problems] == [
        (Reason.KEY_LOST, "hmac"),
        (Reason.KEY_LOST, "mtls"),
    ]
    assert server.secret is None
    assert before is not None
    for problem, name in zip(problems, ("hmac", "mtls"), strict=True):
        assert f"the {name} key {before.recorded[name]} is neither in the Secret" in problem.message
        assert problem.message.endswith(
            "kubectl voke credentials site -n default --replace hmac --replace mtls"
        ), "one command for all that is lost"


def test_what_survives_is_restored_though_something_else_is_lost() -> None:
    server = served()
    before = secret_of(server)
    server.put_secret(None)
    server.put_bundle({material.HMAC_KEY: before.data[material.HMAC_KEY]})
    (problem,) = refused(server)
    assert (problem.reason, problem.credential) == (Reason.KEY_LOST, "mtls")
    assert problem.message.endswith("kubectl voke credentials site -n default --replace mtls")
    assert secret_of(server).data == {material.HMAC_KEY: before.data[material.HMAC_KEY]}


def test_a_person_has_lost_keys_replaced_and_that_happens_once() -> None:
    server = served()
    lost = secret_of(server)
    server.put_secret(None)
    server.put_bundle(None)
    server.put_plant(replace=" ".join(ids(lost.data).values()))
    assert kinds(work(server)) == [Mint, Record, Create, Record, Keep]
    after = secret_of(server)
    assert ids(after.data)["hmac"] != ids(lost.data)["hmac"]
    assert kinds(work(server)) == [Keep]
    server.put_secret(None)
    assert kinds(work(server)) == [Create, Keep]
    assert secret_of(server).data == after.data


def test_a_key_that_is_not_lost_is_replaced_on_request_too() -> None:
    server = served()
    before = secret_of(server)
    server.put_plant(replace=ids(before.data)["hmac"])
    assert kinds(work(server)) == [Mint, Record, Update, Record, Keep]
    after = ids(secret_of(server).data)
    assert after["hmac"] != ids(before.data)["hmac"]
    assert after["mtls"] == ids(before.data)["mtls"]


def stopped_before(server: Server, kind: type, *, count: int = 1) -> Operator:
    """An operator that is about to carry out its decision number ``count`` of that kind."""
    operator = Operator(server)
    steps = operator.steps()
    for decision in steps:
        count -= isinstance(decision, kind)
        if not count:
            return operator
    raise AssertionError(f"there was no such {kind.__name__}")


def test_a_key_that_is_to_take_another_ones_place_is_announced_before_the_secret_holds_it() -> None:
    server = served()
    before = secret_of(server)
    in_force = ids(before.data)["hmac"]
    server.put_plant(replace=in_force)
    stopped_before(server, Update)
    assert server.plant is not None
    assert server.plant.recorded["hmac"] == in_force
    assert secret_of(server) == before
    (hmac,) = [each for each in server.plant.status if each.name == "hmac"]
    assert hmac.announced is not None
    kept(server)
    (hmac,) = [each for each in server.plant.status if each.name == "hmac"]
    assert hmac.announced is None


def test_an_operator_that_died_before_the_status_named_the_new_key_is_gone_on_from() -> None:
    server = served()
    server.put_plant(replace=ids(secret_of(server).data)["hmac"])
    stopped_before(server, Record, count=2)
    replaced = secret_of(server)
    assert kinds(work(server)) == [Record, Keep]
    assert secret_of(server) == replaced


def test_what_was_announced_and_never_written_is_made_anew() -> None:
    server = served()
    before = ids(secret_of(server).data)["hmac"]
    server.put_plant(replace=before)
    for _ in range(20):
        stopped_before(server, Update)
    assert server.plant is not None
    (hmac,) = [each for each in server.plant.status if each.name == "hmac"]
    assert len(hmac.announced or ()) == 8, "it does not grow for ever"
    assert kinds(work(server)) == [Mint, Record, Update, Record, Keep]
    assert server.plant.recorded["hmac"] != before


def test_an_announced_key_that_is_written_late_is_taken_though_another_was_announced_since() -> None:
    server = served()
    server.put_plant(replace=ids(secret_of(server).data)["hmac"])
    late, _ = stopped_before(server, Update), stopped_before(server, Update)
    late.act()
    written = secret_of(server)
    assert kinds(work(server)) == [Record, Keep]
    assert secret_of(server) == written


@dataclass(frozen=True)
class Swap:
    """What somebody puts into a plant's Secret, and says there of it."""

    data: dict[str, bytes]
    retired: str = ""

    def into(self, server: Server) -> None:
        secret = secret_of(server)
        data = {**secret.data, **self.data}
        said = {names.KEY_IDS_ANNOTATION: ",".join(f"{name}={key}" for name, key in ids(data).items())}
        if self.retired:
            said["voke.lovinka.com/retired-key-ids"] = self.retired
        server.put_secret(replace(secret, data=data, annotations={**secret.annotations, **said}))


def swaps(server: Server) -> dict[str, Swap]:
    """Keys that look as if the operator had put them there, for a plant whose certificate was renewed once."""
    older = secret_of(server).data
    server.now += days(500)
    kept(server)
    assert server.plant is not None
    retired = ",".join(server.plant.recorded.values())
    assert isinstance(server.issuer, Issuer)
    others = material.new_client_certificate(OTHER_PLANT_ID, server.issuer.material, server.now)
    return {
        "an older certificate of the plant's own": Swap(
            {name: older[name] for name in (material.TLS_CERTIFICATE, material.TLS_KEY)}, retired
        ),
        "another HMAC key": Swap({material.HMAC_KEY: b"ab" * 32}, retired),
        "keys of another plant": Swap({material.HMAC_KEY: b"cd" * 32, **others}, retired),
    }


SWAPS: Final = ("an older certificate of the plant's own", "another HMAC key", "keys of another plant")


@pytest.mark.parametrize("what", SWAPS)
def test_a_secret_that_says_of_itself_to_be_ahead_is_brought_back(what: str) -> None:
    server = served()
    swap = swaps(server)[what]
    before = secret_of(server)
    swap.into(server)
    assert kinds(work(server)) == [Update, Keep]
    assert secret_of(server).data == before.data
    assert (
        secret_of(server).annotations[names.KEY_IDS_ANNOTATION]
        == before.annotations[names.KEY_IDS_ANNOTATION]
    )


@pytest.mark.parametrize("what", SWAPS)
def test_without_a_copy_it_is_said_and_what_runs_goes_on(what: str) -> None:
    server = served()
    swap = swaps(server)[what]
    swap.into(server)
    server.put_bundle(None)
    assert {each.reason for each in refused(server)} == {Reason.KEY_LOST}
    assert all("--replace" in each.message for each in refused(server))
    assert server.bundle.held is None, "nothing of it gets into a bundle"


@pytest.mark.parametrize("what", SWAPS)
@pytest.mark.parametrize(("kind", "count"), [(Record, 1), (Update, 1), (Record, 2), (Keep, 1)])
def test_nothing_else_is_taken_while_keys_are_exchanged(what: str, kind: type, count: int) -> None:
    """Nor by the operator that is at it, nor by the next one."""
    for goes_on in (True, False):
        server = served()
        swap = swaps(server)[what]
        server.now += days(500)  # the certificate is due again
        server.put_plant(replace=ids(secret_of(server).data)["hmac"])
        operator = stopped_before(server, kind, count=count)
        swap.into(server)
        if goes_on:
            operator.act()
        last = work(server)[-1]
        assert server.plant is not None
        planted = ids(swap.data).items()
        assert not planted & server.plant.recorded.items()
        assert not planted & ids(server.bundle.held or {}).items()
        only_there = kind is Keep or (goes_on and count == 2)
        assert isinstance(last, Keep) or only_there, (
            "in force, and not yet in a bundle: it is lost, and that is said"
        )


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


def test_without_an_issuer_nothing_is_made_and_with_one_everything() -> None:
    server = Server()
    server.issuer = NO_ISSUER
    server.put_plant()
    (problem,) = refused(server)
    assert (problem.reason, problem.credential) == (Reason.ISSUER_UNUSABLE, "mtls")
    assert server.secret is None
    server.issuer = fleet_ca()
    kept(server)


def test_a_certificate_is_renewed_with_a_new_key_and_the_old_one_serves_until_then() -> None:
    server = served()
    before = server.bundle.held
    assert before is not None
    server.now += days(500)
    seen = []
    for decision in Operator(server).steps():
        assert server.bundle.held == before
        seen.append(decision)
    assert kinds(seen) == [Mint, Record, Update, Record, Keep]
    after = server.bundle.held
    assert after is not None
    assert after[material.HMAC_KEY] == before[material.HMAC_KEY]
    assert after[material.TLS_KEY] != before[material.TLS_KEY]


def test_a_certificate_that_expired_while_nobody_looked_is_renewed() -> None:
    server = served()
    server.now += days(1000)
    assert kinds(work(server)) == [Mint, Record, Update, Record, Keep]


def test_a_ca_that_changes_leaves_what_it_issued_until_renewal() -> None:
    server = served()
    before = secret_of(server)
    server.issuer = fleet_ca()
    assert kinds(work(server)) == [Keep]
    server.now += days(500)
    kept(server)
    after = secret_of(server)
    assert after.data[material.ISSUER] == server.issuer.material[material.ISSUER]
    assert after.annotations[names.ISSUER_ANNOTATION] == server.issuer.id
    assert before.annotations[names.ISSUER_ANNOTATION] != server.issuer.id


def test_an_unusable_issuer_is_a_warning_while_the_certificate_lasts_and_a_refusal_after() -> None:
    server = served()
    server.issuer = NO_ISSUER
    assert kept(server).warnings == ()
    server.now += days(500)
    (warning,) = kept(server).warnings
    assert (warning.reason, warning.credential) == (Reason.ISSUER_UNUSABLE, "mtls")
    server.now += days(300)
    (problem,) = refused(server)
    assert (problem.reason, problem.credential) == (Reason.ISSUER_UNUSABLE, "mtls")


def test_a_ca_that_ends_issues_each_certificate_once() -> None:
    server = Server()
    server.issuer = ending_ca(START + days(100))
    server.put_plant()
    kept(server)
    serials = set()
    for _ in range(99 * 4):
        server.now += timedelta(hours=6)
        last = kept(server)
        serials.add(ids(secret_of(server).data)["mtls"])
    assert len(serials) == 1
    (warning,) = last.warnings
    assert warning.reason is Reason.ISSUER_EXPIRES
    server.issuer = fleet_ca(server.now)
    assert kept(server).warnings == ()
    assert ids(secret_of(server).data)["mtls"] not in serials


def test_the_caller_is_told_when_to_look_again() -> None:
    server = served()
    due = kept(server).next_check
    assert due is not None
    server.now = due - timedelta(seconds=1)
    assert kinds(work(server)) == [Keep]
    server.now = due
    assert kinds(work(server)) == [Mint, Record, Update, Record, Keep]
    assert served(method="JWT").plant is not None
    assert kept(served(method="JWT")).next_check is None


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


def planted(server: Server, serial: int | None = None, **annotations: str) -> dict[str, bytes]:
    """A tenant puts a certificate of a CA of his own, with that CA, into the plant's Secret."""
    authority = material.new_fleet_ca(START, "a CA of somebody else's")
    files = made_with(PLANT_ID, authority, serial)
    before = secret_of(server)
    server.put_secret(
        replace(
            before,
            data={**before.data, **files},
            annotations={**before.annotations, **annotations},
        )
    )
    return files


def made_with(plant_id: str, authority: material.Material, serial: int | None) -> dict[str, bytes]:
    """A client certificate like the operator's, with a serial number of one's choice."""
    key = ec.generate_private_key(ec.SECP256R1())
    root = x509.load_pem_x509_certificate(authority[material.ISSUER])
    signer = material.load_private_key(authority[material.ISSUER_KEY])
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, plant_id)]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(START - days(1))
        .not_valid_after(START + days(700))
        .sign(signer, SHA256())
    )
    return {
        material.TLS_CERTIFICATE: leaf.public_bytes(Encoding.PEM),
        material.TLS_KEY: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        material.ISSUER: authority[material.ISSUER],
    }


def test_a_certificate_of_another_ca_is_not_the_one_in_force_whatever_its_serial_number() -> None:
    server = served()
    before = secret_of(server).data
    leaf = x509.load_pem_x509_certificate(before[material.TLS_CERTIFICATE])
    planted(server, leaf.serial_number)
    assert kept(server).material == before, "restored from the bundle"
    assert secret_of(server).data == before


def test_a_certificate_of_another_ca_is_not_the_next_one_whatever_the_secret_says() -> None:
    server = served()
    assert server.plant is not None
    in_force = server.plant.recorded["mtls"]
    files = planted(server)
    its_id = ids(files)["mtls"]
    hmac_id = server.plant.recorded["hmac"]
    planted_again = {
        names.KEY_IDS_ANNOTATION: f"hmac={hmac_id},mtls={its_id}",
        "voke.lovinka.com/retired-key-ids": in_force,
    }
    server.put_secret(
        replace(secret_of(server), annotations={**secret_of(server).annotations, **planted_again})
    )
    decision = kept(server)
    assert server.plant.recorded["mtls"] == in_force
    assert ids(decision.material)["mtls"] == in_force, "the bundle has the one in force"

    planted(server, None, **planted_again)
    server.put_bundle(None)
    refused = work(server)[-1]
    assert isinstance(refused, Refuse)
    (problem,) = refused.problems
    assert problem.reason is Reason.KEY_LOST
    assert "where somebody has put another one" in problem.message

    server.put_plant(replace=in_force)
    assert issued_by_ours(server, kept(server))


def issued_by_ours(server: Server, decision: Keep) -> bool:
    assert isinstance(server.issuer, Issuer)
    leaf = x509.load_pem_x509_certificate(decision.material[material.TLS_CERTIFICATE])
    return issued_by(leaf, server.issuer.material[material.ISSUER])


def test_a_certificate_of_another_ca_that_was_there_first_is_not_taken_up() -> None:
    server = Server()
    server.put_plant()
    authority = material.new_fleet_ca(START, "a CA of somebody else's")
    files = made_with(PLANT_ID, authority, None)
    server.put_secret(
        Secret(
            names.plant_secret("battery"),
            "energy",
            labels={
                **names.OWNED,
                names.PLANT_LABEL: server.plant.plant.metadata.name if server.plant else "",
            },
            annotations={names.PLANT_ID_ANNOTATION: PLANT_ID},
            data={material.HMAC_KEY: b"0" * 64, **files},
            type=names.PLANT_SECRET_TYPE,
        )
    )
    refused = work(server)[-1]
    assert isinstance(refused, Refuse)
    (problem,) = refused.problems
    assert f"{names.REPLACE_ANNOTATION}={ids(files)['mtls']}" in problem.message
    server.put_plant(replace=ids(files)["mtls"])
    assert issued_by_ours(server, kept(server))


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
