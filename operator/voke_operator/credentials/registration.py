"""What Voke has to know of a plant's generated credentials, and whether a person says that it does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from voke_api.resources.observed import ConditionStatus, CredentialInUse
from voke_operator import names
from voke_operator.credentials.ids import format_ids, parse_ids, rfc3339
from voke_operator.credentials.material import (
    HMAC_KEY,
    ISSUER,
    JWT_PRIVATE,
    JWT_PUBLIC_DER,
    JWT_PUBLIC_PEM,
    REVOCATION_LIST,
    TLS_CERTIFICATE,
    TLS_KEY,
    Material,
    certificate_request,
    jwt_public,
    load_private_key,
    revocation_list,
)

REQUEST: Final = "tls.csr"
KEY_IDS: Final = "key-ids"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the condition ``Registered`` says."""

    status: ConditionStatus
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What Voke has to know of one plant; no private key is among the files."""

    facts: dict[str, str]
    """For people and scripts; not secret."""
    files: dict[str, bytes] = field(repr=False)
    """By name; ``hmac.key`` is secret."""


FORMS: Final = {
    HMAC_KEY: "the HMAC secret: Voke admin, Plant, Security",
    REQUEST: "certificate request, CN = plant id: for Voke's CA to sign; give the result back as a Secret",
    TLS_CERTIFICATE: "client certificate, signed by ca.crt",
    ISSUER: "root of tls.crt: for a broker that is to trust the fleet's own CA",
    REVOCATION_LIST: "its empty revocation list: a broker with a crlfile wants one for every CA it trusts",
    JWT_PUBLIC_DER: "public key, PKCS#1 DER: for the broker's JWT plugin (SPKI would make every login fail)",
    JWT_PUBLIC_PEM: "the same key for people, SPKI PEM: not for the broker",
    KEY_IDS: "which keys these are: for --registered --from DIR",
}
"""What each file is for."""
_TOLD: Final = {
    "hmac": (HMAC_KEY,),
    "mtls": (TLS_CERTIFICATE, ISSUER),
    "jwt": (JWT_PUBLIC_DER,),
}
"""Files that Voke has to be told of, by credential."""


def describe(
    name: str, plant_id: str, method: str, material: Material, *, issuer: Material | None, now: datetime
) -> Registration:
    """What Voke has to know of a plant that has this material.

    Args:
        name: Of the Plant.
        plant_id: Of the Plant.
        method: How it logs in: MTLS, JWT or PASSWORD.
        material: What was generated for it, by file name.
        issuer: CA with its key, for a revocation list; None, or another than the certificate's: without.
        now: When the revocation list is made.

    Raises:
        ValueError: the material is damaged.
    """
    facts = {"name": name, "plantId": plant_id, "method": method}
    files: dict[str, bytes] = {}
    if HMAC_KEY in material:
        files[HMAC_KEY] = material[HMAC_KEY]
    if TLS_CERTIFICATE in material:
        leaf = x509.load_pem_x509_certificate(material[TLS_CERTIFICATE])
        facts["certificateSerial"] = _hex(leaf.serial_number)
        facts["certificateSha256"] = leaf.fingerprint(SHA256()).hex()
        facts["certificateNotAfter"] = rfc3339(leaf.not_valid_after_utc)
        if TLS_KEY in material:
            files[REQUEST] = certificate_request(plant_id, material[TLS_KEY])
        files |= {each: material[each] for each in (TLS_CERTIFICATE, ISSUER) if each in material}
        if issuer is not None and issuer[ISSUER] == material.get(ISSUER):
            files[REVOCATION_LIST] = revocation_list(issuer, now)
    if JWT_PRIVATE in material:
        key = load_private_key(material[JWT_PRIVATE])
        if not isinstance(key, RSAPrivateKey):
            raise ValueError(f"{JWT_PRIVATE} is not an RSA key")
        files |= jwt_public(key)
    return Registration(facts=facts, files=files)


def _hex(serial: int) -> str:
    """As OpenSSL and CAs write it: whole bytes."""
    return serial.to_bytes(max(1, (serial.bit_length() + 7) // 8)).hex()


def confirmation(in_use: Collection[CredentialInUse]) -> str:
    """Value of REGISTERED_ANNOTATION by which a person says that Voke knows these."""
    return format_ids({each.name: each.key_id for each in in_use if each.source == "Generated"})


def how_to_register(namespace: str, plant: str, in_use: Collection[CredentialInUse]) -> str:
    """What a person has to do so that Voke knows a plant's generated credentials, and the operator knows of that.

    Args:
        namespace: Of the Plant.
        plant: Its name.
        in_use: All of its credentials, from its status.
    """
    generated = {each.name for each in in_use if each.source == "Generated"}
    files = [file for name, files in _TOLD.items() if name in generated for file in files]
    return (
        f"register at Voke what Secret {names.plant_secret(plant)} holds ({', '.join(files)}), then say so: "
        f"kubectl voke credentials {plant} -n {namespace} --registered"
    )


def registered(
    namespace: str, plant: str, in_use: Collection[CredentialInUse], confirmed: str | None
) -> Verdict:
    """Whether Voke knows a plant's generated credentials.

    A renewed certificate needs no new word: Voke looks at who issued it and at its common name. If its issuer
    is not trusted, no session comes about, which is seen; a wrong HMAC key is refused without a sign.

    Args:
        namespace: Of the Plant.
        plant: Its name.
        in_use: All of its credentials, from its status.
        confirmed: Value of its annotation REGISTERED_ANNOTATION.
    """
    generated = [each for each in in_use if each.source == "Generated"]
    if not generated:
        message = "nothing was generated: Voke is taken to know what the Plant's Secrets hold"
        return Verdict(status="True", reason="FromSecrets", message=message)
    known = parse_ids(confirmed)
    unknown = [
        each
        for each in generated
        if each.name not in known or (each.name != "mtls" and known[each.name] != each.key_id)
    ]
    if not unknown:
        return Verdict(status="True", reason="Confirmed", message="")
    keys = ", ".join(f"{each.name} {each.key_id}" for each in unknown)
    changed = any(each.name in known for each in unknown)
    return Verdict(
        status="Unknown",
        reason="KeysChanged" if changed else "NotConfirmed",
        message=f"nobody has said that Voke knows {keys}: {how_to_register(namespace, plant, in_use)}",
    )
