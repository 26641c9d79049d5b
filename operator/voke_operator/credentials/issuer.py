"""The CA that issues client certificates: one that a person gives, or the fleet's own.

Pure: Secrets and the time are passed in. What a CA has issued stays as it is when the CA changes, until it is
renewed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from dataclasses import replace as dataclass_replace
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from voke_operator.credentials.decisions import Create, Finding, Reason, Refuse, Update
from voke_operator.credentials.ids import issuer_id
from voke_operator.credentials.material import (
    ISSUER,
    ISSUER_KEY,
    MALFORMED,
    REVOCATION_LIST,
    TLS_CERTIFICATE,
    TLS_KEY,
    USUAL,
    Life,
    Material,
    load_private_key,
    revocation_list,
)
from voke_operator.credentials.secret import Secret
from voke_operator.names import (
    FIELD_MANAGER,
    FLEET_CA,
    FLEET_CA_SECRET_TYPE,
    ISSUER_ANNOTATION,
    MANAGED_BY,
    OWNED,
)

_PAIRS: Final = ((TLS_CERTIFICATE, TLS_KEY), (ISSUER, ISSUER_KEY))
"""cert-manager's names come first: its ``ca.crt`` is the CA above."""


@dataclass(frozen=True, slots=True, repr=False)
class Issuer:
    """A CA with its key; its repr names it only."""

    id: str
    """From its certificate; on every plant's Secret as ISSUER_ANNOTATION."""
    name: str
    not_after: datetime
    material: Material
    """``ca.crt``, ``ca.key``."""
    life: Life = USUAL
    """Of what it issues."""

    def __repr__(self) -> str:
        return f"Issuer({self.name!r}, id={self.id}, not_after={self.not_after:%Y-%m-%d})"


@dataclass(frozen=True, slots=True)
class MintFleetCa:
    """Make a CA (:func:`voke_operator.credentials.material.new_fleet_ca`), then decide again."""


def read_issuer(secret: Secret, *, now: datetime, life: Life = USUAL) -> Issuer | Finding:
    """The CA in a Secret (``tls.crt`` and ``tls.key``, or ``ca.crt`` and ``ca.key``), or why it is none."""
    pair = next((pair for pair in _PAIRS if all(key in secret.data for key in pair)), None)
    if pair is None:
        there = ", ".join(sorted(secret.data)) or "nothing"
        return _unusable(secret, f"it lacks tls.crt and tls.key, or ca.crt and ca.key; it has {there}")
    certificate_pem, key_pem = (secret.data[key] for key in pair)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        key = load_private_key(key_pem)
        flaw = next(_flaws(certificate, key, now, life), None)
    except TypeError:
        return _unusable(secret, f"{pair[1]} is encrypted; the operator has no password for it")
    except MALFORMED:
        return _unusable(secret, f"{pair[0]} or {pair[1]} is not PEM, or damaged")
    if flaw is not None:
        return _unusable(secret, flaw)
    return Issuer(
        id=issuer_id(certificate),
        name=certificate.subject.rfc4514_string(),
        not_after=certificate.not_valid_after_utc,
        material={ISSUER: certificate_pem, ISSUER_KEY: key_pem},
        life=life,
    )


def _flaws(certificate: x509.Certificate, key: object, now: datetime, life: Life) -> Iterator[str]:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        yield "its key is neither ECDSA nor RSA"
    elif key.public_key() != certificate.public_key():
        yield "its key is not that of its first certificate"
    if not _may_issue(certificate):
        yield "it is not a CA: its certificate may not sign others"
    if now < start:
        yield f"it is not valid before {_minute(start)}"
    elif end - now < life.least:
        yield _ended(end, now)


def _ended(end: datetime, now: datetime) -> str:
    return f"it {'ends' if now < end else 'ended'} on {_minute(end)}: give the operator its successor"


def still_usable(issuer: Issuer, *, now: datetime) -> Issuer | Finding:
    """The CA, if it has not ended since it was read."""
    if issuer.not_after - now >= issuer.life.least:
        return issuer
    message = f"the issuing CA {issuer.name} cannot be used: {_ended(issuer.not_after, now)}"
    return Finding(reason=Reason.ISSUER_UNUSABLE, message=message)


def decide_fleet_ca(
    secret: Secret | None,
    *,
    namespace: str,
    issued_by: Collection[str] = (),
    replace: Collection[str] = (),
    now: datetime,
    fresh: Material | None = None,
) -> MintFleetCa | Create | Update | Refuse | Issuer:
    """The fleet's own CA, or what is to be done to have it.

    Made once, at first need. It is never made again while plants have certificates of another CA, which a
    broker would not trust any more once they are renewed, unless a person says so.

    Args:
        secret: The Secret FLEET_CA in the operator's namespace, whoever made it.
        namespace: The operator's.
        issued_by: Values of ISSUER_ANNOTATION of all plants' Secrets.
        replace: Those of them that a person has given up.
        now: With a time zone.
        fresh: What :func:`…material.new_fleet_ca` made after MintFleetCa.
    """
    if secret is not None:
        return _kept(secret, now)
    lost = sorted(set(issued_by) - set(replace))
    if lost:
        return _refuse(
            Reason.KEY_LOST,
            f"there is no Secret {FLEET_CA} in namespace {namespace}, and plants have certificates of CA "
            f"{', '.join(lost)}: restore it from a backup, or give the operator the CA that issued them; a new one "
            "would have to be told to every broker",
        )
    if fresh is None:
        return MintFleetCa()
    return Create(secret=_fleet_ca_secret(namespace, fresh, now), restored=False)


def _kept(secret: Secret, now: datetime) -> Update | Refuse | Issuer:
    where = f"the Secret {secret.name} in namespace {secret.namespace}"
    if secret.type != FLEET_CA_SECRET_TYPE or secret.labels.get(MANAGED_BY) != FIELD_MANAGER:
        return _refuse(
            Reason.NAME_CONFLICT,
            f"{where} is not ours and is not touched: its type is {secret.type}, its label {MANAGED_BY} "
            f"{secret.labels.get(MANAGED_BY)}. Move it away",
        )
    issuer = read_issuer(secret, now=now)
    if isinstance(issuer, Finding):
        return Refuse(problems=(issuer,))
    made = secret.annotations.get(ISSUER_ANNOTATION, issuer.id)
    if made != issuer.id:
        return _refuse(
            Reason.KEY_LOST,
            f"{where} held CA {made} and now holds {issuer.id}: restore it; or, if the new one is meant, set its "
            f"annotation {ISSUER_ANNOTATION} to that",
        )
    if _revokes_nothing(secret.data.get(REVOCATION_LIST), issuer):
        return issuer
    data = {**secret.data, REVOCATION_LIST: revocation_list(issuer.material, now)}
    return Update(secret=dataclass_replace(secret, data=data), changes=(f"data[{REVOCATION_LIST}]",))


def _fleet_ca_secret(namespace: str, made: Material, now: datetime) -> Secret:
    certificate = x509.load_pem_x509_certificate(made[ISSUER])
    return Secret(
        FLEET_CA,
        namespace,
        labels=OWNED,
        annotations={ISSUER_ANNOTATION: issuer_id(certificate)},
        type=FLEET_CA_SECRET_TYPE,
        data={**made, REVOCATION_LIST: revocation_list(made, now)},
    )


def _revokes_nothing(pem: bytes | None, issuer: Issuer) -> bool:
    """Whether a revocation list is this CA's."""
    if pem is None:
        return False
    ca = x509.load_pem_x509_certificate(issuer.material[ISSUER])
    key = ca.public_key()
    assert isinstance(key, EllipticCurvePublicKey | RSAPublicKey)
    try:
        return x509.load_pem_x509_crl(pem).is_signature_valid(key)
    except (*MALFORMED, TypeError):
        return False


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid


def _unusable(secret: Secret, why: str) -> Finding:
    message = (
        f"the issuing CA in the Secret {secret.name} of namespace {secret.namespace} cannot be used: {why}"
    )
    return Finding(reason=Reason.ISSUER_UNUSABLE, message=message)


def _refuse(reason: Reason, message: str) -> Refuse:
    return Refuse(problems=(Finding(reason=reason, message=message),))


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
