"""New key material in the forms that Voke wants (protocol §3, §4). Clock and randomness come from outside.

A set of material is a mapping from file name to content; the names are the keys of a plant's Secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Material = dict[str, bytes]

HMAC_KEY: Final = "hmac.key"
TLS_CERTIFICATE: Final = "tls.crt"
TLS_KEY: Final = "tls.key"
ISSUER: Final = "ca.crt"
"""The root that issued ``tls.crt``; not the broker's."""
ISSUER_KEY: Final = "ca.key"
REVOCATION_LIST: Final = "ca.crl"
JWT_PRIVATE: Final = "jwt-private.pem"
JWT_PUBLIC_PEM: Final = "jwt-public.pem"
JWT_PUBLIC_DER: Final = "jwt-public.der"

MAX_PEM_BYTES: Final = 64 * 1024
"""Of a key, or of a certificate and those above it: thousands of bytes are usual. Numbers of a million digits would
take seconds to be looked at."""
MALFORMED: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What a certificate or key raises that is none, is damaged, or is of a kind that is not known here."""

CA_LIFETIME: Final = timedelta(days=3650)
_BACKDATE: Final = timedelta(minutes=5)
"""A plant's clock, or the broker's, may be a little behind ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How long the client certificates last that a CA issues. Others than :data:`USUAL` show years in seconds."""

    longest: timedelta = timedelta(days=730)
    """Voke's default (protocol §3); a CA that ends before shortens it."""
    least: timedelta = timedelta(hours=1)
    """A certificate that would end sooner is not issued."""
    backdate: timedelta = _BACKDATE


USUAL: Final = Life()


class UnusableIssuerError(Exception):
    """The issuing CA cannot issue: a person must give another."""


def new_hmac_key(random_bytes: Callable[[int], bytes]) -> Material:
    """256 random bits as 64 hex digits: the string itself is the key (protocol §4)."""
    return {HMAC_KEY: random_bytes(32).hex().encode()}


def new_fleet_ca(now: datetime, name: str) -> Material:
    """A root for client certificates, for fleets whose Voke has not given them one. P-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificate_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return {ISSUER: certificate.public_bytes(Encoding.PEM), ISSUER_KEY: _private_pem(key)}


def new_client_certificate(plant_id: str, issuer: Material, now: datetime, life: Life = USUAL) -> Material:
    """A P-256 key and a certificate whose common name is the plant id, which Voke takes for the user name.

    It never outlives its issuer. Certificates between the issuer and its root follow it in ``tls.crt``.

    Raises:
        UnusableIssuerError: the issuer's certificate has expired, or its key does not belong to it.
    """
    ca, ca_key = _issuer(issuer)
    if ca.not_valid_after_utc <= now:
        raise UnusableIssuerError(f"the issuing CA expired on {ca.not_valid_after_utc:%Y-%m-%d}")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_plant_name(plant_id))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - life.backdate)
        .not_valid_after(min(now + life.longest, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    return {
        TLS_CERTIFICATE: certificate.public_bytes(Encoding.PEM) + _intermediates(issuer[ISSUER]),
        TLS_KEY: _private_pem(key),
        ISSUER: issuer[ISSUER],
    }


def revocation_list(issuer: Material, now: datetime) -> bytes:
    """An empty PEM revocation list, valid as long as the issuer: nothing has been revoked.

    A broker with a ``crlfile`` refuses every certificate whose issuer has no list in it (mosquitto 2.0).
    """
    ca, ca_key = _issuer(issuer)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.subject)
        .last_update(now - _BACKDATE)
        .next_update(ca.not_valid_after_utc)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def certificate_request(plant_id: str, tls_key: bytes) -> bytes:
    """A PEM request for the plant's key, for a CA that signs requests."""
    key = _private_key(tls_key)
    builder = x509.CertificateSigningRequestBuilder().subject_name(_plant_name(plant_id))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def new_jwt_keys() -> Material:
    """An RSA-2048 pair. The broker wants the public half as PKCS#1 DER; SPKI makes every connect fail.

    Takes about 120 ms of CPU.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        JWT_PRIVATE: key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        **jwt_public(key),
    }


def jwt_public(key: rsa.RSAPrivateKey) -> Material:
    """The public half, for people (PEM) and for the broker (PKCS#1 DER)."""
    public = key.public_key()
    return {
        JWT_PUBLIC_PEM: public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        JWT_PUBLIC_DER: public.public_bytes(Encoding.DER, PublicFormat.PKCS1),
    }


def _issuer(issuer: Material) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]:
    ca, key = x509.load_pem_x509_certificate(issuer[ISSUER]), _private_key(issuer[ISSUER_KEY])
    if key.public_key() != ca.public_key():
        raise UnusableIssuerError("the issuing CA's key does not belong to its certificate")
    return ca, key


def _intermediates(chain: bytes) -> bytes:
    """What a client has to show besides its own certificate: all above it but the root."""
    above = x509.load_pem_x509_certificates(chain)
    return b"".join(each.public_bytes(Encoding.PEM) for each in above if each.issuer != each.subject)


def _plant_name(plant_id: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, plant_id)])


def load_private_key(pem: bytes) -> PrivateKeyTypes:
    """A private key that is not encrypted.

    That the primes of an RSA key are prime is not checked: it takes 37 ms, for each of thousands of plants. A
    damaged key is found anyway, because its numbers do not belong together.

    Raises:
        ValueError: it is not PEM, damaged, or larger than any key.
        TypeError: it is encrypted.
        UnsupportedAlgorithm: it is of a kind that is not known here.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise ValueError(f"a private key of {len(pem)} bytes; {MAX_PEM_BYTES} are the most")
    key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    if isinstance(key, rsa.RSAPrivateKey) and not _consistent(key):
        raise ValueError("the numbers of the RSA key do not belong together")
    return key


def _consistent(key: rsa.RSAPrivateKey) -> bool:
    numbers = key.private_numbers()
    p, q, d = numbers.p, numbers.q, numbers.d
    n, e = numbers.public_numbers.n, numbers.public_numbers.e
    return (
        min(p, q) > 1
        and p * q == n
        and d * e % (p - 1) == 1
        and d * e % (q - 1) == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and numbers.iqmp * q % p == 1
    )


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    key = load_private_key(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise UnusableIssuerError("the private key is neither ECDSA nor RSA")
    return key


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key_usage(*, digital_signature: bool = False, certificate_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
