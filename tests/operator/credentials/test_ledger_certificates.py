"""Client certificates: renewed in time, by a CA that may change or end, and never one of another CA."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.operator.credentials.world import (
    NO_ISSUER,
    START,
    Operator,
    Server,
    days,
    ending_ca,
    fleet_ca,
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
    Keep,
    Mint,
    Reason,
    Record,
    Refuse,
    Update,
)
from voke_operator.credentials.issuer import Issuer
from voke_operator.credentials.keys import issued_by
from voke_operator.credentials.secret import Secret


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
