"""When certificates are renewed, from their real lives."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.operator.credentials.world import START, ending_ca
from tests.support.plants import PLANT_ID
from voke_operator.credentials import material
from voke_operator.credentials.renewal import next_check, renew_at, worth_renewing

PLANT_IDS = st.uuids().map(str)
LIVES = st.timedeltas(material.USUAL.least, timedelta(days=900))


def issue(life: timedelta, plant_id: str = PLANT_ID) -> x509.Certificate:
    """A certificate that ends after ``life`` because its issuer does, or after two years."""
    made = material.new_client_certificate(plant_id, ending_ca(START + life).material, START)
    return x509.load_pem_x509_certificate(made[material.TLS_CERTIFICATE])


@settings(max_examples=50, deadline=None)
@given(plant_id=PLANT_IDS, life=LIVES)
def test_renewal_falls_due_between_seven_twelfths_and_two_thirds_of_the_real_life(
    plant_id: str, life: timedelta
) -> None:
    leaf = issue(life, plant_id)
    start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    due = renew_at(leaf, plant_id)
    assert (end - start) * 7 / 12 <= due - start <= (end - start) * 2 / 3
    assert end - due < (end - start) / 2
    assert next_check(leaf, plant_id, START) == due
    assert next_check(leaf, plant_id, due) == end
    assert next_check(leaf, plant_id, end) is None


def test_a_fleet_is_renewed_over_two_months() -> None:
    leaf = issue(timedelta(days=900))
    due = sorted(renew_at(leaf, str(UUID(int=number))) for number in range(1000))
    assert due[-1] - due[0] > timedelta(days=58)
    busiest = max(
        sum(day <= moment - due[0] < day + timedelta(days=1) for moment in due)
        for day in map(timedelta, range(61))
    )
    assert busiest < 40


@settings(max_examples=50, deadline=None)
@given(
    ends=st.timedeltas(timedelta(hours=2), timedelta(days=3000)),
    every=st.timedeltas(timedelta(minutes=10), timedelta(days=30)),
)
def test_whatever_the_issuers_end_a_certificate_is_renewed_a_few_times_only(
    ends: timedelta, every: timedelta
) -> None:
    issuer = ending_ca(START + ends)
    now, lives = START, []
    leaf = None
    while issuer.not_after - now >= material.USUAL.least:
        if leaf is None or (now >= renew_at(leaf, PLANT_ID) and worth_renewing(leaf, issuer.not_after, now)):
            made = material.new_client_certificate(PLANT_ID, issuer.material, now)
            leaf = x509.load_pem_x509_certificate(made[material.TLS_CERTIFICATE])
            lives.append(leaf.not_valid_after_utc - leaf.not_valid_before_utc)
            assert leaf.not_valid_after_utc <= issuer.not_after
        assert leaf.not_valid_after_utc > now
        now = max(now + every, min(renew_at(leaf, PLANT_ID), issuer.not_after))
    assert len(lives) <= ends / timedelta(days=400) + 2
