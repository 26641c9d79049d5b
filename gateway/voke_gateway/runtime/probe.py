"""``/probe``: a plant read once for a person, through the connections that poll it, and never written to.

A second connection to a PLC would take one of its few slots, and polls would fail because somebody looked. So a
probe's requests wait among those of the polls, one by one, and a plant has one probe at a time with a rest after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from voke_api.probe import DeviceProbe, PlantProbe
from voke_api.resources.common import listed
from voke_api.status import FaultStatus, GatewayStatus
from voke_gateway.drivers.base import FaultKind, Probed
from voke_gateway.plant.polling import devices_by_connection
from voke_gateway.plant.runner import PlantRunner
from voke_gateway.runtime.http import Query, Response

WITHIN: Final = 60.0
"""Seconds after which nothing further is asked."""
REST: Final = 1.0
"""Seconds at least between two probes of a plant."""

log = structlog.get_logger()


class Probes:
    """Answers ``/probe?plant=NAME&device=ID…``.

    Args:
        runner: What runs a plant of that name, if anything does.
        status: What the gateway says of itself.
    """

    def __init__(
        self, runner: Callable[[str], PlantRunner | None], status: Callable[[], GatewayStatus]
    ) -> None:
        self._runner = runner
        self._status = status
        self._running: set[str] = set()

    async def answer(self, query: Query) -> Response:
        """The plant's :class:`~voke_api.probe.PlantProbe` as JSON, or a sentence that says why not.

        400: no plant was named. 404: it does not run here, or has no such device. 409: it is being probed, or is
        suspended.
        """
        names = query.get("plant", [])
        if len(names) != 1:
            return _refused(400, "name one plant: /probe?plant=NAME")
        name, wanted = names[0], frozenset(query.get("device", ()))
        runner = self._runner(name)
        if runner is None:
            return _refused(404, f"plant {name} does not run on this gateway")
        if runner.plant.suspend:
            return _refused(409, f"plant {name} is suspended: none of its PLCs is connected")
        known = [device.external_id for device in runner.plant.devices]
        if unknown := sorted(wanted.difference(known)):
            return _refused(404, f"plant {name} has no device {listed(unknown)}; it has {listed(known)}")
        if name in self._running:
            return _refused(409, f"plant {name} is being probed; try again in a moment")
        self._running.add(name)
        try:
            return await self._probe(runner, wanted or frozenset(known))
        finally:
            asyncio.get_running_loop().call_later(REST, self._running.discard, name)

    async def _probe(self, runner: PlantRunner, wanted: frozenset[str]) -> Response:
        log.info("plant is probed", plant=runner.plant.name, devices=len(wanted))
        found: dict[str, DeviceProbe] = {}
        until = asyncio.get_running_loop().time() + WITHIN

        def deliver(probe: DeviceProbe) -> None:
            found[probe.external_id] = probe

        async def read(connection: str, devices: Collection[str]) -> None:
            # As long as it is being replaced the runner has none.
            line = runner.connections.get(connection)
            if isinstance(line, Probed):
                await line.probe([each for each in devices if each in wanted], deliver, until=until)

        plant = runner.plant
        async with asyncio.TaskGroup() as group:
            for connection, devices in devices_by_connection(plant).items():
                group.create_task(read(connection, [each.external_id for each in devices]))
        missed = FaultStatus(kind=FaultKind.UNREACHABLE, detail="its connection is being changed; try again")
        status = self._status()
        answer = PlantProbe(
            gateway=status.gateway,
            plant=plant.name,
            plant_id=plant.plant_id,
            bundle_generation=status.bundle_generation,
            devices=tuple(
                found.get(each.external_id, DeviceProbe(external_id=each.external_id, fault=missed))
                for each in plant.devices
                if each.external_id in wanted
            ),
        )
        return Response(answer.model_dump_json(exclude_none=True).encode(), "application/json")


def _refused(status: int, why: str) -> Response:
    return Response(f"{why}\n".encode(), status=status)
