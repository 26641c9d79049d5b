"""TLS contexts: what they insist on, what they share, and what they say about bad material."""

from __future__ import annotations

import builtins
import gc
import ssl
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.pki import DAY, Authority
from voke_api.resolved import PlantCredentials
from voke_gateway.uplink.session import ConnectFailedError, CredentialsError
from voke_gateway.uplink.tls import TlsContexts, early_end, handshake_failure


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def credentials(authority: Authority) -> PlantCredentials:
    leaf = authority.issue("plant-a")
    return PlantCredentials(
        client_id="plant-a",
        username="plant-a",
        hmac_key=b"",
        tls_certificate=leaf.certificate,
        tls_key=leaf.key,
        broker_ca=authority.pem,
    )


def test_certificate_and_host_name_are_always_verified(credentials: PlantCredentials) -> None:
    for material in (credentials, replace(credentials, broker_ca=None)):
        for present in (True, False):
            context = TlsContexts().context_for(material, present_certificate=present)
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert context.check_hostname
            assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_only_the_given_root_is_trusted(credentials: PlantCredentials) -> None:
    context = TlsContexts().context_for(credentials, present_certificate=False)
    assert context.cert_store_stats()["x509_ca"] == 1


def test_plants_that_share_a_root_share_a_context(
    credentials: PlantCredentials, authority: Authority
) -> None:
    contexts = TlsContexts()
    other = replace(credentials, client_id="other", tls_certificate=None, tls_key=None)
    first = contexts.context_for(credentials, present_certificate=False)
    assert contexts.context_for(other, present_certificate=False) is first
    elsewhere = replace(other, broker_ca=Authority().pem)
    assert contexts.context_for(elsewhere, present_certificate=False) is not first


def test_a_client_certificate_has_a_context_of_its_own_for_all_its_sessions(
    credentials: PlantCredentials, authority: Authority
) -> None:
    contexts = TlsContexts()
    first = contexts.context_for(credentials, present_certificate=True)
    assert contexts.context_for(replace(credentials), present_certificate=True) is first
    assert contexts.context_for(credentials, present_certificate=False) is not first
    leaf = authority.issue("plant-a")
    rotated = replace(credentials, tls_certificate=leaf.certificate, tls_key=leaf.key)
    assert contexts.context_for(rotated, present_certificate=True) is not first


def test_rotated_keys_leave_memory_with_their_last_session(credentials: PlantCredentials) -> None:
    contexts = TlsContexts()
    context = contexts.context_for(credentials, present_certificate=True)
    gone = weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None


def test_the_system_trust_store_is_read_once(credentials: PlantCredentials) -> None:
    contexts = TlsContexts()
    system = replace(credentials, broker_ca=None)
    first = id(contexts.context_for(system, present_certificate=False))
    gc.collect()
    assert id(contexts.context_for(system, present_certificate=False)) == first


def test_the_system_trust_store_may_be_named_by_the_environment(
    credentials: PlantCredentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert credentials.broker_ca
    (tmp_path / "roots.pem").write_bytes(credentials.broker_ca)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    context = TlsContexts().context_for(replace(credentials, broker_ca=None), present_certificate=True)
    assert context.get_ca_certs()[0]["subject"] == ((("commonName", "Test Root"),),)


def test_the_private_key_is_never_put_where_others_can_read_it(
    credentials: PlantCredentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(self: ssl.SSLContext, path: str, **options: object) -> None:
        opened.append(path)
        assert list(tmp_path.iterdir()) == []
        load(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    TlsContexts().context_for(credentials, present_certificate=True)
    assert opened[0].startswith("/proc/self/fd/")
    assert not Path(opened[0]).exists()


def test_without_memfd_a_file_of_our_own_serves_and_is_gone_at_once(
    credentials: PlantCredentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr("os.memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(self: ssl.SSLContext, path: str, **options: object) -> None:
        modes.append(Path(path).stat().st_mode & 0o777)
        load(self, path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    TlsContexts().context_for(credentials, present_certificate=True)
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def problem(credentials: PlantCredentials, *, now: float | None = None) -> str:
    contexts = TlsContexts(clock=lambda: now or time.time())
    with pytest.raises(CredentialsError) as error:
        contexts.context_for(credentials, present_certificate=True)
    message = str(error.value)
    assert "PRIVATE KEY-----\n" not in message
    return message


def test_missing_material_is_named(credentials: PlantCredentials) -> None:
    assert "tls.crt is missing" in problem(replace(credentials, tls_certificate=None))
    assert "tls.key is missing" in problem(replace(credentials, tls_key=b""))


def test_an_expired_certificate_says_since_when(credentials: PlantCredentials, authority: Authority) -> None:
    leaf = authority.issue("plant-a", valid=(-3 * DAY, -DAY))
    expired = replace(credentials, tls_certificate=leaf.certificate, tls_key=leaf.key)
    assert "the client certificate (tls.crt) expired on 20" in problem(expired)


def test_a_context_in_use_is_checked_again_at_every_login(credentials: PlantCredentials) -> None:
    now = time.time()
    contexts = TlsContexts(clock=lambda: now)
    held = contexts.context_for(credentials, present_certificate=True)
    now += 31 * 86_400
    with pytest.raises(CredentialsError, match="expired on"):
        contexts.context_for(credentials, present_certificate=True)
    assert held is not None


def test_a_certificate_that_is_not_valid_yet_points_at_the_clock(credentials: PlantCredentials) -> None:
    assert "check this machine's clock" in problem(credentials, now=time.time() - 30 * 86_400)


def test_a_key_of_another_certificate(credentials: PlantCredentials, authority: Authority) -> None:
    other = replace(credentials, tls_key=authority.issue("plant-b").key)
    assert "(tls.crt) and the client key (tls.key) do not belong together" in problem(other)


@pytest.mark.parametrize("junk", [b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_unreadable_certificates(credentials: PlantCredentials, junk: bytes) -> None:
    assert "the client certificate (tls.crt) is not a readable PEM" in problem(
        replace(credentials, tls_certificate=junk)
    )
    assert "the broker's CA (spec.voke.ca) is not a readable PEM" in problem(
        replace(credentials, broker_ca=junk)
    )


def test_an_empty_ca_is_not_the_system_trust_store(credentials: PlantCredentials) -> None:
    assert "the broker's CA (spec.voke.ca) is not a readable PEM" in problem(
        replace(credentials, broker_ca=b"")
    )


def test_an_unreadable_key(credentials: PlantCredentials) -> None:
    assert "the client key (tls.key) is not a readable PEM" in problem(replace(credentials, tls_key=b"junk"))


def test_an_encrypted_key_is_refused_without_asking_on_the_terminal(
    credentials: PlantCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked for a passphrase"))
    assert credentials.tls_key
    encrypted = load_pem_private_key(credentials.tls_key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    assert "is encrypted: store it without a passphrase" in problem(replace(credentials, tls_key=encrypted))


def test_an_expired_ca(credentials: PlantCredentials) -> None:
    old = Authority(valid=(-3 * DAY, -DAY))
    assert "the broker's CA (spec.voke.ca) expired on" in problem(replace(credentials, broker_ca=old.pem))


def test_a_ca_bundle_with_one_root_expired_still_serves(credentials: PlantCredentials) -> None:
    assert credentials.broker_ca
    bundle = Authority("Old", valid=(-3 * DAY, -DAY)).pem + credentials.broker_ca
    TlsContexts().context_for(replace(credentials, broker_ca=bundle), present_certificate=True)


def test_an_early_end_without_an_alert_still_says_what_to_check() -> None:
    """Nobody has said that it is the certificate."""
    for shown, advice in ((True, "revocation list"), (False, "spec.voke.ports")):
        failure = early_end("EOF", "broker:8886", present_certificate=shown)
        assert type(failure) is ConnectFailedError
        assert advice in str(failure)


def test_an_unknown_handshake_error_is_shown_as_it_is() -> None:
    assert "strange" in str(handshake_failure(OSError(5, "strange"), "broker", 8886))
