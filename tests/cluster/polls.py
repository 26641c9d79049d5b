"""When plants were read, by what Voke has verified, and which polls are missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from voke_sim.voke import LocalVoke


def reads(voke: LocalVoke) -> Mapping[str, list[float]]:
    """When each plant was read, by its id, in order; seconds since the epoch."""
    found: dict[str, set[float]] = defaultdict(set)
    for each in voke.accepted:
        if each.kind == "telemetry":
            at = datetime.fromisoformat(each.document["timestamp"]).timestamp()
            found[each.plant_id].add(at)
    return {plant_id: sorted(each) for plant_id, each in found.items()}


def missed(times: Sequence[float]) -> int:
    """Polls that a plant with an interval of a second left out between the first and the last of these."""
    return round(times[-1] - times[0]) + 1 - len(times) if times else 0
