"""What people paste from the documentation, one piece after another, gets along in one cluster."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = (
    ROOT / "README.md",
    ROOT / "docs/first-plant.md",
    ROOT / "charts/voke-fleet/Chart.yaml",
    ROOT / "charts/voke-fleet/templates/NOTES.txt",
    *sorted((ROOT / "examples").rglob("*.yaml")),
)
PLANT = re.compile(r"name: ([a-z0-9-]+)\}?\s+spec:\s+plantId: ([0-9a-f-]{36})")


def test_every_plant_has_a_plant_id_of_its_own() -> None:
    found = {
        (name, plant_id) for place in PLACES for name, plant_id in PLANT.findall(place.read_text("utf-8"))
    }
    assert {"brno-roof-3", "first-site", "brno-roof", "first"} <= {name for name, _ in found}
    assert len({name for name, _ in found}) == len({plant_id for _, plant_id in found}) == len(found)
