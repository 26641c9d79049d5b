"""What Voke has to know, and whether a person says that it does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from tests.operator.credentials.world import START, fleet_ca
from tests.support.plants import PLANT_ID
from voke_api.resources.observed import CredentialInUse
from voke_operator.credentials import material
from voke_operator.credentials.registration import FORMS, KEY_IDS, confirmation, describe, registered

HMAC = CredentialInUse(name="hmac", source="Generated", key_id="aaaa")
MTLS = CredentialInUse(name="mtls", source="Generated", key_id="1f")
JWT = CredentialInUse(name="jwt", source="Generated", key_id="bbbb")
BROUGHT = CredentialInUse(name="password", source="Secret", key_id="login")


def test_nobody_has_said_anything_yet() -> None:
    verdict = registered("energy", "roof", [HMAC, MTLS], None)
    assert (verdict.status, verdict.reason) == ("Unknown", "NotConfirmed")
    assert verdict.message == (
        "nobody has said that Voke knows hmac aaaa, mtls 1f: register at Voke what Secret voke-plant-roof holds "
        "(hmac.key, tls.crt, ca.crt), then say so: kubectl voke credentials roof -n energy --registered"
    )


def test_a_person_has_confirmed_all() -> None:
    assert confirmation([HMAC, MTLS, BROUGHT]) == "hmac=aaaa,mtls=1f"
    verdict = registered("energy", "roof", [HMAC, MTLS, BROUGHT], confirmation([MTLS, HMAC]))
    assert (verdict.status, verdict.reason) == ("True", "Confirmed")


def test_a_new_key_has_to_be_confirmed_again() -> None:
    for new, name in (
        (HMAC.model_copy(update={"key_id": "cccc"}), "hmac cccc"),
        (JWT.model_copy(update={"key_id": "dddd"}), "jwt dddd"),
    ):
        verdict = registered("energy", "roof", [new], confirmation([HMAC, JWT]))
        assert (verdict.status, verdict.reason) == ("Unknown", "KeysChanged")
        assert name in verdict.message


def test_a_renewed_certificate_is_still_known() -> None:
    renewed = MTLS.model_copy(update={"key_id": "2f"})
    assert registered("energy", "roof", [HMAC, renewed], confirmation([HMAC, MTLS])).status == "True"
    assert registered("energy", "roof", [HMAC, renewed], confirmation([HMAC])).status == "Unknown"


def test_what_a_person_brought_is_known() -> None:
    verdict = registered("energy", "roof", [BROUGHT], None)
    assert (verdict.status, verdict.reason) == ("True", "FromSecrets")


def test_nonsense_in_the_annotation_confirms_nothing() -> None:
    for nonsense in ("yes", "hmac", "hmac=", "=aaaa", "  ,,", "hmac=aaaa1"):
        assert registered("energy", "roof", [HMAC], nonsense).status == "Unknown"


def test_the_files_for_voke_hold_no_private_key() -> None:
    issuer = fleet_ca().material
    made = {
        **material.new_hmac_key(bytes),
        **material.new_client_certificate(PLANT_ID, issuer, START),
        **material.new_jwt_keys(),
    }
    registration = describe("roof", PLANT_ID, "MTLS", made, issuer=issuer, now=START)
    assert registration.files.keys() == FORMS.keys() - {KEY_IDS}
    assert not any(b"PRIVATE" in content for content in registration.files.values())
    assert registration.facts["certificateNotAfter"] == "2028-01-01T00:00:00Z"
    assert made[material.HMAC_KEY].decode() not in repr(registration)


def test_a_serial_number_is_written_in_whole_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(x509, "random_serial_number", lambda: 0xABC)
    made = material.new_client_certificate(PLANT_ID, fleet_ca().material, START)
    registration = describe("roof", PLANT_ID, "MTLS", made, issuer=None, now=START)
    assert registration.facts["certificateSerial"] == "0abc"


def test_the_revocation_list_is_only_given_for_the_ca_that_issued() -> None:
    made = material.new_client_certificate(PLANT_ID, fleet_ca().material, START)
    for issuer in (None, fleet_ca().material):
        files = describe("roof", PLANT_ID, "MTLS", made, issuer=issuer, now=START + timedelta(days=1)).files
        assert "ca.crl" not in files
        assert "ca.crt" in files
