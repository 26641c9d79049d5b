"""A plant that its gateway has read, as the reports of a probe. Pure.

The gateway tells registers; what they mean is worked out here, by the Plant's newest version.
"""

from __future__ import annotations

from collections.abc import Collection

from voke_api.probe import DeviceProbe, PlantProbe
from voke_api.resolved import ResolvedDevice, ResolvedPlant
from voke_api.resources.plant import Connection as ConnectionSpec
from voke_api.status import FaultStatus
from voke_cli.probe.facts import DeviceFacts
from voke_cli.probe.guesses import guess
from voke_cli.probe.run import ConnectionReport, DeviceReport, listed_bits, other_units
from voke_gateway.drivers.base import Fault, FaultKind
from voke_gateway.drivers.modbus.asked import Words
from voke_gateway.drivers.modbus.look import Asked, decode

_NOT_TOLD = Fault(FaultKind.UNREACHABLE, "its gateway does not read it: it runs another version of the Plant")


def reports(plant: ResolvedPlant, wanted: Collection[str], probe: PlantProbe) -> list[ConnectionReport]:
    """What was read of each connection, with guesses as far as they take no further reads.

    Args:
        plant: Its newest version.
        wanted: Ids of the devices that were asked for; none: all.
        probe: What the gateway told.
    """
    told = {each.external_id: each for each in probe.devices}
    return [
        report for spec in plant.connections if (report := _connection(plant, spec, wanted, told)).devices
    ]


def _connection(
    plant: ResolvedPlant, spec: ConnectionSpec, wanted: Collection[str], told: dict[str, DeviceProbe]
) -> ConnectionReport:
    report = ConnectionReport(plant.name, spec)
    for device in plant.devices:
        if device.connection != spec.name or (wanted and device.external_id not in wanted):
            continue
        one = _device(plant, spec, device, told.get(device.external_id))
        report.requests += len(one.facts.asked)
        report.devices.append(one)
    return report


def _device(
    plant: ResolvedPlant, spec: ConnectionSpec, device: ResolvedDevice, told: DeviceProbe | None
) -> DeviceReport:
    assert spec.modbus_tcp is not None
    asked = () if told is None else _asked(device, told)
    facts = DeviceFacts(
        device,
        spec.modbus_tcp.timeout,
        asked=asked,
        other_units=other_units(plant, device),
        connected=any(not _unconnected(each.answer) for each in asked),
        listed_bits=listed_bits(device),
    )
    decoded = decode(device, facts.words)
    facts.values = decoded.values
    missed = {
        item.key: _why(item.key, told)
        for item in facts.items()
        if not all((item.table, item.address + n) in facts.words for n in range(item.count))
    }
    facts.faults = faults = {**decoded.faults, **missed}
    if device.mask and not faults:
        facts.mask = decoded.mask
    nothing = bool(device.mask) or not facts.values
    fault = next(iter(faults.values()), None) if nothing else None
    report = DeviceReport(facts, fault, 0.0 if told is None else told.seconds)
    report.guesses = guess(facts)
    return report


def _asked(device: ResolvedDevice, told: DeviceProbe) -> tuple[Asked, ...]:
    """The requests that the gateway made, if it knows the device under the same unit."""
    return tuple(
        Asked(
            device.external_id,
            each.unit,
            each.table,
            each.address,
            each.count,
            _answer(each.words, each.fault),
        )
        for each in told.exchanges
        if each.unit == device.unit_id
    )


def _answer(words: Words | None, fault: FaultStatus | None) -> Words | Fault:
    return words if words is not None else _fault(fault or FaultStatus(kind=FaultKind.MALFORMED))


def _why(key: str, told: DeviceProbe | None) -> Fault:
    if told is None:
        return _NOT_TOLD
    said = told.faults.get(key) or told.fault
    return _NOT_TOLD if said is None else _fault(said)


def _fault(said: FaultStatus) -> Fault:
    """A newer gateway may have other kinds."""
    kind = FaultKind(said.kind) if said.kind in set(FaultKind) else FaultKind.MALFORMED
    return Fault(kind, said.detail)


def _unconnected(answer: Words | Fault) -> bool:
    return isinstance(answer, Fault) and answer.kind is FaultKind.UNREACHABLE
