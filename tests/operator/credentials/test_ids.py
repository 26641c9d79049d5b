"""Ids name a key, are the same everywhere, and give nothing away."""

from __future__ import annotations

import os
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.operator.credentials.world import START, fleet_ca
from tests.support.plants import PLANT_ID, battery_document, battery_plant
from voke_api.resources import Plant
from voke_gateway.runtime.status import credential_status
from voke_operator.credentials import material
from voke_operator.credentials.bundled import for_bundle, from_bundle
from voke_operator.credentials.given import brought, credentials_from_secrets, to_generate
from voke_operator.credentials.ids import certificate_id, format_ids, hmac_id, jwt_id, parse_ids
from voke_operator.credentials.keys import find
from voke_operator.credentials.secret import Secret

LOGIN = {"client_id": PLANT_ID, "username": PLANT_ID}


def test_the_gateway_names_certificates_and_jwt_keys_in_the_same_way() -> None:
    made = {
        **material.new_hmac_key(os.urandom),
        **material.new_client_certificate(PLANT_ID, fleet_ca().material, START),
        **material.new_jwt_keys(),
    }
    credentials = for_bundle(LOGIN, made)
    for method, name in (("MTLS", "mtls"), ("JWT", "jwt")):
        (key,) = find(name, (made,), PLANT_ID)  # type: ignore[arg-type]
        shown = {
            each.name: each for each in credential_status(battery_plant(auth={"method": method}), credentials)
        }
        assert shown[name].key_id == key.id  # type: ignore[index]


def test_the_id_of_an_hmac_key_is_no_plain_hash_of_it() -> None:
    key = material.new_hmac_key(os.urandom)[material.HMAC_KEY]
    assert len(hmac_id(key)) == 16
    assert not sha256(key).hexdigest().startswith(hmac_id(key))
    assert hmac_id(key) != hmac_id(material.new_hmac_key(os.urandom)[material.HMAC_KEY])


def test_a_bundle_gives_back_what_was_put_into_it() -> None:
    made = {
        **material.new_hmac_key(bytes),
        **material.new_client_certificate(PLANT_ID, fleet_ca().material, START),
    }
    kept = {name: content for name, content in made.items() if name != material.ISSUER}
    assert from_bundle(for_bundle(LOGIN, made)) == kept


def test_what_a_person_brings_is_named_after_its_secret_if_it_could_be_guessed() -> None:
    jwt = material.new_jwt_keys()
    mtls = material.new_client_certificate(PLANT_ID, fleet_ca().material, START)
    data = {
        "hmac.key": b"correct horse battery staple 1234",
        "username": b"u",
        "password": b"pw",
        **jwt,
        **mtls,
    }
    key = material.load_private_key(jwt[material.JWT_PRIVATE])
    assert isinstance(key, RSAPrivateKey)
    leaf = x509.load_pem_x509_certificate(mtls[material.TLS_CERTIFICATE])
    expected = {"password": "keys", "jwt": jwt_id(key.public_key()), "mtls": certificate_id(leaf)}
    ref = {"secretRef": {"name": "keys"}}
    for method, key_id in expected.items():
        plant = Plant.model_validate(
            battery_document(auth={"method": method.upper()}, credentials={"hmac": ref, method: ref})
        )
        secret = Secret("keys", "default", {"voke.lovinka.com/allow": "true"}, data)
        given = credentials_from_secrets(plant, None, {"keys": secret}, now=START)
        assert to_generate(plant) == ()
        named = {each.name: (each.source, each.key_id) for each in brought(plant, given)}
        assert named == {"hmac": ("Secret", "keys"), method: ("Secret", key_id)}


def test_ids_survive_an_annotation() -> None:
    ids = {"mtls": "1f", "hmac": "aa"}
    assert format_ids(ids) == "hmac=aa,mtls=1f"
    assert parse_ids(format_ids(ids)) == ids
    assert parse_ids(None) == parse_ids("nonsense, =x, y=") == {}
