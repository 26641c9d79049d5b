"""What crashes is started again, and the log says whose it was."""

from __future__ import annotations

from random import Random

import pytest
from structlog.testing import capture_logs

from tests.support.virtual_time import elapsed, run
from voke_gateway.plant.supervise import supervise


@pytest.mark.parametrize(("plant", "named"), [("roof", {"plant": "roof"}), (None, {})])
def test_a_part_that_crashes_is_run_again_and_named_with_its_plant_if_it_has_one(
    plant: str | None, named: dict[str, str]
) -> None:
    began: list[float] = []

    async def part() -> None:
        began.append(elapsed())
        if len(began) < 3:
            raise RuntimeError("a bug")

    with capture_logs() as logs:
        run(supervise("poller", part, plant=plant, random=Random(1)))
    assert len(began) == 3
    assert 0.5 <= began[1] <= 1
    for line in logs:
        assert (line["event"], line["part"]) == ("crashed, will be restarted", "poller")
        assert {key: line[key] for key in ("plant",) if key in line} == named
