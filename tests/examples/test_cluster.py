"""The example for a cluster on one's own machine is what runs around that cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.cluster.dns import VOKE_NAME
from tests.cluster.machine import ADDRESS
from tests.cluster.showcase import EXAMPLES, FIRST_PORT, VOKE_PORTS
from voke_sim.demo import INTERVAL, SITES
from voke_sim.plc.site import Site, profiles


def test_plants_and_profiles_are_those_of_the_simulated_sites() -> None:
    expected = {"profiles": profiles()}
    for number, options in enumerate(SITES):
        site = Site(options)
        for port, server in enumerate(site.servers.values(), FIRST_PORT + 10 * number):
            server.host, server.port = ADDRESS, port
        given = {"password": f"{options.name}-login"} if options.auth_method == "PASSWORD" else None
        expected[options.name] = site.documents(interval=INTERVAL, credentials=given)[:1]
    found = {path.stem: list(yaml.safe_load_all(path.read_text())) for path in Path(EXAMPLES).glob("*.yaml")}
    pool = found.pop("pool")[0]["spec"]["voke"]
    assert found == expected
    assert pool["host"] == VOKE_NAME
    wanted = {"mtls": VOKE_PORTS.mtls, "jwt": VOKE_PORTS.jwt, "password": VOKE_PORTS.password}
    assert pool["ports"] == wanted
