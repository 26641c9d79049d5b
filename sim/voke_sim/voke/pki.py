"""The local Voke's certificate authority: its broker's certificate, plants' certificates, and its CRL.

Voke's own root is RSA 4096; this one is P-256, because a 4096-bit RSA key takes seconds to make.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BROKER_NAMES = ("localhost", "mqtt.voke.lovinka.com")
BROKER_ADDRESS = "127.0.0.1"

PLANT_LIFETIME = timedelta(days=730)
"""Voke rotates plants' certificates after two years (protocol §3)."""

_CLOCK_SKEW = timedelta(hours=1)
_LONG = timedelta(days=3650)


class CertificateError(ValueError):
    """A certificate, CRL or signing request that the local Voke cannot take; the message says why."""


def name(common_name: str) -> x509.Name:
    """A subject like those of Voke's own scripts (protocol §3)."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CZ"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "CPI IoT Platform"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class CertificateAuthority:
    """A root, and what it has signed and revoked."""

    def __init__(self, common_name: str = "CPI Root CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._revoked: dict[int, datetime] = {}
        self._crl_number = 0
        public_key = self._key.public_key()
        self.certificate = (
            self._builder(name(common_name), public_key, _LONG)
            .issuer_name(name(common_name))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certificate_authority=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def __repr__(self) -> str:
        """The subject, without the key."""
        return f"CertificateAuthority({self.certificate.subject.rfc4514_string()!r})"

    def issue_broker(self, address: str = BROKER_ADDRESS) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) for a broker at this address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName(
            [
                *(x509.DNSName(host) for host in BROKER_NAMES),
                x509.IPAddress(ipaddress.ip_address(address)),
            ]
        )
        certificate = self._leaf(
            BROKER_NAMES[1], key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, _LONG, names
        )
        return pem(certificate), private_pem(key)

    def issue_plant(self, plant_id: str, public_key: CertificatePublicKeyTypes) -> x509.Certificate:
        """A client certificate whose CN, and so its MQTT user name, is the plant id."""
        return self._leaf(plant_id, public_key, ExtendedKeyUsageOID.CLIENT_AUTH, PLANT_LIFETIME)

    def revoke(self, serial_number: int) -> None:
        """Name the certificate in the CRLs made from now on."""
        self._revoked.setdefault(serial_number, datetime.now(UTC))

    def crl(self) -> bytes:
        """The present revocation list (PEM); an empty one is a list too."""
        self._crl_number += 1
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - _CLOCK_SKEW)
            .next_update(now + _LONG)
            .add_extension(x509.CRLNumber(self._crl_number), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        for serial_number, revoked_at in self._revoked.items():
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(serial_number)
                .revocation_date(revoked_at)
                .build()
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _leaf(
        self,
        common_name: str,
        public_key: CertificatePublicKeyTypes,
        usage: x509.ObjectIdentifier,
        lifetime: timedelta,
        alternative_names: x509.SubjectAlternativeName | None = None,
    ) -> x509.Certificate:
        builder = (
            self._builder(name(common_name), public_key, lifetime)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificate_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        if alternative_names is not None:
            builder = builder.add_extension(alternative_names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    @staticmethod
    def _builder(
        subject: x509.Name, public_key: CertificatePublicKeyTypes, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def key_and_request(plant_id: str) -> tuple[bytes, bytes]:
    """A new P-256 key and a certificate signing request for it, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, plant_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return private_pem(key), request.public_bytes(serialization.Encoding.PEM)


def read_request(csr_pem: bytes, plant_id: str) -> CertificatePublicKeyTypes:
    """The public key of a certificate signing request for this plant.

    Raises:
        CertificateError: not a request, not signed by its own key, or for another CN.
    """
    try:
        request = x509.load_pem_x509_csr(csr_pem)
    except ValueError as error:
        raise CertificateError(f"not a PEM certificate signing request: {error}") from error
    if not request.is_signature_valid:
        raise CertificateError("the certificate signing request is not signed by its own key")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [str(attribute.value) for attribute in names] != [plant_id]:
        raise CertificateError(
            f"the certificate signing request must have exactly one CN, {plant_id!r}; "
            f"its subject is {request.subject.rfc4514_string()!r}"
        )
    return request.public_key()


def check_trust(ca_pem: bytes, crl_pem: bytes | None) -> x509.Name:
    """The subject of a CA that the broker can use beside ours.

    A broker that is given a CRL file refuses every certificate whose issuer has no CRL in it, so a CA
    comes with its revocation list, be it an empty one.

    Raises:
        CertificateError: something is missing, unreadable, or not signed by what it claims to be.
    """
    if crl_pem is None:
        raise CertificateError(
            "a CA needs its revocation list (crl_pem), an empty one will do: with a CRL file the broker "
            "refuses certificates of every issuer that has no CRL in it"
        )
    try:
        authorities = x509.load_pem_x509_certificates(ca_pem)
        crl = x509.load_pem_x509_crl(crl_pem)
    except ValueError as error:
        raise CertificateError(f"not a PEM certificate and CRL: {error}") from error
    issuers = [authority for authority in authorities if authority.subject == crl.issuer]
    if not issuers:
        raise CertificateError(
            f"the CRL is issued by {crl.issuer.rfc4514_string()!r}, which is not among the CA certificates"
        )
    keys = [issuer.public_key() for issuer in issuers]
    if not any(crl.is_signature_valid(key) for key in keys):  # type: ignore[arg-type]
        raise CertificateError("the CRL is not signed by the CA")
    return crl.issuer


def _key_usage(*, certificate_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificate_authority,
        key_cert_sign=certificate_authority,
        crl_sign=certificate_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
