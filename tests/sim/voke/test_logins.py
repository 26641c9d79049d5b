"""The three listeners of the local Voke, on a real mosquitto: who gets in, and what they may then do."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from tests.sim.voke.credentials import (
    client_tls,
    jwt_login,
    password_login,
    pkcs1_der,
    rsa_key,
    spki_der,
    token,
)
from tests.sim.voke.messages import Plant
from tests.sim.voke.mqtt import Client, LoginRefusedError, connect
from voke_sim.voke import CertificateAuthority, CertificateError, LocalVoke, pki

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_AUTHORIZED = 0x87
PACKET_TOO_LARGE = 0x95


async def refused(voke: LocalVoke, port: int, tls: ssl.SSLContext, **login: Any) -> int | None:
    """The CONNACK code of a refused login; None: the TLS handshake failed."""
    with pytest.raises(LoginRefusedError) as caught:
        async with connect(voke.host, port, tls, **login):
            pass
    return caught.value.code


class TestPassword:
    async def test_the_provisioned_login_works_and_its_messages_are_judged(
        self, voke: LocalVoke, tls: ssl.SSLContext
    ) -> None:
        plant = Plant()
        login = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
        assert login.username == login.client_id == f"plc-{plant.plant_id[:8]}"
        assert len(login.password) == 32
        assert login.password.isalnum()
        async with connect(
            voke.host, voke.ports.password, tls,
            client_id=login.client_id, username=login.username, password=login.password,
        ) as client:  # fmt: skip
            assert await client.publish(plant.topic(), plant.telemetry()) == 0
        await voke.wait_for(lambda: voke.counters.total_accepted(plant_id=plant.plant_id) == 1, 5)

    async def test_two_plants_whose_ids_begin_alike_get_different_user_names(self, voke: LocalVoke) -> None:
        ids = [f"aaaaaaaa-{i}b64-4d1e-9c55-0a1b2c3d4e5f" for i in range(2)]
        logins = [await voke.register_password(plant_id, hmac_key="k" * 32) for plant_id in ids]
        assert [login.username for login in logins] == ["plc-aaaaaaaa", "plc-aaaaaaaa1"]

    async def test_a_wrong_password_is_refused(self, voke: LocalVoke, tls: ssl.SSLContext) -> None:
        login = await voke.register_password(Plant().plant_id, hmac_key="k" * 32)
        wrong = {"client_id": "x", "username": login.username, "password": login.password[:-1]}
        assert await refused(voke, voke.ports.password, tls, **wrong) == NOT_AUTHORIZED

    async def test_nobody_is_anonymous(self, voke: LocalVoke, tls: ssl.SSLContext) -> None:
        for port in (voke.ports.password, voke.ports.jwt, voke.ports.ingest):
            assert await refused(voke, port, tls, client_id="x") == NOT_AUTHORIZED

    async def test_a_new_password_replaces_the_old_one(self, voke: LocalVoke, tls: ssl.SSLContext) -> None:
        plant = Plant()
        old = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
        new = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
        assert old.username == new.username
        assert await refused(voke, voke.ports.password, tls, **password_login(old)) == NOT_AUTHORIZED
        async with connect(voke.host, voke.ports.password, tls, **password_login(new)):
            pass

    async def test_a_revoked_login_is_refused_and_its_session_ends(
        self, voke: LocalVoke, tls: ssl.SSLContext
    ) -> None:
        plant = Plant()
        made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
        login = password_login(made)
        async with connect(voke.host, voke.ports.password, tls, **login) as client:
            await voke.revoke(plant.plant_id)
            await client.ended.wait()
        assert await refused(voke, voke.ports.password, tls, **login) == NOT_AUTHORIZED

    async def test_the_password_is_neither_stored_nor_shown_in_clear(self, voke: LocalVoke) -> None:
        login = await voke.register_password(Plant().plant_id, hmac_key="k" * 32)
        assert login.password not in repr(login)
        for path in voke.files.directory.rglob("*"):
            if path.is_file():
                assert path.stat().st_mode & 0o077 == 0 or path == voke.files.log
                assert login.password.encode() not in path.read_bytes()


class TestJwt:
    async def test_a_token_of_the_registered_key_works(self, voke: LocalVoke, tls: ssl.SSLContext) -> None:
        plant, key = Plant(), rsa_key()
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(key))
        login = jwt_login(plant.plant_id, token(key, plant.plant_id))
        async with connect(voke.host, voke.ports.jwt, tls, **login) as client:
            assert await client.publish(plant.topic(), plant.telemetry()) == 0
        await voke.wait_for(lambda: voke.counters.total_accepted(plant_id=plant.plant_id) == 1, 5)

    @pytest.mark.parametrize(
        ("problem", "said"),
        [
            ("another plant's sub", "not the token's sub"),
            ("expired", "expired"),
            ("no exp", "expired"),
            ("exp is text", "expired"),
            ("not valid yet", "not valid yet"),
            ("another key", "does not verify"),
            ("none", "does not verify"),
            ("not base64url", "not base64url"),
            ("HS256 with the public key", "does not verify"),
            ("RS512", "does not verify"),
            ("no sub", "not the token's sub"),
            ("sub is a number", "not the token's sub"),
            ("no token", "user name or token is missing"),
            ("not a token", "three parts"),
            ("too long", "three parts"),
        ],
    )
    async def test_other_tokens_are_refused_and_the_log_says_why(
        self, voke: LocalVoke, tls: ssl.SSLContext, problem: str, said: str
    ) -> None:
        plant, key = Plant(), rsa_key()
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(key))
        good = token(key, plant.plant_id)
        claims = good.split(".")[1]
        password = {
            "another plant's sub": token(key, Plant().plant_id),
            "expired": token(key, plant.plant_id, lifetime=-1),
            "no exp": signed(key, {"sub": plant.plant_id}),
            "exp is text": signed(key, {"sub": plant.plant_id, "exp": "9999999999"}),
            "not valid yet": token(key, plant.plant_id, nbf=int(time.time()) + 60),
            "another key": token(rsa_key("other"), plant.plant_id),
            "none": segment({"alg": "none"}) + "." + claims + "." + segment({}),
            "not base64url": good.replace(".", "=.", 1),
            "HS256 with the public key": hs256(pkcs1_der(key), claims),
            "RS512": token(key, plant.plant_id, algorithm="RS512"),
            "no sub": signed(key, {"exp": 9999999999}),
            "sub is a number": signed(key, {"sub": 1, "exp": 9999999999}),
            "no token": None,
            "not a token": "secret",
            "too long": good + "A" * 4096,
        }[problem]
        offset = voke.files.log.stat().st_size
        login = jwt_login(plant.plant_id, password)
        assert await refused(voke, voke.ports.jwt, tls, **login) == NOT_AUTHORIZED
        log = voke.broker.log_text(offset)
        assert said in log
        assert claims not in log

    async def test_a_public_key_as_spki_makes_every_login_fail(
        self, voke: LocalVoke, tls: ssl.SSLContext
    ) -> None:
        plant, key = Plant(), rsa_key()
        offset = voke.files.log.stat().st_size
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=spki_der(key))
        login = jwt_login(plant.plant_id, token(key, plant.plant_id))
        assert await refused(voke, voke.ports.jwt, tls, **login) == NOT_AUTHORIZED
        assert "not PKCS#1 DER" in voke.broker.log_text(offset)

    @pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits long")
    @pytest.mark.parametrize("spoil", ["PEM", "longer", "shorter", "1024 bits", "empty", "huge"])
    async def test_a_key_file_that_is_anything_else_is_refused(
        self, voke: LocalVoke, tls: ssl.SSLContext, spoil: str
    ) -> None:
        plant, key = Plant(), rsa_key("short", 1024) if spoil == "1024 bits" else rsa_key()
        der = pkcs1_der(key)
        content = {
            "PEM": b"-----BEGIN RSA PUBLIC KEY-----\n" + base64.encodebytes(der),
            "longer": der + b"\0",
            "shorter": der[:-1],
            "1024 bits": der,
            "empty": b"",
            "huge": der * 100,
        }[spoil]
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=content)
        login = jwt_login(plant.plant_id, token(key, plant.plant_id))
        assert await refused(voke, voke.ports.jwt, tls, **login) == NOT_AUTHORIZED

    async def test_a_key_can_be_replaced_and_revoked_while_the_broker_runs(
        self, voke: LocalVoke, tls: ssl.SSLContext
    ) -> None:
        plant, old, new = Plant(), rsa_key(), rsa_key("other")
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(old))
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(new))
        by_old, by_new = (jwt_login(plant.plant_id, token(key, plant.plant_id)) for key in (old, new))
        assert await refused(voke, voke.ports.jwt, tls, **by_old) == NOT_AUTHORIZED
        async with connect(voke.host, voke.ports.jwt, tls, **by_new):
            pass
        await voke.revoke(plant.plant_id)
        assert await refused(voke, voke.ports.jwt, tls, **by_new) == NOT_AUTHORIZED

    @pytest.mark.parametrize("name", ["../jwt-public", "a/b", "+", "#", "", "x" * 65, "a.b", "plc ä"])
    async def test_user_names_that_are_no_plant_ids_are_refused(
        self, voke: LocalVoke, tls: ssl.SSLContext, name: str
    ) -> None:
        login = {"client_id": "x", "username": name, "password": token(rsa_key(), name)}
        assert await refused(voke, voke.ports.jwt, tls, **login) == NOT_AUTHORIZED


async def test_one_key_for_the_jwt_listener_admits_every_plant(tmp_path: Any) -> None:
    key = rsa_key()
    async with LocalVoke.start(tmp_path, jwt_keys="listener") as voke:
        tls = ssl.create_default_context(cadata=voke.ca_pem.decode())
        plants = [Plant(), Plant()]
        for plant in plants:
            await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(key))
            login = jwt_login(plant.plant_id, token(key, plant.plant_id))
            async with connect(voke.host, voke.ports.jwt, tls, **login) as client:
                assert await client.publish(plant.topic(), plant.telemetry()) == 0
        mismatched = jwt_login(plants[0].plant_id, token(key, plants[1].plant_id))
        assert await refused(voke, voke.ports.jwt, tls, **mismatched) == NOT_AUTHORIZED
        with pytest.raises(ValueError, match="one public key for all plants"):
            await voke.register_jwt("third", hmac_key="k", public_key_der=pkcs1_der(rsa_key("other")))


class TestMtls:
    async def test_a_certificate_signed_for_a_request_works(self, voke: LocalVoke) -> None:
        plant = Plant()
        key, csr_pem = pki.key_and_request(plant.plant_id)
        certificate = await voke.register_mtls(plant.plant_id, hmac_key=plant.hmac_key, csr_pem=csr_pem)
        assert certificate is not None
        async with mtls(voke, plant, certificate, key) as client:
            assert await client.publish(plant.topic(), plant.telemetry()) == 0
        await voke.wait_for(lambda: voke.counters.total_accepted(plant_id=plant.plant_id) == 1, 5)

    async def test_the_user_name_is_the_certificates_cn_whatever_the_client_says(
        self, voke: LocalVoke
    ) -> None:
        plant, other = Plant(), Plant()
        certificate, key = await voke.issue_mtls(plant.plant_id, hmac_key=plant.hmac_key)
        context = client_tls(voke.ca_pem, certificate, key)
        login: dict[str, Any] = {"client_id": "x", "username": other.plant_id, "password": "y"}
        async with connect(voke.host, voke.ports.mtls, context, **login) as client:
            assert await client.publish(plant.topic(), plant.telemetry()) == 0
            assert await client.publish(other.topic(), other.telemetry()) == NOT_AUTHORIZED

    async def test_without_a_certificate_there_is_no_session(
        self, voke: LocalVoke, tls: ssl.SSLContext
    ) -> None:
        assert await refused(voke, voke.ports.mtls, tls, client_id="x") is None

    async def test_a_revoked_certificate_is_refused_and_the_others_are_not(self, voke: LocalVoke) -> None:
        plant, other = Plant(), Plant()
        first = await voke.issue_mtls(plant.plant_id, hmac_key=plant.hmac_key)
        second = await voke.issue_mtls(other.plant_id, hmac_key=other.hmac_key)
        async with mtls(voke, other, *second) as session:
            async with mtls(voke, plant, *first):
                pass
            await voke.revoke(plant.plant_id)
            context = client_tls(voke.ca_pem, *first)
            assert await refused(voke, voke.ports.mtls, context, client_id=plant.plant_id) is None
            assert await session.publish(other.topic(), other.telemetry()) == 0
        async with mtls(voke, other, *second):
            pass
        # And a new certificate for the same plant is a new start.
        async with mtls(voke, plant, *await voke.issue_mtls(plant.plant_id, hmac_key=plant.hmac_key)):
            pass

    async def test_a_certificate_of_a_foreign_ca_is_refused_until_voke_trusts_that_ca(
        self, voke: LocalVoke
    ) -> None:
        plant, fleet = Plant(), CertificateAuthority("Fleet CA")
        key, csr_pem = pki.key_and_request(plant.plant_id)
        issued = fleet.issue_plant(plant.plant_id, pki.read_request(csr_pem, plant.plant_id))
        certificate = pki.pem(issued)
        context = client_tls(voke.ca_pem, certificate, key)
        assert await refused(voke, voke.ports.mtls, context, client_id=plant.plant_id) is None

        ca_pem = pki.pem(fleet.certificate)
        trust = {"hmac_key": plant.hmac_key, "ca_pem": ca_pem}
        await voke.register_mtls(plant.plant_id, **trust, crl_pem=fleet.crl())
        async with mtls(voke, plant, certificate, key):
            pass

        fleet.revoke(issued.serial_number)
        await voke.register_mtls(plant.plant_id, **trust, crl_pem=fleet.crl())
        assert await refused(voke, voke.ports.mtls, context, client_id=plant.plant_id) is None

    async def test_an_expired_certificate_is_refused(self, voke: LocalVoke) -> None:
        plant, fleet = Plant(), ExpiredAuthority("Expired CA")
        key, csr_pem = pki.key_and_request(plant.plant_id)
        issued = fleet.issue_plant(plant.plant_id, pki.read_request(csr_pem, plant.plant_id))
        await voke.register_mtls(
            plant.plant_id, hmac_key=plant.hmac_key, ca_pem=pki.pem(fleet.certificate), crl_pem=fleet.crl()
        )
        context = client_tls(voke.ca_pem, pki.pem(issued), key)
        assert await refused(voke, voke.ports.mtls, context, client_id=plant.plant_id) is None

    async def test_requests_and_authorities_that_cannot_work_are_refused_with_a_remedy(
        self, voke: LocalVoke
    ) -> None:
        plant, fleet, other = Plant(), CertificateAuthority("Fleet CA"), CertificateAuthority("Other CA")
        _, csr_of_another = pki.key_and_request(Plant().plant_id)
        ca_pem = pki.pem(fleet.certificate)
        for arguments, problem in [
            ({"csr_pem": csr_of_another}, "exactly one CN"),
            ({"csr_pem": b"nonsense"}, "not a PEM certificate signing request"),
            ({"ca_pem": ca_pem}, "an empty one will do"),
            ({"ca_pem": ca_pem, "crl_pem": b"nonsense"}, "not a PEM certificate and CRL"),
            ({"ca_pem": ca_pem, "crl_pem": other.crl()}, "not among the CA certificates"),
            ({"ca_pem": ca_pem, "crl_pem": CertificateAuthority("Fleet CA").crl()}, "not signed by the CA"),
        ]:
            with pytest.raises(CertificateError, match=problem):
                await voke.register_mtls(plant.plant_id, hmac_key=plant.hmac_key, **arguments)
        with pytest.raises(ValueError, match="either csr_pem"):
            await voke.register_mtls(plant.plant_id, hmac_key=plant.hmac_key)


class TestAccess:
    """What a plant may do on its own topics and on others', by each way in."""

    @pytest.mark.parametrize("method", ["mtls", "jwt", "password"])
    async def test_a_plant_owns_its_topics_and_no_other(self, voke: LocalVoke, method: str) -> None:
        plant, other = Plant(), Plant()
        voke.rotate_hmac(other.plant_id, other.hmac_key)
        async with session(voke, method, plant) as client:
            assert await client.publish(plant.topic(), plant.telemetry()) == 0
            assert await client.publish(other.topic(), other.telemetry()) == NOT_AUTHORIZED
            assert await client.publish("cpi/+/telemetry".replace("+", "x"), b"{}") == NOT_AUTHORIZED
            assert await client.publish("elsewhere", b"{}") == NOT_AUTHORIZED
            assert await client.subscribe(plant.topic("command")) in (0, 1)
            # mosquitto grants any subscription and then lets nothing through it.
            await client.subscribe(other.topic("command"))
            await client.subscribe("cpi/#")
            await voke.send_command(other.plant_id, "HOLD")
            await voke.send_command(plant.plant_id, "HOLD")
            received = await client.message()
            assert received.topic == plant.topic("command")
        assert voke.counters.total_accepted(plant_id=other.plant_id) == 0

    @pytest.mark.parametrize("method", ["mtls", "jwt", "password"])
    async def test_8192_bytes_pass_and_8193_do_not(self, voke: LocalVoke, method: str) -> None:
        plant = Plant()
        async with session(voke, method, plant) as client:
            assert await client.publish(plant.topic(), plant.telemetry().ljust(8192)) == 0
            assert await client.publish(plant.topic(), plant.telemetry().ljust(8193)) == PACKET_TOO_LARGE
            assert await client.publish(plant.topic(), plant.telemetry()) == 0  # the session stays up
        await voke.wait_for(lambda: voke.counters.total_accepted(plant_id=plant.plant_id) == 2, 5)
        assert voke.counters.total_refused(plant_id=plant.plant_id) == 0

    async def test_a_plants_login_is_of_no_use_on_another_listener(
        self, voke: LocalVoke, tls: ssl.SSLContext
    ) -> None:
        made = await voke.register_password(Plant().plant_id, hmac_key="k" * 32)
        login = password_login(made)
        assert await refused(voke, voke.ports.jwt, tls, **login) == NOT_AUTHORIZED
        assert await refused(voke, voke.ports.ingest, tls, **login) == NOT_AUTHORIZED


async def test_a_client_that_does_not_know_the_root_does_not_talk_to_this_broker(voke: LocalVoke) -> None:
    strangers = ssl.create_default_context(cadata=pki.pem(CertificateAuthority().certificate).decode())
    with pytest.raises(LoginRefusedError, match="TLS"):
        async with connect(voke.host, voke.ports.password, strangers, client_id="x"):
            pass


@contextlib.asynccontextmanager
async def session(voke: LocalVoke, method: str, plant: Plant) -> Any:
    """A plant, registered and logged in by that method."""
    tls = ssl.create_default_context(cadata=voke.ca_pem.decode())
    port = getattr(voke.ports, method)
    login: dict[str, Any]
    if method == "mtls":
        tls = client_tls(voke.ca_pem, *await voke.issue_mtls(plant.plant_id, hmac_key=plant.hmac_key))
        login = {"client_id": plant.plant_id}
    elif method == "jwt":
        key = rsa_key()
        await voke.register_jwt(plant.plant_id, hmac_key=plant.hmac_key, public_key_der=pkcs1_der(key))
        login = jwt_login(plant.plant_id, token(key, plant.plant_id))
    else:
        made = await voke.register_password(plant.plant_id, hmac_key=plant.hmac_key)
        login = password_login(made)
    async with connect(voke.host, port, tls, **login) as client:
        yield client


@contextlib.asynccontextmanager
async def mtls(voke: LocalVoke, plant: Plant, certificate: bytes, key: bytes) -> Any:
    context = client_tls(voke.ca_pem, certificate, key)
    async with connect(voke.host, voke.ports.mtls, context, client_id=plant.plant_id) as client:
        assert isinstance(client, Client)
        yield client


class ExpiredAuthority(CertificateAuthority):
    """Issues certificates that ended yesterday."""

    def issue_plant(self, plant_id: str, public_key: Any) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(pki.name(plant_id))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(1)
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now - timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )


def segment(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def signed(key: Any, claims: dict[str, Any]) -> str:
    return jwt.api_jws.encode(json.dumps(claims).encode(), key, algorithm="RS256")


def hs256(key: bytes, claims: str) -> str:
    text = segment({"alg": "HS256", "typ": "JWT"}) + "." + claims
    mac = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return text + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
