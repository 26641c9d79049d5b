"""What Secrets give a plant, and what is wrong with keys and certificates in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.support.pki import DAY, Authority, large_rsa_key, odd_certificates
from tests.support.plants import PLANT_ID, battery_document
from voke_api.problems import Severity
from voke_api.resources import GatewayPool, Plant
from voke_cli.secret import read_secret
from voke_operator.credentials.given import (
    MAX_HMAC_BYTES,
    MAX_LOGIN_BYTES,
    Given,
    credentials_from_secrets,
    to_generate,
)
from voke_operator.credentials.material import MAX_PEM_BYTES
from voke_operator.credentials.secret import Secret

HMAC = b"0123456789abcdef0123456789abcdef"
LOGIN = {"hmac.key": HMAC, "username": b"u", "password": b"pw"}
ROOT = Authority()


def secret(data: dict[str, bytes], *, name: str = "keys", allow: str | None = "true") -> Secret:
    labels = {} if allow is None else {"voke.lovinka.com/allow": allow}
    return Secret(name, "default", labels, data, {key: ("stringData", key) for key in data})


def read(method: str, *secrets: Secret, pool: GatewayPool | None = None, **others: Any) -> Given:
    ref = {"secretRef": {"name": "keys"}}
    plant = Plant.model_validate(
        battery_document(auth={"method": method}, credentials={"hmac": ref, method.lower(): ref})
    )
    return credentials_from_secrets(
        plant, pool, {each.name: each for each in secrets}, now=datetime.now(UTC), **others
    )


def said(given: Given, severity: Severity = Severity.ERROR) -> list[str]:
    return [problem.message for problem in given.problems if problem.severity is severity]


def mtls(certificate: bytes, key: bytes) -> Given:
    return read("MTLS", secret({"hmac.key": HMAC, "tls.crt": certificate, "tls.key": key}))


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def test_a_pair_that_fits_is_taken_as_it_is() -> None:
    leaf = ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY))
    given = mtls(leaf.certificate, leaf.key)
    assert given.problems == []
    assert given.values == {
        "client_id": PLANT_ID,
        "username": PLANT_ID,
        "hmac_key": HMAC,
        "tls_certificate": leaf.certificate,
        "tls_key": leaf.key,
    }


def test_what_is_given_is_not_shown() -> None:
    given = read("PASSWORD", secret(LOGIN | {"password": b"hunter2"}))
    assert given.values["password"] == "hunter2"
    assert "hunter2" not in repr(given)
    assert "hunter2" not in repr(secret({"password": b"hunter2"}))


def test_a_plant_without_references_needs_hmac_and_its_method_generated() -> None:
    plant = Plant.model_validate(battery_document(auth={"method": "JWT"}))
    given = credentials_from_secrets(plant, None, {}, now=datetime.now(UTC))
    assert to_generate(plant) == ("hmac", "jwt")
    assert given.problems == []


@pytest.mark.parametrize(
    ("valid", "message", "severity"),
    [
        ((-90 * DAY, -DAY), "expired", Severity.ERROR),
        ((DAY, 90 * DAY), "not valid before", Severity.ERROR),
        ((-DAY, 5 * DAY), "expires on", Severity.WARNING),
    ],
)
def test_the_dates_of_a_certificate(
    valid: tuple[timedelta, timedelta], message: str, severity: Severity
) -> None:
    leaf = ROOT.issue(PLANT_ID, valid=valid)
    (found,) = mtls(leaf.certificate, leaf.key).problems
    assert found.severity is severity
    assert message in found.message
    assert (found.kind, found.name, found.path) == ("Secret", "keys", ("stringData", "tls.crt"))


def test_a_key_that_does_not_belong_to_the_certificate() -> None:
    one, other = (ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY)) for _ in range(2))
    (message,) = said(mtls(one.certificate, other.key))
    assert "tls.key is not the key of tls.crt" in message


def test_a_chain_in_the_wrong_order_is_named_as_such() -> None:
    leaf, above = (ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY)) for _ in range(2))
    (message,) = said(mtls(above.certificate + leaf.certificate, leaf.key))
    assert "must come first" in message


def test_a_certificate_of_another_plant() -> None:
    leaf = ROOT.issue("somebody-else", valid=(-DAY, 90 * DAY))
    (message,) = said(mtls(leaf.certificate, leaf.key))
    assert "must be the plant id" in message
    assert "somebody-else" in message


def test_a_server_s_certificate() -> None:
    leaf = ROOT.issue(PLANT_ID, hosts=("localhost",), valid=(-DAY, 90 * DAY))
    (message,) = said(mtls(leaf.certificate, leaf.key))
    assert "not made for clients" in message


def test_an_encrypted_key_and_one_that_is_none() -> None:
    leaf = ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY))
    encrypted = pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
    assert said(mtls(leaf.certificate, encrypted)) == [
        "tls.key is encrypted; a gateway has no password for it"
    ]
    assert "not a PEM private key" in said(mtls(leaf.certificate, leaf.certificate))[0]


def test_jwt_keys_are_rsa_of_2048_bits() -> None:
    curve = pem(ec.generate_private_key(ec.SECP256R1()))
    short = pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    good = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def jwt(key: bytes) -> Given:
        return read("JWT", secret({"hmac.key": HMAC, "jwt-private.pem": key}))

    assert said(jwt(curve)) == ["the JWT key must be RSA: Voke wants RS256"]
    assert said(jwt(short)) == ["the JWT key has 1024 bits; RS256 needs 2048"]
    assert jwt(good).problems == []


def test_the_client_id_of_a_password_is_the_user_name_unless_given() -> None:
    keys = LOGIN | {"username": b"plc-1"}
    assert read("PASSWORD", secret(keys)).values["client_id"] == "plc-1"
    assert read("PASSWORD", secret(keys | {"clientId": b"c-1"})).values["client_id"] == "c-1"


def test_a_trailing_newline_is_taken_off_with_a_warning() -> None:
    given = read("PASSWORD", secret(LOGIN | {"hmac.key": HMAC + b"\n", "password": b"pw\r\n"}))
    assert given.values["hmac_key"] == HMAC
    assert given.values["password"] == "pw"
    assert len(said(given, Severity.WARNING)) == 2
    assert said(given) == []


def test_a_short_key_is_refused_after_its_newline_was_taken_off() -> None:
    given = read("PASSWORD", secret(LOGIN | {"hmac.key": b"x" * 31 + b"\n"}))
    assert said(given) == ["the HMAC key has 31 characters; it needs at least 32"]


def test_a_key_as_long_as_a_file_is_refused() -> None:
    longest = b"x" * MAX_HMAC_BYTES
    assert said(read("PASSWORD", secret(LOGIN | {"hmac.key": longest}))) == []
    given = read("PASSWORD", secret(LOGIN | {"hmac.key": longest[2:] + "é".encode() + b"x"}))
    assert said(given) == ["hmac.key has 4097 bytes; 4096 are the most: is it another file?"]


def test_a_secret_that_is_not_there_is_as_bad_as_the_caller_says() -> None:
    assert len(said(read("MTLS"))) == 2
    assert len(said(read("MTLS", missing=Severity.WARNING), Severity.WARNING)) == 2


@pytest.mark.parametrize("allow", [None, "false", "yes"])
def test_a_secret_must_allow_to_be_used(allow: str | None) -> None:
    given = read("PASSWORD", secret(LOGIN, allow=allow))
    assert "must carry the label" in said(given)[0]


def test_the_broker_s_root_is_read_from_the_pool_s_reference() -> None:
    ca = {"ca": {"secretRef": {"name": "root", "key": "ca.crt"}}}
    pool = GatewayPool.model_validate({"metadata": {"name": "default"}, "spec": {"voke": ca}})
    keys = secret(LOGIN)
    assert (
        read("PASSWORD", keys, secret({"ca.crt": ROOT.pem}, name="root"), pool=pool).values["broker_ca"]
        == ROOT.pem
    )
    assert (
        "not a PEM certificate"
        in said(read("PASSWORD", keys, secret({"ca.crt": b"x"}, name="root"), pool=pool))[0]
    )
    assert "lacks the key ca.crt" in said(read("PASSWORD", keys, secret({}, name="root"), pool=pool))[0]


def test_string_data_wins_over_data_as_in_kubernetes() -> None:
    found = read_secret(
        {"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="}, "stringData": {"a": "y"}}, "s"
    )
    assert isinstance(found, Secret)
    assert found.data == {"a": b"y"}


def test_a_missing_secret_is_said_with_the_place_that_was_searched() -> None:
    assert said(read("MTLS"))[0] == "the Secret keys is not among the files"
    where = "the Secrets of namespace plants that carry voke.lovinka.com/allow"
    assert said(read("MTLS", searched=where))[0] == f"the Secret keys is not among {where}"


def test_a_damaged_jwt_key_is_refused() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    damaged = rsa.RSAPrivateNumbers(
        p=key.p,
        q=key.q,
        d=key.d + 2,
        dmp1=key.dmp1,
        dmq1=key.dmq1,
        iqmp=key.iqmp,
        public_numbers=key.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    given = read("JWT", secret({"hmac.key": HMAC, "jwt-private.pem": pem(damaged)}))
    (message,) = said(given)
    assert "jwt-private.pem is not a PEM private key" in message
    assert "jwt_private_key" not in given.values


ODD = odd_certificates(PLANT_ID)


@pytest.mark.parametrize("odd", ODD)
def test_a_certificate_that_nobody_understands_is_refused_in_a_sentence(odd: str) -> None:
    certificate, key = ODD[odd]
    (message,) = said(mtls(certificate, key))
    assert "damaged" in message or "cannot be understood" in message


@pytest.mark.parametrize("odd", ODD)
def test_a_root_that_nobody_understands_does_not_raise(odd: str) -> None:
    certificate, _ = ODD[odd]
    ca = {"ca": {"secretRef": {"name": "root", "key": "ca.crt"}}}
    pool = GatewayPool.model_validate({"metadata": {"name": "default"}, "spec": {"voke": ca}})
    for problem in read(
        "PASSWORD", secret(LOGIN), secret({"ca.crt": certificate}, name="root"), pool=pool
    ).problems:
        assert "damaged" in problem.message


def test_a_certificate_s_name_cannot_steer_a_terminal() -> None:
    leaf = ROOT.issue("\x1b[2J\nevil", valid=(-DAY, 90 * DAY))
    (message,) = said(mtls(leaf.certificate, leaf.key))
    assert message.endswith("it is ?[2J?evil")


@pytest.mark.parametrize("file", ["tls.crt", "tls.key"])
def test_a_file_that_is_larger_than_any_key_is_not_looked_at(file: str) -> None:
    leaf = ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY))
    data = {"hmac.key": HMAC, "tls.crt": leaf.certificate, "tls.key": leaf.key}
    given = read("MTLS", secret({**data, file: data[file].ljust(MAX_PEM_BYTES + 1)}))
    assert said(given) == [f"{file} has 65537 bytes; 65536 are the most: is it another file?"]


def test_what_mqtt_cannot_carry_is_refused() -> None:
    assert said(read("PASSWORD", secret(LOGIN | {"password": b"p" * MAX_LOGIN_BYTES}))) == []
    given = read("PASSWORD", secret(LOGIN | {"password": b"p" * (MAX_LOGIN_BYTES + 1), "username": b"a\0b"}))
    assert said(given) == [
        "username holds a zero byte, which MQTT does not allow",
        "password has 65536 bytes; 65535 are the most: is it another file?",
    ]
    assert given.values.keys() == {"hmac_key"}


def test_of_many_keys_in_a_secret_a_few_are_listed() -> None:
    many = secret({"hmac.key": HMAC, **{f"k{number:04}": b"" for number in range(4000)}})
    message = said(read("PASSWORD", many))[0]
    assert message.endswith("k0008 …")


@pytest.mark.parametrize("bits", [4098, 16_384, 65_536])
def test_a_key_that_takes_seconds_to_sign_with_is_refused(bits: int) -> None:
    large = large_rsa_key(bits)
    told = f"has {bits} bits; 4096 are the most, for more hold up a gateway"
    assert said(read("JWT", secret({"hmac.key": HMAC, "jwt-private.pem": large}))) == [
        f"jwt-private.pem {told}"
    ]
    assert said(mtls(ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY)).certificate, large)) == [f"tls.key {told}"]


def test_a_key_that_tls_cannot_sign_with_is_refused() -> None:
    agreed = x25519.X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    leaf = ROOT.issue(PLANT_ID, valid=(-DAY, 90 * DAY))
    assert said(mtls(leaf.certificate, agreed)) == ["tls.key must be ECDSA, RSA, Ed25519 or Ed448"]
