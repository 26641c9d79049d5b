"""What is said of a plant's devices: how many are read, and which PLC or unit to see to first.

The words stay the same while the cause does: counts of devices and names, no times and no ages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from voke_api.resources.common import counted, listed
from voke_api.resources.observed import ConditionStatus
from voke_api.resources.plant import Plant
from voke_operator.status.facts import Cause
from voke_operator.status.reasons import Reason
from voke_operator.status.reports import DeviceTrouble, PlantReport


@dataclass(frozen=True, slots=True)
class DevicesSaid:
    """What ``DevicesReachable`` is to say."""

    status: ConditionStatus
    cause: Cause


def devices(report: PlantReport, plant: Plant | None) -> DevicesSaid:
    """What to say of the devices in ``report``; ``plant`` tells which PLC each is behind."""
    read = f"{report.read} of {counted(report.devices, 'device', 'are')} read"
    asked = [each for each in report.silent if each.kind]
    if not report.read and not asked and not report.sleeping:
        return DevicesSaid("Unknown", Cause(Reason.NOT_READ_YET, "devices have not been asked yet"))
    if report.silent:
        reason = Reason.SOME_DEVICES_NOT_READ if report.read else Reason.NO_DEVICE_READ
        if not asked:
            names = listed(each.device for each in report.silent)
            return DevicesSaid("False", Cause(reason, f"{names}: not asked yet; {read}"))
        what, advice = _silent(plant, asked)
        return DevicesSaid("False", Cause(reason, f"{what}; {read}. {advice}"))
    if report.refused:
        return DevicesSaid("True", Cause(Reason.POINTS_REFUSED, f"{read}, {_refused(report)}"))
    if report.sleeping:
        sleeping = f"{read}; {listed(report.sleeping)}: silent, as expectOffline allows"
        return DevicesSaid("True", Cause(Reason.EXPECTED_OFFLINE, sleeping))
    return DevicesSaid("True", Cause(Reason.ALL_READ, read))


def _refused(report: PlantReport) -> str:
    named = "; ".join(f"{each.device}: {each.detail or each.kind}" for each in report.refused)
    more = report.refused_points - len(report.refused)
    rest = f"; and {more} more" if more else ""
    return f"but points are refused: {named}{rest}. Correct the register map; kubectl voke probe shows each address"


def _silent(plant: Plant | None, silent: Sequence[DeviceTrouble]) -> tuple[str, str]:
    """The PLC or device to see to first, with how many others there are; and what to do."""
    # What was not tried has no cause of its own: it waits behind one that has.
    one = next((each for each in silent if not each.detail.startswith(_NOT_TRIED)), silent[0])
    place = _place(plant, one.device)
    if place is None:
        return f"{one.device} is not read: {_why(one)}{_others(len(silent) - 1)}", _ADVICE.get(
            one.kind, _ADVICE[""]
        )
    if one.kind == "unreachable":
        others = _others(sum(each.device not in place.devices for each in silent), " on other connections")
        why = _why(one)
        said = "does not answer" if why == _SILENT else f"does not answer: {why}"
        return f"PLC {place.plc} {said}{others}", _ADVICE["unreachable"]
    what = (
        "does not answer, though the PLC takes the connection"
        if one.kind == "timeout"
        else f"is not read: {_why(one)}"
    )
    where = f"{one.device}, unit {place.unit_id} of PLC {place.plc},"
    return f"{where} {what}{_others(len(silent) - 1)}", _ADVICE.get(one.kind, _ADVICE[""])


@dataclass(frozen=True, slots=True)
class _Place:
    plc: str
    """Name and endpoint of the connection."""
    unit_id: int
    devices: frozenset[str]
    """externalIds of all devices on it."""


def _place(plant: Plant | None, external_id: str) -> _Place | None:
    """Where a device is; None if the Plant that is known does not have it."""
    if plant is None:
        return None
    device = next((each for each in plant.spec.devices if each.external_id == external_id), None)
    if device is None:
        return None
    tcp = next((each.modbus_tcp for each in plant.spec.connections if each.name == device.connection), None)
    plc = device.connection if tcp is None else f"{device.connection} ({_endpoint(tcp.host, tcp.port)})"
    beside = (each.external_id for each in plant.spec.devices if each.connection == device.connection)
    return _Place(plc, device.unit_id, frozenset(beside))


_NOT_TRIED: Final = "not tried"
_ADVICE: Final = {
    "unreachable": "Check its power, its address and the firewall in between.",
    "timeout": "Check unitId, and the line behind the PLC.",
    "no-unit": "Check unitId, and the line behind that gateway.",
    "refused": "Check table and address in the register map; kubectl voke probe shows each address.",
    "malformed": "Check host and port: something else may be listening there.",
    "busy": "Poll it less often (spec.telemetry.interval, every), or wait until it is free.",
    "invalid": "Check the register map, and whether the device is in operation.",
    "": "The gateway's log says more.",
}
_WHY: Final = {
    "unreachable": "no connection",
    "timeout": "no reply in time",
    "busy": "it says that it is busy",
    "no-unit": "the Modbus gateway in front of it says that there is no such unit",
    "malformed": "its replies do not fit the requests",
    "invalid": "it marks every value as invalid",
}
_CONNECT: Final = re.compile(r"^cannot connect to \S+: ")
_SILENT: Final = "no answer"
"""In the gateway's words, without how long it waited."""


def _why(trouble: DeviceTrouble) -> str:
    """The cause in words that stay the same while it lasts."""
    if trouble.kind in {"unreachable", "refused"} or trouble.kind not in _WHY:
        detail = _CONNECT.sub("", trouble.detail)
        return detail or _WHY.get(trouble.kind, trouble.kind)
    return _WHY[trouble.kind]


def _others(count: int, where: str = "") -> str:
    return f" (and {counted(count, 'other device')}{where})" if count else ""


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
