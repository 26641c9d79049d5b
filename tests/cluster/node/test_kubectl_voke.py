"""``kubectl voke`` where it really goes: through the API server's proxy, and a port that kubelet forwards."""

from __future__ import annotations

from pathlib import Path

from tests.cluster import front as fronts
from tests.cluster.kubectl.person import Person
from tests.cluster.node.fleet import Fleet


async def test_a_plant_is_looked_at_and_probed_through_its_gateway(sites: Fleet, tmp_path: Path) -> None:
    """Directly, and by a front that has the API under a path."""
    await sites.add("brno")
    await sites.here.until_ready("brno")
    async with fronts.running(sites.here.plane, tmp_path) as front:
        for person in (Person(sites.here.plane, sites.namespace, by) for by in (None, front)):
            (live,) = (await person.json("status"))["plants"]
            assert (live["name"], live["devices"], live["session"]) == ("brno", "1/1", "up")
            assert (live["notAsked"], bool(live["lastReadAt"])) == (None, True)

            (connection,) = (await person.json("probe", "brno"))["connections"]
            (point,) = connection["devices"][0]["points"]
            assert (point["words"], point["value"]) == ([1], 1)
    assert sites.servers["brno"].stats.connections == 1, "no second connection to the PLC"
