"""What a plant's Secrets give it, and what is wrong with that: keys, certificates, labels.

Pure: the Secrets and the time are passed in. Problems never show material.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from voke_api.bundle import MAX_AUTHORITY
from voke_api.problems import Path, Problem, Severity
from voke_api.resources import GatewayPool, Plant
from voke_api.resources.common import listed
from voke_api.resources.observed import CredentialInUse
from voke_operator.credentials.decisions import Name
from voke_operator.credentials.ids import certificate_id, jwt_id, rfc3339
from voke_operator.credentials.material import MALFORMED, MAX_PEM_BYTES, load_private_key
from voke_operator.credentials.secret import Secret
from voke_operator.names import ALLOW_LABEL

CredentialName = Literal["hmac", "password", "mtls", "jwt"]

MIN_HMAC_CHARACTERS: Final = 32
"""Protocol §4."""
MAX_HMAC_BYTES: Final = 4096
"""The protocol names no limit. Keys have tens of characters, and a bundle holds those of hundreds of plants."""
MAX_LOGIN_BYTES: Final = 65_535
"""Of user name, password and client id, each: MQTT has no more room (MQTT 5 §1.5.4)."""
_SHOWN: Final = 64
"""Characters of a certificate's name that are shown: longer ones are not allowed (X.520)."""
_SOON: Final = timedelta(days=30)
_LOGIN_KEYS: Final = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey | Ed448PrivateKey
"""What TLS 1.3 can sign with."""
_MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
"""A gateway signs at every login, and polls nothing meanwhile: 0.1 s with so many bits, seconds with 16,384, then minutes."""


@dataclass(slots=True)
class Given:
    """What Secrets give a plant."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    """Values for fields of PlantCredentials, by name. Secret."""
    problems: list[Problem] = field(default_factory=list)


def credentials_from_secrets(
    plant: Plant,
    pool: GatewayPool | None,
    secrets: Mapping[str, Secret],
    *,
    now: datetime,
    missing: Severity = Severity.ERROR,
    searched: str = "the files",
) -> Given:
    """What ``secrets`` give ``plant``: only hmac, what its method needs, and the broker's root.

    Args:
        plant: The Plant.
        pool: Its pool, for the broker's root certificate.
        secrets: By name.
        now: For certificates; with a time zone.
        missing: How bad it is that a referenced Secret is not among ``secrets``.
        searched: Where ``secrets`` are from, for the message about a missing one.
    """
    return _Reader(plant, secrets, now, missing, searched).read(pool)


def to_generate(plant: Plant) -> tuple[Name, ...]:
    """What a plant needs and brings no Secret for: its HMAC key, and what its method logs in with."""
    sources, method = plant.spec.credentials, plant.spec.auth.method
    needed: dict[Name, bool] = {
        "hmac": sources.hmac is None,
        "jwt": method == "JWT" and sources.jwt is None,
        "mtls": method == "MTLS" and sources.mtls is None,
    }
    return tuple(name for name, wanted in needed.items() if wanted)


def brought(plant: Plant, given: Given) -> tuple[CredentialInUse, ...]:
    """The credentials that a Plant's Secrets give it, by name, as its status says them."""
    spec = plant.spec
    found = []
    names: tuple[CredentialName, ...] = ("hmac", "jwt", "mtls", "password")
    for name in names:
        source = getattr(spec.credentials, name)
        if source is None or name not in ("hmac", spec.auth.method.lower()):
            continue
        secret = source.secret_ref.name
        found.append(_in_use(name, given.values, secret))
    return tuple(found)


def _in_use(name: CredentialName, values: Mapping[str, Any], secret: str) -> CredentialInUse:
    """Raises nothing: what cannot be understood is named after its Secret; a problem says why."""
    key_id, not_after = secret, None
    try:
        if name == "mtls" and "tls_certificate" in values:
            leaf = x509.load_pem_x509_certificate(values["tls_certificate"])
            key_id, not_after = certificate_id(leaf), rfc3339(leaf.not_valid_after_utc)
        elif name == "jwt" and "jwt_private_key" in values:
            key = load_private_key(values["jwt_private_key"])
            assert isinstance(key, RSAPrivateKey)
            key_id = jwt_id(key.public_key())
    except MALFORMED:
        pass
    return CredentialInUse(name=name, source="Secret", key_id=key_id, not_after=not_after)


class _Reader:
    def __init__(
        self,
        plant: Plant,
        secrets: Mapping[str, Secret],
        now: datetime,
        missing: Severity,
        searched: str,
    ) -> None:
        self._plant = plant
        self._secrets = secrets
        self._now = now
        self._missing = missing
        self._searched = searched
        self._given = Given()

    def read(self, pool: GatewayPool | None) -> Given:
        spec = self._plant.spec
        method = spec.auth.method.lower()
        readers: dict[str, Callable[[Secret], None]] = {
            "hmac": self._hmac,
            "mtls": self._mtls,
            "jwt": self._jwt,
            "password": self._password,
        }
        for name in ("hmac", method):
            source = getattr(spec.credentials, name)
            if source is None:
                continue
            path = ("spec", "credentials", name, "secretRef", "name")
            secret = self._secret("Plant", self._plant.metadata.name, path, source.secret_ref.name)
            if secret is not None:
                try:
                    readers[name](secret)
                except MALFORMED:
                    self._report(
                        secret, (), f"holds a certificate or key for {name} that cannot be understood"
                    )
        if method != "password":
            self._given.values |= {"client_id": spec.plant_id, "username": spec.plant_id}
        ca = pool.spec.voke.ca if pool is not None else None
        if pool is not None and ca is not None:
            path = ("spec", "voke", "ca", "secretRef", "name")
            secret = self._secret("GatewayPool", pool.metadata.name, path, ca.secret_ref.name)
            if secret is not None:
                self._broker_ca(secret, ca.secret_ref.key)
        return self._given

    def _secret(self, kind: str, owner: str, path: Path, name: str) -> Secret | None:
        secret = self._secrets.get(name)
        if secret is None:
            self._given.problems.append(
                Problem(
                    path=path,
                    value=name,
                    kind=kind,
                    name=owner,
                    severity=self._missing,
                    message=f"the Secret {name} is not among {self._searched}"
                    + ("" if self._missing is Severity.ERROR else ", so its content was not checked"),
                )
            )
        elif secret.labels.get(ALLOW_LABEL) != "true":
            self._report(
                secret,
                ("metadata", "labels"),
                f'a referenced Secret must carry the label {ALLOW_LABEL}: "true", so that a Plant cannot aim '
                "at any Secret",
            )
        return secret

    def _hmac(self, secret: Secret) -> None:
        text = self._text(secret, "hmac.key", most=MAX_HMAC_BYTES)
        if text is None:
            return
        if len(text) < MIN_HMAC_CHARACTERS:
            message = f"the HMAC key has {len(text)} characters; it needs at least {MIN_HMAC_CHARACTERS}"
            self._report(secret, secret.place("hmac.key"), message)
        elif any(character.isspace() for character in text):
            message = "the HMAC key holds white space; is it one key, and whole?"
            self._report(secret, secret.place("hmac.key"), message, Severity.WARNING)
        self._given.values["hmac_key"] = text.encode()

    def _password(self, secret: Secret) -> None:
        username, password = self._login(secret, "username"), self._login(secret, "password")
        client_id = self._login(secret, "clientId") if "clientId" in secret.data else username
        given = {"username": username, "password": password, "client_id": client_id}
        self._given.values |= {name: value for name, value in given.items() if value is not None}

    def _login(self, secret: Secret, key: str) -> str | None:
        """Text that MQTT can carry."""
        text = self._text(secret, key, most=MAX_LOGIN_BYTES)
        if text is not None and "\0" in text:
            self._report(secret, secret.place(key), f"{key} holds a zero byte, which MQTT does not allow")
            return None
        return text

    def _mtls(self, secret: Secret) -> None:
        chain, key = self._certificates(secret, "tls.crt"), self._private_key(secret, "tls.key")
        if key is not None and not isinstance(key, _LOGIN_KEYS):
            self._report(secret, secret.place("tls.key"), "tls.key must be ECDSA, RSA, Ed25519 or Ed448")
            return
        if not chain:
            return
        place = secret.place("tls.crt")
        self._client_certificate(secret, place, chain[0])
        self._given.values["tls_certificate"] = secret.data["tls.crt"]
        if key is None:
            return
        self._given.values["tls_key"] = secret.data["tls.key"]
        public = _public(key)
        owners = [index for index, certificate in enumerate(chain) if _public(certificate) == public]
        if not owners:
            message = "tls.key is not the key of tls.crt; put the pair that was made together into the Secret"
            self._report(secret, secret.place("tls.key"), message)
        elif owners[0] != 0:
            message = f"the plant's certificate is number {owners[0] + 1} of tls.crt; it must come first"
            self._report(secret, place, message)

    def _client_certificate(self, secret: Secret, place: Path, certificate: x509.Certificate) -> None:
        self._dates(secret, place, certificate, "tls.crt")
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = _shown(str(names[0].value)) if names else "missing"
        if name != self._plant.spec.plant_id:
            message = (
                f"the common name of tls.crt must be the plant id {self._plant.spec.plant_id}, it is {name}"
            )
            self._report(secret, place, message)
        try:
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            return
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            message = (
                "tls.crt is not made for clients (extended key usage clientAuth); the broker will refuse it"
            )
            self._report(secret, place, message)

    def _jwt(self, secret: Secret) -> None:
        key = self._private_key(secret, "jwt-private.pem")
        if key is None:
            return
        place = secret.place("jwt-private.pem")
        if not isinstance(key, RSAPrivateKey):
            self._report(secret, place, "the JWT key must be RSA: Voke wants RS256")
        elif key.key_size < _MIN_RSA_BITS:
            self._report(secret, place, f"the JWT key has {key.key_size} bits; RS256 needs {_MIN_RSA_BITS}")
        else:
            self._given.values["jwt_private_key"] = secret.data["jwt-private.pem"]

    def _broker_ca(self, secret: Secret, key: str) -> None:
        roots = self._certificates(secret, key, most=MAX_AUTHORITY)
        for root in roots:
            self._dates(secret, secret.place(key), root, key)
        if roots:
            self._given.values["broker_ca"] = secret.data[key]

    def _bytes(self, secret: Secret, key: str, *, most: int) -> bytes | None:
        content = secret.data.get(key)
        if content is None:
            there = listed(sorted(secret.data)) if secret.data else "nothing"
            message = f"the Secret lacks the key {key}, which Plant {self._plant.metadata.name} needs; it has {there}"
            self._report(secret, ("stringData", key), message)
        elif len(content) > most:
            message = f"{key} has {len(content)} bytes; {most} are the most: is it another file?"
            self._report(secret, secret.place(key), message)
            return None
        return content

    def _text(self, secret: Secret, key: str, *, most: int) -> str | None:
        content = self._bytes(secret, key, most=most)
        if content is None:
            return None
        place = secret.place(key)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            self._report(secret, place, f"{key} is not text (UTF-8); under data, base64 is decoded once")
            return None
        stripped = text.rstrip("\r\n")
        if stripped != text:
            message = f"{key} ends with a newline, which is not part of it and was taken off"
            self._report(secret, place, message, Severity.WARNING)
        if not stripped:
            self._report(secret, place, f"{key} is empty")
            return None
        return stripped

    def _certificates(self, secret: Secret, key: str, *, most: int = MAX_PEM_BYTES) -> list[x509.Certificate]:
        content = self._bytes(secret, key, most=most)
        if content is None:
            return []
        try:
            return x509.load_pem_x509_certificates(content)
        except MALFORMED:
            message = f"{key} is not a PEM certificate (it begins -----BEGIN CERTIFICATE-----), or damaged"
            self._report(secret, secret.place(key), message)
            return []

    def _private_key(self, secret: Secret, key: str) -> Any:
        content = self._bytes(secret, key, most=MAX_PEM_BYTES)
        if content is None:
            return None
        try:
            loaded = load_private_key(content)
            if not isinstance(loaded, RSAPrivateKey) or loaded.key_size <= MAX_RSA_BITS:
                return loaded
            message = (
                f"{key} has {loaded.key_size} bits; {MAX_RSA_BITS} are the most, for more hold up a gateway"
            )
        except TypeError:
            message = f"{key} is encrypted; a gateway has no password for it"
        except MALFORMED:
            message = f"{key} is not a PEM private key (it begins -----BEGIN … PRIVATE KEY-----), or damaged"
        self._report(secret, secret.place(key), message)
        return None

    def _dates(self, secret: Secret, place: Path, certificate: x509.Certificate, key: str) -> None:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if self._now > end:
            self._report(
                secret, place, f"{key} has expired on {end:%Y-%m-%d %H:%M} UTC; it has to be renewed"
            )
        elif self._now < start:
            message = f"{key} is not valid before {start:%Y-%m-%d %H:%M} UTC; is this machine's clock right?"
            self._report(secret, place, message)
        elif end - self._now < _SOON:
            message = f"{key} expires on {end:%Y-%m-%d %H:%M} UTC; it has to be renewed"
            self._report(secret, place, message, Severity.WARNING)

    def _report(self, secret: Secret, path: Path, message: str, severity: Severity = Severity.ERROR) -> None:
        self._given.problems.append(
            Problem(path=path, message=message, kind="Secret", name=secret.name, severity=severity)
        )


def _public(holder: Any) -> bytes:
    """Of a private key or a certificate."""
    encoded: bytes = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _shown(name: str) -> str:
    """A name that somebody else wrote, for a message: in one line, and cut where names end."""
    line = "".join(each if each.isprintable() else "?" for each in name[:_SHOWN])
    return line + (" …" if len(name) > _SHOWN else "")
