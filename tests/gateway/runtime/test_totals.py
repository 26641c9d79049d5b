"""What of a plant is counted is told, in its status and for the whole gateway."""

from __future__ import annotations

from tests.support.site import Site, plant_of
from tests.support.virtual_time import on_virtual_time
from voke_gateway.outbox.store import Kind
from voke_gateway.runtime.status import plant_status
from voke_gateway.runtime.totals import Totals


@on_virtual_time
async def test_an_alarm_for_which_there_was_no_room_is_counted_and_told() -> None:
    site = Site(plant_of([["A"]]))
    for _ in range(2):
        site.store.put("site", Kind.ALARM, b'{"alarmId": "%s"}' % (b"a" * 600 * 1024))
    totals = Totals()
    totals.add(site.runner, site.store.state("site"))
    assert totals.dropped["urgent",] == 1
    assert plant_status(site.runner, site.store, (), stopping=False).outbox.dropped == 1
