"""Makes the demo's plants known to the local Voke, and writes the files that ``voke run`` is given.

Each plant comes by its keys in another way, the ways that a person has: brno-roof's certificate is issued by
Voke, ostrava-storage's JWT key is generated here and registered there, plzen-works' password is provisioned
by Voke. The HMAC keys are generated here and registered there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from voke_api.resources import API_VERSION, Plant
from voke_cli.credentials import describe
from voke_cli.private_file import write_private
from voke_cli.state import KnownPlant, State
from voke_sim.demo import INTERVAL, Demo
from voke_sim.plc.site import Site, profiles
from voke_sim.voke import LocalVoke

Json = dict[str, Any]

CA_SECRET = "voke-broker-ca"  # noqa: S105 - the name of a Secret, not one


async def write_documents(demo: Demo, directory: Path, state: State) -> None:
    """Write the Plant, profile, pool and Secret files into ``directory`` and register every key at Voke."""
    _write(directory / "profiles.yaml", profiles())
    _write(directory / "pool.yaml", _pool(demo.voke))
    for stage in demo.stages:
        _write(directory / f"{stage.name}.yaml", await _plant(stage.site, demo.voke, state))


def _pool(voke: LocalVoke) -> list[Json]:
    ports = {"mtls": voke.ports.mtls, "jwt": voke.ports.jwt, "password": voke.ports.password}
    ca = {"secretRef": {"name": CA_SECRET, "key": "ca.crt"}}
    pool = {
        "apiVersion": API_VERSION,
        "kind": "GatewayPool",
        "metadata": {"name": "default"},
        "spec": {"voke": {"host": voke.host, "ports": ports, "ca": ca}},
    }
    return [pool, _secret(CA_SECRET, {"ca.crt": voke.ca_pem.decode()})]


async def _plant(site: Site, voke: LocalVoke, state: State) -> list[Json]:
    """The Plant and, unless its keys are generated, its Secret; all of it registered."""
    options = site.options
    brought = {"MTLS": "mtls", "PASSWORD": "password"}.get(options.auth_method)
    secret = f"{options.name}-login"
    document = site.documents(interval=INTERVAL, credentials={brought: secret} if brought else None)[0]
    plant = Plant.model_validate(document)
    state.generated(plant, datetime.now(UTC))
    held = describe(state, KnownPlant(options.name, options.plant_id, options.auth_method)).files
    hmac_key = held["hmac.key"]
    if options.auth_method == "MTLS":
        certificate, key = await voke.issue_mtls(options.plant_id, hmac_key=hmac_key)
        return [document, _secret(secret, {"tls.crt": certificate.decode(), "tls.key": key.decode()})]
    if options.auth_method == "JWT":
        await voke.register_jwt(options.plant_id, hmac_key=hmac_key, public_key_der=held["jwt-public.der"])
        return [document]
    login = await voke.register_password(options.plant_id, hmac_key=hmac_key)
    return [
        document,
        _secret(
            secret, {"username": login.username, "password": login.password, "clientId": login.client_id}
        ),
    ]


def _secret(name: str, data: Mapping[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"voke.lovinka.com/allow": "true"}},
        "stringData": dict(data),
    }


def _write(path: Path, documents: list[Json]) -> None:
    """Write YAML that only its owner can read; an earlier demo's file is replaced."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    write_private(path, text.encode())


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines, such as PEM, as a person would."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
