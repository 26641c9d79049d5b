"""Throw-away certification authorities, in memory, for TLS tests."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
from dataclasses import dataclass
from math import gcd
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A root that issues certificates, without key identifiers: so are those of many a Kubernetes cluster."""

    def __init__(
        self, name: str = "Test Root", *, valid: tuple[dt.timedelta, dt.timedelta] = (-DAY, 365 * DAY)
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key.public_key(), valid)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        common_name: str,
        *,
        organization: str | None = None,
        hosts: tuple[str, ...] = (),
        valid: tuple[dt.timedelta, dt.timedelta] = (-DAY, 30 * DAY),
    ) -> Leaf:
        """A server certificate if there are hosts, a client certificate otherwise. ``valid`` counts from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = {NameOID.COMMON_NAME: common_name, NameOID.ORGANIZATION_NAME: organization}
        subject = x509.Name([x509.NameAttribute(oid, name) for oid, name in names.items() if name])
        usage = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(subject, key.public_key(), valid).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        return Leaf(
            builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    def revocation_list(self, *revoked: Leaf) -> bytes:
        """A CRL that names ``revoked``, PEM."""
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now - DAY)
            .next_update(now + DAY)
        )
        for leaf in revoked:
            serial = x509.load_pem_x509_certificate(leaf.certificate).serial_number
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: tuple[dt.timedelta, dt.timedelta]
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
        )


def odd_certificates(common_name: str) -> dict[str, tuple[bytes, bytes]]:
    """Certificates that are well-formed DER and still make no sense, by what is odd, each with its key: PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)

    def made(*extensions: tuple[str, bytes]) -> bytes:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        builder = (
            builder.public_key(key.public_key()).not_valid_before(now - DAY).not_valid_after(now + 90 * DAY)
        )
        for oid, content in extensions:
            odd = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)
            builder = builder.add_extension(odd, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)

    usage = bytes.fromhex("300a06082b06010505070302")
    twice = made(("2.5.29.37", usage), ("2.5.29.38", usage))
    found = {
        "a version that does not exist": made().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),
        "an extension twice": twice.replace(b"\x06\x03\x55\x1d\x26", b"\x06\x03\x55\x1d\x25"),
        "a name of a kind that nobody uses": made(("2.5.29.17", bytes.fromhex("3003a30100"))),
        "an extension that is not DER": made(("2.5.29.37", b"rubbish")),
    }
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {odd: (_pem(der), private) for odd, der in found.items()}


def large_rsa_key(bits: int) -> bytes:
    """An RSA key of any size, at once: its numbers belong together, though its primes are none. PEM."""
    random, e = Random(bits), 65537
    while True:
        p, q = (random.getrandbits(bits // 2) | 3 << (bits // 2 - 2) | 1 for _ in range(2))
        if gcd(p, q) == gcd(e, (p - 1) * (q - 1)) == 1:
            break
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    )
    key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
