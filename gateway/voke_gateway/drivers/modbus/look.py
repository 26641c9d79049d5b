"""A connection that also shows what goes over the wire and may be asked beyond its points. It never writes.

For people who are looking for a mistake in a register map: the same planning, requests and decoding as in a
gateway, with the registers as they came. The gateway's own connections know nothing of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from struct import Struct

from voke_api.blocks import Block, Item, items
from voke_api.resolved import ResolvedDevice
from voke_api.resources.common import Table
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_api.resources.points import Point
from voke_gateway.clock import WallClock
from voke_gateway.drivers.base import DeviceReading, Fault, FaultKind, PointWrite, Value, WriteRefusedError
from voke_gateway.drivers.claims import EndpointClaims, EndpointHeldError
from voke_gateway.drivers.modbus.asked import Words, place_of, words_of
from voke_gateway.drivers.modbus.client import Client
from voke_gateway.drivers.modbus.connection import ModbusTcpConnection
from voke_gateway.drivers.modbus.decode import BlockDecoder, Decoded
from voke_gateway.drivers.modbus.frames import ExchangeError, NotSentError, Request, read_request


@dataclass(frozen=True, slots=True)
class Asked:
    """One read request and what became of it."""

    device: str
    """externalId."""
    unit: int
    table: Table
    address: int
    count: int
    answer: Words | Fault


class LookingConnection(ModbusTcpConnection):
    """A Modbus TCP connection for looking at a device. Used from one task at a time."""

    def __init__(
        self,
        spec: ConnectionSpec,
        devices: Sequence[ResolvedDevice],
        *,
        wall_clock: WallClock,
        random: Random,
        claims: EndpointClaims | None = None,
    ) -> None:
        super().__init__(spec, devices, wall_clock=wall_clock, random=random, claims=claims)
        self.asked: list[Asked] = []
        """Every request for declared points since the list was last emptied, in order."""

    async def look(
        self, device: ResolvedDevice, unit: int, table: Table, address: int, count: int, *, within: float
    ) -> Words | Fault:
        """Read any place of any unit, once; ``device`` says how much silence is kept afterwards."""
        request = read_request(unit, table, address, count)
        await self._lane.acquire(urgent=False)
        try:
            client = self._client
            if client is None or not client.open:
                self._endpoint.reset()  # somebody waits for the answer: no back-off
                client, _ = await self._connect(urgent=True)
            return words_of(table, count, await client.request(request, within))
        except ExchangeError as error:
            return error.fault
        finally:
            self._lane.release(device.limits.pause)

    async def reconnect(self, *, settle: float) -> Fault | None:
        """Close the connection, open a new one, and keep silent for ``settle`` seconds."""
        await self._hang_up()
        self._endpoint.reset()
        try:
            await self._connect(urgent=True)
        except ExchangeError as error:
            return error.fault
        await asyncio.sleep(settle)
        return None

    async def write(self, write: PointWrite) -> None:
        """Refused."""
        raise WriteRefusedError(f"{write.device} {write.field}: this connection only looks")

    async def _exchange(
        self,
        device: ResolvedDevice,
        request: Request,
        reading: DeviceReading | None,
        within: float,
        *,
        urgent: bool,
    ) -> bytes:
        place = place_of(request)
        if place is None:
            raise NotSentError(f"{request.about}: this connection only looks")
        table, address, count = place
        answer: Words | Fault = Fault(FaultKind.UNREACHABLE)
        try:
            data = await super()._exchange(device, request, reading, within, urgent=urgent)
            answer = words_of(table, count, data)
        except ExchangeError as error:
            answer = error.fault
            raise
        finally:
            self.asked.append(Asked(device.external_id, device.unit_id, table, address, count, answer))
        return data


async def listens(host: str, port: int, claims: EndpointClaims, *, within: float) -> bool:
    """Whether something takes connections there; False, too, if somebody else holds it."""
    try:
        release = await claims.claim(host, port, "a look whether it is open", within=within)
    except EndpointHeldError:
        return False
    try:
        with suppress(ExchangeError):
            client = await Client.connect(host, port, within=within, late=lambda _: None, lost=lambda: None)
            await client.close()
            return True
        return False
    finally:
        release()


def value_of(point: Point, words: Sequence[int], exponent: int | None = None) -> Value | Fault:
    """What a point would be, had ``words`` been read for it; ``exponent`` is its ``scaleFrom``."""
    item = Item(point.field, point.table, point.address, len(words))
    block = Block(point.table, point.address, len(words), (item,))
    device = ResolvedDevice(external_id="ANY", type="METER", connection="any", unit_id=0, points=(point,))
    into = Decoded({}, {}, {}, exponents={} if exponent is None else {point.scale_from or "": exponent})
    BlockDecoder(block, device).decode(_data(point.table, words), into)
    into.finish()
    return into.values[point.field] if point.field in into.values else into.faults[point.field]


def decode(device: ResolvedDevice, words: Mapping[tuple[Table, int], int]) -> Decoded:
    """What a device's points and mask are, as far as all of their registers or bits are among ``words``.

    A point of which some are missing has neither a value nor a fault.
    """
    into = Decoded({}, {}, {})
    for item in items(device):
        found = [words.get((item.table, item.address + n)) for n in range(item.count)]
        whole = [word for word in found if word is not None]
        if len(whole) == item.count:
            block = Block(item.table, item.address, item.count, (item,))
            BlockDecoder(block, device).decode(_data(item.table, whole), into)
    into.finish()
    return into


def _data(table: Table, words: Sequence[int]) -> bytes:
    if table in {"holding", "input"}:
        return Struct(f">{len(words)}H").pack(*words)
    return sum(bit << n for n, bit in enumerate(words)).to_bytes((len(words) + 7) // 8, "little")
