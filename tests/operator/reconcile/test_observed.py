"""What is read of a status that another version of the operator has written."""

from __future__ import annotations

from tests.support.plants import PLANT_ID
from voke_api.resources.observed import PlantObserved
from voke_operator.reconcile.statuses import observed_in


def test_what_a_newer_operator_says_besides_hides_no_key_that_is_in_force() -> None:
    in_force = {"name": "hmac", "source": "Generated", "keyId": "a1", "sinceWhen": "2030-01-01T00:00:00Z"}
    found = observed_in(
        PlantObserved, {"plantId": PLANT_ID, "shard": 3, "credentials": [in_force], "mood": "good"}
    )
    assert (found.plant_id, found.shard) == (PLANT_ID, 3)
    assert [each.key_id for each in found.credentials] == ["a1"]


def test_what_is_no_status_of_ours_says_nothing() -> None:
    assert observed_in(PlantObserved, {"shard": "of glass"}) == PlantObserved()
