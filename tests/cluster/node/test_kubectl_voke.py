"""``kubectl voke`` where it really goes: through the API server's proxy, and a port that kubelet forwards."""

from __future__ import annotations

from tests.cluster.kubectl.person import Person
from tests.cluster.node.fleet import Fleet


async def test_a_plant_is_looked_at_and_probed_through_its_gateway(sites: Fleet) -> None:
    await sites.add("brno")
    await sites.here.until_ready("brno")
    person = Person(sites.here.plane, sites.namespace)

    (live,) = (await person.json("status"))["plants"]
    assert (live["name"], live["devices"], live["session"], live["notAsked"]) == ("brno", "1/1", "up", None)
    assert live["lastReadAt"]

    (connection,) = (await person.json("probe", "brno"))["connections"]
    (point,) = connection["devices"][0]["points"]
    assert (point["words"], point["value"]) == ([1], 1)
    assert sites.servers["brno"].stats.connections == 1, "no second connection to the PLC"
