"""Generated material, judged by openssl and by the formats that Voke asks for."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from voke_operator.credentials import material

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
NOW = datetime.now(UTC).replace(microsecond=0)


def openssl(*args: str, stdin: bytes = b"") -> bytes:
    command = ["openssl", *args]
    return subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=60).stdout


def test_the_hmac_key_is_256_bits_in_hex() -> None:
    key = material.new_hmac_key(os.urandom)[material.HMAC_KEY]
    assert len(key) == 64
    bytes.fromhex(key.decode())


def test_openssl_accepts_the_client_certificate_for_tls_clients(tmp_path: Path) -> None:
    ca = material.new_fleet_ca(NOW, "voke-fleet CA")
    leaf = material.new_client_certificate(PLANT_ID, ca, NOW)
    for name, content in leaf.items():
        (tmp_path / name).write_bytes(content)
    arguments = ("-purpose", "sslclient", "-x509_strict", "-CAfile", str(tmp_path / "ca.crt"))
    assert b": OK" in openssl("verify", *arguments, str(tmp_path / "tls.crt"))
    subject = openssl("x509", "-noout", "-subject", "-in", str(tmp_path / "tls.crt"))
    assert subject.strip().endswith(f"CN = {PLANT_ID}".encode())


def test_certificate_and_key_belong_together_and_the_request_is_for_the_same_key() -> None:
    leaf = material.new_client_certificate(PLANT_ID, material.new_fleet_ca(NOW, "CA"), NOW)
    certificate = x509.load_pem_x509_certificate(leaf[material.TLS_CERTIFICATE])
    key = load_pem_private_key(leaf[material.TLS_KEY], password=None)
    request = x509.load_pem_x509_csr(material.certificate_request(PLANT_ID, leaf[material.TLS_KEY]))
    assert certificate.public_key() == key.public_key() == request.public_key()
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == f"CN={PLANT_ID}"


def test_a_leaf_never_outlives_its_issuer() -> None:
    ca = material.new_fleet_ca(NOW - timedelta(days=3600), "CA")
    leaf = material.new_client_certificate(PLANT_ID, ca, NOW)
    issued = x509.load_pem_x509_certificate(leaf[material.TLS_CERTIFICATE])
    assert issued.not_valid_after_utc == NOW + timedelta(days=50)


def test_an_expired_or_foreign_issuer_is_refused() -> None:
    expired = material.new_fleet_ca(NOW - timedelta(days=4000), "CA")
    with pytest.raises(material.UnusableIssuerError, match="expired on"):
        material.new_client_certificate(PLANT_ID, expired, NOW)
    one, other = material.new_fleet_ca(NOW, "one"), material.new_fleet_ca(NOW, "other")
    with pytest.raises(material.UnusableIssuerError, match="does not belong"):
        material.new_client_certificate(PLANT_ID, {**one, "ca.key": other["ca.key"]}, NOW)


def test_the_jwt_public_key_for_the_broker_is_pkcs1_der() -> None:
    keys = material.new_jwt_keys()
    der = keys[material.JWT_PUBLIC_DER]
    assert len(der) == 270
    assert der.hex().startswith("3082010a0282")
    converted = openssl(
        "rsa", "-pubin", "-RSAPublicKey_out", "-outform", "DER", stdin=keys[material.JWT_PUBLIC_PEM]
    )
    assert converted == der
    assert keys[material.JWT_PRIVATE].startswith(b"-----BEGIN RSA PRIVATE KEY-----")


def test_openssl_finds_nothing_revoked_by_the_issuers_list(tmp_path: Path) -> None:
    ca = material.new_fleet_ca(NOW, "voke-fleet CA")
    leaf = material.new_client_certificate(PLANT_ID, ca, NOW)
    for name, content in {**leaf, "ca.crl": material.revocation_list(ca, NOW)}.items():
        (tmp_path / name).write_bytes(content)
    arguments = ("-crl_check", "-CAfile", str(tmp_path / "ca.crt"), "-CRLfile", str(tmp_path / "ca.crl"))
    assert b": OK" in openssl("verify", *arguments, str(tmp_path / "tls.crt"))
