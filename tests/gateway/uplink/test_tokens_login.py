"""How a plant logs in at each of Voke's three listeners."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_api.resources.common import AuthMethod
from voke_api.resources.pool import Ports, Topics, Voke
from voke_gateway.uplink.login import LoginPlan, make_login
from voke_gateway.uplink.session import CredentialsError

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = rsa.generate_private_key(65537, 2048)
NOW = 1_700_000_000.0

FULL = PlantCredentials(
    client_id="plc-3f2c1a9e",
    username="plc-user",
    hmac_key=b"k" * 32,
    password="s3cret-password",
    tls_certificate=b"certificate",
    tls_key=b"private key",
    jwt_private_key=KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    broker_ca=b"ca",
)


def plan(method: AuthMethod, credentials: PlantCredentials = FULL, **changes: Any) -> LoginPlan:
    plant = ResolvedPlant(
        name="brno-roof-3",
        plant_id=PLANT_ID,
        auth_method=method,
        interval=10.0,
        assemble_within=1.0,
        command_max_age=300.0,
        connections=(),
        devices=(),
    )
    return make_login(replace(plant, **changes), credentials, now=NOW, random=Random(1))


def test_mtls_says_who_it_is_by_certificate_alone() -> None:
    mtls = plan("MTLS")
    assert (mtls.login.host, mtls.login.port) == ("mqtt.voke.lovinka.com", 8886)
    assert mtls.login.present_certificate
    assert (mtls.login.client_id, mtls.login.username, mtls.login.password) == ("plc-3f2c1a9e", None, None)
    assert mtls.renew_at is None


def test_jwt_gives_the_plant_id_as_user_name_and_the_token_as_password() -> None:
    by_token = plan("JWT")
    assert by_token.login.port == 8887
    assert by_token.login.username == PLANT_ID
    assert by_token.login.password
    claims = jwt.decode(
        by_token.login.password, KEY.public_key(), algorithms=["RS256"], options={"verify_exp": False}
    )
    assert claims["sub"] == PLANT_ID
    assert by_token.renew_at
    assert NOW + 0.7 * 3600 <= by_token.renew_at <= NOW + 0.9 * 3600
    assert not by_token.login.present_certificate


def test_password_takes_ids_as_voke_gave_them() -> None:
    by_password = plan("PASSWORD")
    assert by_password.login.port == 8885
    assert by_password.login.client_id == "plc-3f2c1a9e"
    assert (by_password.login.username, by_password.login.password) == ("plc-user", "s3cret-password")
    assert not by_password.login.present_certificate
    assert by_password.renew_at is None


def test_the_pool_says_where_voke_is_and_the_plant_how_long_commands_keep() -> None:
    voke = Voke(host="broker.local", ports=Ports(password=1885), topics=Topics(command="commands"))
    login = plan("PASSWORD", voke=voke, command_max_age=90.5).login
    assert (login.host, login.port) == ("broker.local", 1885)
    assert login.subscribe == (f"cpi/{PLANT_ID}/commands",)
    assert login.session_expiry == 91
    assert login.keepalive == 60


@pytest.mark.parametrize(
    ("method", "field", "key"),
    [
        ("MTLS", "tls_certificate", "tls.crt"),
        ("MTLS", "tls_key", "tls.key"),
        ("JWT", "jwt_private_key", "jwt-private.pem"),
        ("PASSWORD", "password", "password"),
        ("PASSWORD", "username", "username"),
        ("PASSWORD", "client_id", "clientId"),
    ],
)
def test_missing_material_is_named_by_its_key(method: AuthMethod, field: str, key: str) -> None:
    empty: dict[str, Any] = {field: ""}
    with pytest.raises(CredentialsError) as error:
        plan(method, replace(FULL, **empty))
    assert str(error.value) == f"plant brno-roof-3 logs in with {method}, and its credentials hold no {key}"


@pytest.mark.parametrize("method", ["MTLS", "JWT", "PASSWORD"])
def test_a_plan_shows_no_secret(method: AuthMethod) -> None:
    shown = plan(method)
    for secret in ("s3cret-password", "private key", shown.login.password or "no password"):
        assert secret not in repr(shown)
