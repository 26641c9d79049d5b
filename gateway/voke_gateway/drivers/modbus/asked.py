"""Read requests and their replies as a person compares them with a data sheet: table, address, registers."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from struct import Struct
from typing import Final

from voke_api.probe import DeviceProbe, Exchange
from voke_api.resolved import ResolvedDevice
from voke_api.resources.common import Table
from voke_api.status import FaultStatus
from voke_gateway.drivers.base import DeviceReading, Fault
from voke_gateway.drivers.modbus.frames import ExchangeError, Request
from voke_gateway.drivers.modbus.reader import DeviceReader

_TABLES: Final[Mapping[int, Table]] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
_PLACE: Final = Struct(">HH")

Words = tuple[int, ...]
"""Registers as unsigned numbers, high byte first as on the wire; or coils as 0 and 1."""


def place_of(request: Request) -> tuple[Table, int, int] | None:
    """Table, address and count of a read request; None: it is none."""
    table = _TABLES.get(request.function)
    return None if table is None else (table, *_PLACE.unpack_from(request.pdu, 1))


def words_of(table: Table, count: int, data: bytes) -> Words:
    """The registers or coils in a reply."""
    if table in {"holding", "input"}:
        return Struct(f">{count}H").unpack(data)
    bits = int.from_bytes(data, "little")
    return tuple(bits >> n & 1 for n in range(count))


def not_asked(device: ResolvedDevice, fault: Fault) -> DeviceProbe:
    """What is said of a device that is left alone."""
    return DeviceProbe(external_id=device.external_id, fault=_said(fault))


async def show_device(
    known: DeviceReader, within: float, random: Random
) -> tuple[DeviceProbe, ExchangeError | None]:
    """Read a device as a poll does, and keep what went over the wire.

    Args:
        known: What polls it: its requests are made, in turn with its own, around what it knows to be refused.
            It learns nothing.
        within: Seconds for each request.
        random: Jitter.

    Returns:
        What was found, and why nothing at all was answered.
    """
    device, exchanges = known.device, list[Exchange]()

    async def ask(request: Request, reading: DeviceReading, within: float) -> bytes:
        try:
            data = await known.ask(request, reading, within)
        except ExchangeError as error:
            exchanges.append(_exchange(device, request, error.fault))
            raise
        exchanges.append(_exchange(device, request, data))
        return data

    reader = DeviceReader(device, ask=ask, ask_now=ask, random=random)
    reader.inherit(known)
    reading = DeviceReading(device.external_id, 0.0)
    failure = await reader.read(reading, within)
    fault = reading.fault if failure is None else failure.fault
    faults = reading.faults if failure is None else reader.memory.faults
    probe = DeviceProbe(
        external_id=device.external_id,
        exchanges=tuple(exchanges),
        fault=None if fault is None else _said(fault),
        faults={key: _said(each) for key, each in faults.items()},
    )
    return probe, failure


def _exchange(device: ResolvedDevice, request: Request, came: bytes | Fault) -> Exchange:
    place = place_of(request)
    assert place is not None  # a reader only reads
    table, address, count = place
    return Exchange(
        unit=device.unit_id,
        table=table,
        address=address,
        count=count,
        words=None if isinstance(came, Fault) else words_of(table, count, came),
        fault=_said(came) if isinstance(came, Fault) else None,
    )


def _said(fault: Fault) -> FaultStatus:
    return FaultStatus(kind=fault.kind, detail=fault.detail)
