"""What is known of a Plant before it may run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.operator.plan.sites import plant_id, site
from voke_api.fleet import duplicate_plant_id
from voke_api.problems import Severity
from voke_operator.plan.candidates import Surroundings, candidate, candidates

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HMAC = {"hmac": {"secretRef": {"name": "keys"}}}


def test_a_plant_in_order_says_what_a_gateway_is_to_do() -> None:
    found = candidate(site("a"), Surroundings(), now=NOW)
    assert found.error is None
    assert found.resolved is not None
    assert found.given.values["client_id"] == plant_id("a")


def test_a_missing_secret_is_an_error_or_a_warning_as_the_caller_says() -> None:
    plant = site("a", credentials=HMAC)
    found = candidate(plant, Surroundings(searched="this namespace"), now=NOW)
    assert found.error is not None
    assert "this namespace" in found.error.message
    assert candidate(plant, Surroundings(missing_secret=Severity.WARNING), now=NOW).error is None
    assert candidate(plant, Surroundings(secrets=None), now=NOW).problems == ()


def test_a_pool_that_is_there_but_broken_is_not_replaced_by_the_usual_one() -> None:
    around = Surroundings(broken={("GatewayPool", "default")})
    found = candidate(site("a"), around, now=NOW)
    assert found.error is not None
    assert found.error.message == "GatewayPool default cannot be used"


def test_pools_need_not_matter() -> None:
    assert candidate(site("a", pool="nowhere"), Surroundings(pools=None), now=NOW).error is None


@pytest.mark.parametrize(
    ("running", "wins"), [((), "old"), (("a",), "a"), (("a", "old"), "old"), (("old",), "old")]
)
def test_of_plants_with_one_id_the_running_one_wins_then_the_older_then_the_name(
    running: tuple[str, ...], wins: str
) -> None:
    same = plant_id("x")
    plants = [
        site("b", created="2026-02-01T00:00:00Z", plantId=same),
        site("a", created="2026-02-01T00:00:00Z", plantId=same),
        site("old", created="2026-01-01T00:00:00Z", plantId=same),
    ]
    found = candidates(plants, Surroundings(), now=NOW, running=running)
    assert {each.plant.metadata.name for each in found if each.duplicate is None} == {wins}


def test_a_duplicate_is_told_where_the_other_one_is() -> None:
    mine, theirs = site("a"), site("b", plantId=plant_id("a"))
    elsewhere = theirs.model_copy(
        update={"metadata": theirs.metadata.model_copy(update={"namespace": "north"})}
    )
    assert "Plant b has this plantId" in duplicate_plant_id(mine, theirs).message
    assert "Plant b in the namespace north has this plantId" in duplicate_plant_id(mine, elsewhere).message
