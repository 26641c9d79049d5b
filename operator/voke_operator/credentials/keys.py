"""What the files of a credential hold: which key, and whether they belong together.

Edited, damaged or foreign files hold nothing. Public files are derived from private ones, so that they cannot
be wrong for long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from voke_operator.credentials.decisions import Name
from voke_operator.credentials.ids import certificate_id, hmac_id, jwt_id
from voke_operator.credentials.material import (
    HMAC_KEY,
    ISSUER,
    JWT_PRIVATE,
    MALFORMED,
    TLS_CERTIFICATE,
    TLS_KEY,
    Material,
    jwt_public,
    load_private_key,
)

PRIMARY: Final[Mapping[Name, tuple[str, ...]]] = {
    "hmac": (HMAC_KEY,),
    "mtls": (TLS_CERTIFICATE, TLS_KEY),
    "jwt": (JWT_PRIVATE,),
}
"""Files that cannot be derived from others."""
_GENERATED_HMAC: Final = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A whole and usable credential."""

    id: str
    files: Material = field(repr=False)
    """All of its files, derived ones too. Secret."""
    certificate: x509.Certificate | None = None
    """Of mtls: the leaf."""

    @property
    def not_after(self) -> datetime | None:
        """End of the certificate's validity."""
        return None if self.certificate is None else self.certificate.not_valid_after_utc


def find(name: Name, sources: Sequence[Mapping[str, bytes]], plant_id: str) -> Iterator[Key]:
    """Every usable key of a kind that the files of some sources make up, those of the first source first."""
    contents = [list(dict.fromkeys(each[file] for each in sources if file in each)) for file in PRIMARY[name]]
    roots = [each[ISSUER] for each in sources if ISSUER in each]
    for combination in product(*contents):
        files = dict(zip(PRIMARY[name], combination, strict=True))
        try:
            key = _READERS[name](files, plant_id, roots)
        except (*MALFORMED, TypeError):
            continue
        if key is not None:
            yield key


def _hmac(files: Material, _plant_id: str, _roots: Iterable[bytes]) -> Key | None:
    if not _GENERATED_HMAC.fullmatch(files[HMAC_KEY]):
        return None
    return Key(id=hmac_id(files[HMAC_KEY]), files=files)


def _mtls(files: Material, plant_id: str, roots: Iterable[bytes]) -> Key | None:
    leaf = x509.load_pem_x509_certificate(files[TLS_CERTIFICATE])
    key = load_private_key(files[TLS_KEY])
    names = [each.value for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not isinstance(key, EllipticCurvePrivateKey) or names != [plant_id]:
        return None
    if key.public_key() != leaf.public_key():
        return None
    issuer = next((root for root in roots if issued_by(leaf, root)), None)
    return Key(
        id=certificate_id(leaf),
        files=files if issuer is None else {**files, ISSUER: issuer},
        certificate=leaf,
    )


def issued_by(leaf: x509.Certificate, root: bytes) -> bool:
    """Whether a CA, as PEM, has signed a certificate itself."""
    try:
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(root))
    except (*MALFORMED, TypeError, InvalidSignature):
        return False
    return True


def _jwt(files: Material, _plant_id: str, _roots: Iterable[bytes]) -> Key | None:
    key = load_private_key(files[JWT_PRIVATE])
    if not isinstance(key, RSAPrivateKey):
        return None
    return Key(id=jwt_id(key.public_key()), files={**files, **jwt_public(key)})


_READERS: Final = {"hmac": _hmac, "mtls": _mtls, "jwt": _jwt}
