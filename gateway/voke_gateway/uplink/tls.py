"""TLS contexts: verified always, shared between sessions, with reasons a person can act on.

There is no switch that turns verification or the host name check off.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import ssl
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from voke_api.resolved import PlantCredentials
from voke_gateway.clock import WallClock, system_clock
from voke_gateway.uplink.session import CertificateRefusedError, ConnectFailedError, CredentialsError

_Key = tuple[bytes | None, bytes | None]


class TlsContext(ssl.SSLContext):
    """A client context that remembers how long its material is valid."""

    certificate: x509.Certificate | None = None
    """The client certificate it presents."""
    roots: tuple[x509.Certificate, ...] = ()
    """What the broker's certificate may lead to; empty: the system's trust store."""

    def check_validity(self, now: float) -> None:
        """Raise CredentialsError if the material is not valid at ``now`` (epoch seconds)."""
        if self.certificate is not None:
            _check_period("the client certificate (tls.crt)", self.certificate, now)
        if self.roots and all(root.not_valid_after_utc.timestamp() <= now for root in self.roots):
            _check_period("the broker's CA (spec.voke.ca)", self.roots[-1], now)


class TlsContexts:
    """Contexts by root and client certificate; each lives as long as a session uses it.

    Rotated keys leave memory with their last session. Only the context of the system's trust store
    without client certificate is kept for good: it is dear to make and holds no key.
    """

    def __init__(self, *, clock: WallClock = system_clock) -> None:
        self._clock = clock
        self._contexts: weakref.WeakValueDictionary[_Key, TlsContext] = weakref.WeakValueDictionary()
        self._system: TlsContext | None = None

    def context_for(self, credentials: PlantCredentials, *, present_certificate: bool) -> TlsContext:
        """The context of these credentials, checked against the clock.

        Raises:
            CredentialsError: missing, unreadable, expired or not matching material.
        """
        pair = _client_pair(credentials) if present_certificate else None
        fingerprint = hashlib.sha256(b"\0".join(pair)).digest() if pair else None
        key = (credentials.broker_ca, fingerprint)
        context = self._contexts.get(key)
        if context is None:
            context = self._contexts[key] = _build(credentials.broker_ca, pair)
            if key == (None, None):
                self._system = context
        context.check_validity(self._clock())
        return context


def _client_pair(credentials: PlantCredentials) -> tuple[bytes, bytes]:
    for name, material in (("tls.crt", credentials.tls_certificate), ("tls.key", credentials.tls_key)):
        if not material:
            raise CredentialsError(f"mTLS needs a client certificate and its key, and {name} is missing")
    assert credentials.tls_certificate is not None
    assert credentials.tls_key is not None
    return credentials.tls_certificate, credentials.tls_key


def _build(broker_ca: bytes | None, pair: tuple[bytes, bytes] | None) -> TlsContext:
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name by default
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker_ca is None:
        _trust_system(context)
    else:
        context.roots = _read_certificates(broker_ca, "the broker's CA (spec.voke.ca)")
        try:
            context.load_verify_locations(cadata=broker_ca.decode("ascii", "ignore"))
        except ssl.SSLError as error:
            raise CredentialsError(f"the broker's CA (spec.voke.ca) is not usable: {error.reason}") from None
    if pair is not None:
        context.certificate = _read_certificates(pair[0], "the client certificate (tls.crt)")[0]
        _load_client_pair(context, *pair)
    return context


def _trust_system(context: ssl.SSLContext) -> None:
    """Prefer a hashed directory, from which OpenSSL reads only the root it needs (a bundle costs 0.9 MB)."""
    paths = ssl.get_default_verify_paths()
    hashed = paths.capath and next(Path(paths.capath).glob("????????.[0-9]"), None)
    if hashed and paths.openssl_cafile_env not in os.environ:
        context.load_verify_locations(capath=paths.capath)
    else:
        context.load_default_certs()


def _read_certificates(pem: bytes, what: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise CredentialsError(
            f"{what} is not a readable PEM certificate; it has to start with -----BEGIN CERTIFICATE-----"
        ) from None


def _check_period(what: str, certificate: x509.Certificate, now: float) -> None:
    if now >= certificate.not_valid_after_utc.timestamp():
        raise CredentialsError(f"{what} expired on {_day(certificate.not_valid_after_utc)}: issue a new one")
    if now < certificate.not_valid_before_utc.timestamp():
        raise CredentialsError(
            f"{what} is not valid before {_day(certificate.not_valid_before_utc)}: "
            "check this machine's clock, or issue a new one"
        )


def _day(when: dt.datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")


def _load_client_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    encrypted = False

    def passphrase() -> str:  # without it OpenSSL would ask on the terminal
        nonlocal encrypted
        encrypted = True
        return ""

    with _as_file(certificate.rstrip() + b"\n" + key) as path:
        try:
            context.load_cert_chain(path, password=passphrase)
        except ssl.SSLError as error:
            if encrypted:
                problem = "the client key (tls.key) is encrypted: store it without a passphrase"
            elif error.reason == "KEY_VALUES_MISMATCH":
                problem = (
                    "the client certificate (tls.crt) and the client key (tls.key) do not belong together"
                )
            elif error.reason in {"EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "CA_KEY_TOO_SMALL"}:
                problem = f"the client certificate (tls.crt) is too weak for TLS: {error.reason}"
            else:
                problem = "the client key (tls.key) is not a readable PEM private key"
            raise CredentialsError(problem) from None


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path that OpenSSL can read ``content`` from: memory where there is memfd, else a 0600 file, gone at once."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client-pair"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


_VERIFY_PROBLEMS = {  # X509_V_ERR_* of OpenSSL
    9: "the broker's certificate is not valid yet: check this machine's clock",
    10: "the broker's certificate, or the CA it was issued by, has expired: it has to be renewed at the broker",
    62: "the broker's certificate does not name {host}: set spec.voke.host to a name that it carries",
    64: "the broker's certificate does not name the address {host}: set spec.voke.host to a name that it carries",
}
_NOT_OUR_ROOT = (
    "the broker's certificate does not lead to a trusted root ({detail}): put the CA it was issued by "
    "into the Secret that spec.voke.ca names"
)
_CERTIFICATE_REFUSED = {
    "TLSV1_ALERT_UNKNOWN_CA": "the broker does not know the CA that issued our client certificate: register that CA "
    "at Voke, with a revocation list of it, or have the certificate issued by one that Voke trusts",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the broker says our client certificate has expired: "
    "issue a new one, or check the clocks of both machines",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the broker says our client certificate is revoked: issue a new one",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the broker cannot use our client certificate: "
    "check that it was issued for client authentication by a CA that Voke trusts",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the broker does not take our kind of client certificate: "
    "check that it was issued for client authentication",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the broker refused our client certificate: check that it and its CA are "
    "registered at Voke, and that Voke has a revocation list of that CA",
    "TLSV1_ALERT_DECRYPT_ERROR": "the broker could not check our client certificate's signature: the CA it trusts has "
    "the same name but another key; register the CA that issued the certificate at Voke",
}
"""By the reason of the alert (RFC 8446, 6.2): what the broker says of our certificate.

A broker with revocation lists says "unknown CA" also of one that it trusts and has no list of.
"""
_OTHER_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker wants a client certificate on this port: "
    "use auth method MTLS, or the port of another method (spec.voke.ports)",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the broker does not speak TLS 1.2 or later",
    "UNSUPPORTED_PROTOCOL": "the broker does not speak TLS 1.2 or later",
    "WRONG_VERSION_NUMBER": "there is no TLS on this port: check spec.voke.ports",
    "RECORD_LAYER_FAILURE": "there is no TLS on this port: check spec.voke.ports",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker and we have no TLS settings in common, "
    "or it wants a client certificate (auth method MTLS)",
}
_REASON = re.compile(r"\[SSL: ([A-Z0-9_]+)\]")


def handshake_failure(error: OSError, host: str, port: int) -> ConnectFailedError:
    """Cause and remedy of a failed TLS handshake, in one sentence."""
    where = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY_PROBLEMS.get(error.verify_code)
        problem = known.format(host=host) if known else _NOT_OUR_ROOT.format(detail=error.verify_message)
        return ConnectFailedError(f"{where}: {problem}")
    if isinstance(error, ssl.SSLError) and (failure := _of_alert(error.reason, where)):
        return failure
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return ConnectFailedError(
            f"{where}: the broker closed the connection during the TLS handshake: check host and port"
        )
    return ConnectFailedError(f"{where}: the TLS handshake failed: {error.strerror or error}")


def early_end(detail: str, where: str, *, present_certificate: bool) -> ConnectFailedError:
    """Why a connection ended after the TLS handshake and before CONNACK, as far as can be told.

    Under TLS 1.3 a broker judges the client certificate after our side of the handshake is over (RFC 8446,
    4.4.2.4): its verdict arrives as an alert in place of the CONNACK, or the connection just ends.

    Args:
        detail: What was said last about the connection.
        where: The broker's host and port, for people.
        present_certificate: It was shown one.
    """
    match = _REASON.search(detail)
    if match and (failure := _of_alert(match[1], where)):
        return failure
    if present_certificate:
        return ConnectFailedError(
            f"{where}: the broker closed the connection after the TLS handshake without an answer, as brokers do that "
            "refuse a client certificate: check its issuer, its validity and the broker's revocation list"
        )
    return ConnectFailedError(
        f"{where}: the broker closed the connection without answering the login: "
        "check that the port is that of the auth method (spec.voke.ports)"
    )


def _of_alert(reason: str | None, where: str) -> ConnectFailedError | None:
    """What OpenSSL's reason for an error means; None: nothing that is known here."""
    if reason in _CERTIFICATE_REFUSED:
        return CertificateRefusedError(f"{where}: {_CERTIFICATE_REFUSED[reason]}")
    return ConnectFailedError(f"{where}: {_OTHER_ALERTS[reason]}") if reason in _OTHER_ALERTS else None
