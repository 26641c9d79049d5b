"""How a plant logs in: one of Voke's three listeners and what each wants (protocol §3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TypeVar, assert_never

from voke_api.resolved import PlantCredentials, ResolvedPlant
from voke_gateway.uplink.session import CredentialsError, Login, topic

_Material = TypeVar("_Material", str, bytes)

KEEPALIVE = 60
"""Seconds, as in Voke's samples (protocol §2)."""


@dataclass(frozen=True, slots=True)
class LoginPlan:
    """What to log in with, and until when."""

    login: Login
    renew_at: float | None = None
    """Wall clock (epoch seconds) at which to log in anew, before the token expires; None: never."""


def make_login(
    plant: ResolvedPlant,
    credentials: PlantCredentials,
    *,
    now: float,
    random: Random,
) -> LoginPlan:
    """The login of one session; a new one for each, for a token ages. ``now`` is epoch seconds.

    Raises:
        CredentialsError: material that the method needs is missing or unusable; names the Secret's key.
    """
    ports = plant.voke.ports
    match plant.auth_method:
        case "MTLS":
            # No user name: the broker takes it from the certificate, a second claim could only contradict it.
            _need(plant, "tls.crt", credentials.tls_certificate)
            _need(plant, "tls.key", credentials.tls_key)
            return LoginPlan(_login(plant, credentials, port=ports.mtls))
        case "JWT":
            from voke_gateway.uplink.tokens import mint  # with 2 MB of libraries that only this method needs

            key = _need(plant, "jwt-private.pem", credentials.jwt_private_key)
            token = mint(key, plant.plant_id, now=now, random=random)
            login = _login(plant, credentials, port=ports.jwt, username=plant.plant_id, password=token.text)
            return LoginPlan(login, token.renew_at)
        case "PASSWORD":
            return LoginPlan(
                _login(
                    plant,
                    credentials,
                    port=ports.password,
                    username=_need(plant, "username", credentials.username),
                    password=_need(plant, "password", credentials.password),
                )
            )
        case _:
            assert_never(plant.auth_method)


def _login(
    plant: ResolvedPlant,
    credentials: PlantCredentials,
    *,
    port: int,
    username: str | None = None,
    password: str | None = None,
) -> Login:
    return Login(
        host=plant.voke.host,
        port=port,
        client_id=_need(plant, "clientId", credentials.client_id),
        username=username,
        password=password,
        session_expiry=math.ceil(plant.command_max_age),
        keepalive=KEEPALIVE,
        subscribe=(topic(plant, plant.voke.topics.command),),
        credentials=credentials,
        present_certificate=plant.auth_method == "MTLS",
    )


def _need(plant: ResolvedPlant, key: str, material: _Material | None) -> _Material:
    if not material:
        raise CredentialsError(
            f"plant {plant.name} logs in with {plant.auth_method}, and its credentials hold no {key}"
        )
    return material
