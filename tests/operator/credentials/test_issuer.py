"""The CA that issues: given by a person, or made once for the fleet."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.operator.credentials.world import START, fleet_ca
from tests.support.pki import odd_certificates
from tests.support.plants import PLANT_ID
from voke_operator import names
from voke_operator.credentials import material
from voke_operator.credentials.decisions import Create, Finding, Reason, Refuse, Update
from voke_operator.credentials.issuer import (
    Issuer,
    MintFleetCa,
    decide_fleet_ca,
    read_issuer,
    still_usable,
)
from voke_operator.credentials.material import Material
from voke_operator.credentials.secret import Secret, from_document, to_document

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
YEAR = timedelta(days=365)
ODD = odd_certificates("Voke Root")


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def authority(
    key: Key,
    *,
    ca: bool = True,
    name: str = "Voke Root",
    issuer: tuple[x509.Certificate, Key] | None = None,
    start: datetime = START - YEAR,
    end: datetime = START + YEAR,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above, above_key = (subject, key) if issuer is None else (issuer[0].subject, issuer[1])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(above_key, None if isinstance(above_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )


def pem(*parts: x509.Certificate | Key) -> bytes:
    return b"".join(
        part.public_bytes(Encoding.PEM)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for part in parts
    )


def given_ca(data: Material) -> Secret:
    return Secret("voke-ca", "voke-system", {}, data, type="kubernetes.io/tls")


def usable(data: Material, now: datetime = START) -> Issuer:
    issuer = read_issuer(given_ca(data), now=now)
    assert isinstance(issuer, Issuer), issuer
    return issuer


def why(data: Material, now: datetime = START) -> str:
    finding = read_issuer(given_ca(data), now=now)
    assert isinstance(finding, Finding)
    assert finding.reason is Reason.ISSUER_UNUSABLE
    assert finding.message.startswith(
        "the issuing CA in the Secret voke-ca of namespace voke-system cannot be used: "
    )
    return finding.message


@pytest.mark.parametrize("names_", [("tls.crt", "tls.key"), ("ca.crt", "ca.key")])
@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_given_ca_issues_what_openssl_accepts(kind: str, names_: tuple[str, str], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    key: Key = p256() if kind == "EC" else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    root = authority(key, start=now - YEAR, end=now + YEAR)
    issuer = usable({names_[0]: pem(root), names_[1]: pem(key)}, now)
    leaf = material.new_client_certificate(PLANT_ID, issuer.material, now)
    for name, content in leaf.items():
        (tmp_path / name).write_bytes(content)
    command = ("openssl", "verify", "-purpose", "sslclient", "-CAfile", "ca.crt", "tls.crt")
    assert b": OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout


def test_a_client_shows_what_is_between_its_issuer_and_the_root(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    root_key, middle_key = p256(), p256()
    root = authority(root_key, start=now - YEAR, end=now + YEAR)
    middle = authority(middle_key, name="Fleet", issuer=(root, root_key), start=now - YEAR, end=now + YEAR)
    # As cert-manager writes it: the chain in tls.crt, the root in ca.crt.
    issuer = usable({"tls.crt": pem(middle), "tls.key": pem(middle_key), "ca.crt": pem(root)}, now)
    leaf = material.new_client_certificate(PLANT_ID, issuer.material, now)
    (tmp_path / "shown.pem").write_bytes(leaf["tls.crt"])
    (tmp_path / "root.pem").write_bytes(pem(root))
    command = ("openssl", "verify", "-CAfile", "root.pem", "-untrusted", "shown.pem", "shown.pem")
    assert b": OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout


def test_why_a_given_ca_cannot_be_used() -> None:
    key, root = (key := p256()), authority(key)
    good = {"tls.crt": pem(root), "tls.key": pem(key)}
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    odd = ed25519.Ed25519PrivateKey.generate()
    assert "it has nothing" in why({})
    assert "it has tls.crt" in why({"tls.crt": pem(root)})
    assert "tls.crt or tls.key is not PEM, or damaged" in why({**good, "tls.crt": b"x"})
    assert "tls.crt or tls.key is not PEM, or damaged" in why({**good, "tls.key": b"x"})
    assert "tls.key is encrypted" in why({**good, "tls.key": encrypted})
    assert "its key is not that of its first certificate" in why({**good, "tls.key": pem(p256())})
    assert "neither ECDSA nor RSA" in why({"tls.crt": pem(authority(odd)), "tls.key": pem(odd)})
    assert "it is not a CA" in why({**good, "tls.crt": pem(authority(key, ca=False))})
    assert "it is not valid before 2025-01-01" in why(good, START - 2 * YEAR)
    assert "it ended on 2027-01-01 00:00 UTC: give the operator its successor" in why(good, START + 2 * YEAR)


def test_a_ca_without_purposes_and_one_that_may_not_sign() -> None:
    key = p256()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(START - YEAR)
        .not_valid_after(START + YEAR)
    )
    bare = builder.sign(key, hashes.SHA256())
    assert "it is not a CA" in why({"tls.crt": pem(bare), "tls.key": pem(key)})


def test_a_ca_that_was_read_is_usable_until_it_ends() -> None:
    key = p256()
    issuer = usable({"tls.crt": pem(authority(key)), "tls.key": pem(key)})
    assert still_usable(issuer, now=START) is issuer
    assert isinstance(still_usable(issuer, now=issuer.not_after), Finding)


def test_an_issuer_does_not_show_its_key() -> None:
    issuer = fleet_ca()
    assert "PRIVATE" not in repr(issuer)
    assert issuer.id in repr(issuer)


def made_fleet_ca() -> Secret:
    decision = decide_fleet_ca(
        None, namespace="voke-system", now=START, fresh=material.new_fleet_ca(START, "fleet")
    )
    assert isinstance(decision, Create)
    return replace(from_document(to_document(decision.secret)), uid="1", resource_version="1")


def test_the_fleet_ca_is_made_at_first_need_and_then_used() -> None:
    assert decide_fleet_ca(None, namespace="voke-system", now=START) == MintFleetCa()
    secret = made_fleet_ca()
    assert (secret.name, secret.namespace) == ("voke-fleet-ca", "voke-system")
    assert secret.type == names.FLEET_CA_SECRET_TYPE
    assert secret.owners == ()
    assert sorted(secret.data) == ["ca.crl", "ca.crt", "ca.key"]
    issuer = decide_fleet_ca(secret, namespace="voke-system", now=START, issued_by=["gone"])
    assert isinstance(issuer, Issuer)
    assert issuer.id == secret.annotations[names.ISSUER_ANNOTATION]


def test_a_lost_fleet_ca_is_not_made_again_unless_a_person_gives_it_up() -> None:
    def decide(**others: object) -> object:
        return decide_fleet_ca(None, namespace="voke-system", now=START, issued_by=["a1", "b2"], **others)  # type: ignore[arg-type]

    refused = decide()
    assert isinstance(refused, Refuse)
    assert refused.problems[0].reason is Reason.KEY_LOST
    assert "a1, b2" in refused.problems[0].message
    assert isinstance(decide(replace=["a1"]), Refuse)
    assert decide(replace=["a1", "b2"]) == MintFleetCa()


def test_a_strangers_secret_is_not_taken_for_the_fleet_ca() -> None:
    secret = made_fleet_ca()
    for strange in (replace(secret, type="Opaque"), replace(secret, labels={})):
        decision = decide_fleet_ca(strange, namespace="voke-system", now=START)
        assert isinstance(decision, Refuse)
        assert decision.problems[0].reason is Reason.NAME_CONFLICT


def test_an_edited_fleet_ca_is_refused() -> None:
    secret, other = made_fleet_ca(), material.new_fleet_ca(START, "other")
    damaged = decide_fleet_ca(
        replace(secret, data={**secret.data, "ca.key": other["ca.key"]}), namespace="voke-system", now=START
    )
    assert isinstance(damaged, Refuse)
    assert damaged.problems[0].reason is Reason.ISSUER_UNUSABLE
    exchanged = decide_fleet_ca(
        replace(secret, data={**secret.data, **other}), namespace="voke-system", now=START
    )
    assert isinstance(exchanged, Refuse)
    assert exchanged.problems[0].reason is Reason.KEY_LOST


@pytest.mark.parametrize(
    "list_", [None, b"x", material.revocation_list(material.new_fleet_ca(START, "other"), START)]
)
def test_the_revocation_list_is_restored(list_: bytes | None) -> None:
    secret = made_fleet_ca()
    data = {name: content for name, content in secret.data.items() if name != "ca.crl"}
    edited = replace(secret, data=data if list_ is None else {**data, "ca.crl": list_})
    decision = decide_fleet_ca(edited, namespace="voke-system", now=START)
    assert isinstance(decision, Update)
    assert decision.changes == ("data[ca.crl]",)
    assert decision.secret.resource_version == "1"
    assert isinstance(decide_fleet_ca(decision.secret, namespace="voke-system", now=START), Issuer)


@pytest.mark.parametrize("odd", ODD)
def test_a_ca_that_nobody_understands_is_refused_in_a_sentence(odd: str) -> None:
    certificate, key = ODD[odd]
    assert "cannot be used" in why({"tls.crt": certificate, "tls.key": key})
