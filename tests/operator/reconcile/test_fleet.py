"""Who depends on what."""

from __future__ import annotations

from voke_operator.reconcile.fleet import Fleet, Name, References

A, B = Name("energy", "a"), Name("energy", "b")
POOL, OTHER = Name("energy", "default"), Name("energy", "north")
PLC = "10.0.0.1:502"


def uses(pool: Name) -> References:
    return References(pool=pool.name, plant_id="1", endpoints=(PLC, "10.0.0.2:502"))


def test_the_plants_of_a_plc_are_known_by_pool_until_they_leave_it() -> None:
    fleet = Fleet()
    for name in (A, B, B):
        fleet.refer(name, uses(POOL))
    assert fleet.with_endpoint(POOL, PLC) == {A, B}
    assert fleet.with_endpoint(OTHER, PLC) == frozenset()
    fleet.refer(B, uses(OTHER))
    assert fleet.with_endpoint(POOL, PLC) == {A}
    assert fleet.with_endpoint(OTHER, PLC) == {B}
    fleet.refer(B, References(pool=OTHER.name, plant_id="1"))
    fleet.forget(A)
    assert not fleet.with_endpoint(POOL, PLC) | fleet.with_endpoint(OTHER, PLC)
