"""Whose an object of the operator is: who has to look when it changes."""

from __future__ import annotations

import pytest

from voke_operator import names
from voke_operator.reconcile.children import owner_of
from voke_operator.reconcile.fleet import Name
from voke_operator.reconcile.queue import Key, Kind


@pytest.mark.parametrize("pool", ["default", "roofs-2", "0"])
@pytest.mark.parametrize("number", [0, 12])
def test_an_object_of_a_shard_or_a_pool_leads_to_that(pool: str, number: int) -> None:
    shard, whole = Key(Kind.SHARD, "energy", pool, number), Key(Kind.POOL, "energy", pool)
    gateway = names.gateway(pool, number)
    for kind, name, owner in (
        ("Secret", names.bundle_secret(pool, number), shard),
        ("StatefulSet", gateway, shard),
        ("Service", gateway, shard),
        ("Pod", names.gateway_pod(pool, number), shard),
        ("PodDisruptionBudget", names.disruption_budget(pool), whole),
        ("NetworkPolicy", names.disruption_budget(pool), whole),
    ):
        assert owner_of(kind, Name("energy", name)) == owner


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Secret", "voke-plant-roof-3"),
        ("Secret", "voke-ca"),
        ("Plant", "voke-gw-default-0"),
        ("Pod", "db-0-0"),
    ],
)
def test_what_belongs_to_neither_leads_nowhere(kind: str, name: str) -> None:
    assert owner_of(kind, Name("energy", name)) is None
