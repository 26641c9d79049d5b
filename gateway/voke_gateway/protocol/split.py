"""Telemetry bodies that fit: a snapshot is split by device, then by the values of one device (protocol §6.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from voke_api.resolved import ResolvedDevice
from voke_api.resources.common import DeviceType
from voke_api.resources.points import Point
from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.envelope import ENVELOPE_BYTES, MAX_BYTES

_LONGEST_NUMBER: Final = len("-0.0000012345678901234567")
_LONGEST_ESCAPE: Final = len("\\u0001")
_LONGEST_UNSCALED: Final = {
    "int16": len("-32768"),
    "uint16": len("65535"),
    "int32": len("-2147483648"),
    "uint32": len("4294967295"),
    "int64": len("-9007199254740992"),
    "uint64": len("9007199254740992"),
}
_TIMESTAMP: Final = "2026-11-22T09:30:00.000Z"

T = TypeVar("T")
Scalar = str | int | float | bool | None


class TooLargeError(ValueError):
    """One value on its own is more than a message can carry."""


class DeviceTemplate:
    """How one device appears in a message, worked out once per configuration."""

    __slots__ = ("_end", "_mask", "_values", "external_id")

    def __init__(self, external_id: str, device_type: DeviceType) -> None:
        self.external_id = external_id
        identity, kind = canonical(external_id), canonical(device_type)
        self._values = b'{"externalId":%b,"type":%b,"values":' % (identity, kind)
        self._mask = b'{"externalId":%b,"raw":' % identity
        self._end = b',"type":%b}' % kind

    def values(self, values: Mapping[str, Scalar]) -> bytes:
        """The device's entry with ``values``, canonical."""
        return b"%b%b}" % (self._values, canonical(values if isinstance(values, dict) else dict(values)))

    def raw(self, mask: int) -> bytes:
        """The entry of a cabinet, canonical."""
        return b"%b%d%b" % (self._mask, mask, self._end)


def telemetry_bodies(
    timestamp: str, devices: Sequence[tuple[DeviceTemplate, Mapping[str, Scalar] | int]]
) -> list[bytes]:
    """Canonical bodies of the messages that carry ``devices`` in their order, each fit to be sealed.

    A mapping holds a device's values, an int is a cabinet's mask. A device without values is left out;
    no device, no message.

    Raises:
        TooLargeError: a value on its own does not fit.
    """
    start, end = b'{"devices":[', b'],"timestamp":%b}' % canonical(timestamp)
    room = MAX_BYTES - ENVELOPE_BYTES - len(start) - len(end)
    entries: list[bytes] = []
    for template, content in devices:
        if isinstance(content, int):
            entries.append(template.raw(content))
        elif content:
            entry = template.values(content)
            entries += [entry] if len(entry) <= room else _split(template, content, room)
    return [b"%b%b%b" % (start, b",".join(group), end) for group in _packed(entries, len, room)]


def worst_case_bytes(devices: Iterable[ResolvedDevice]) -> int:
    """Size of one sealed snapshot of ``devices`` when every published value is as long as it can be.

    More than ``MAX_BYTES`` means that the snapshot may be split.

    Raises:
        TooLargeError: a value could be too long for a message of its own, so splitting would not help.
    """
    frame = ENVELOPE_BYTES + len(b'{"devices":[],"timestamp":%b}' % canonical(_TIMESTAMP))
    entries = [size for device in devices if (size := _longest_entry(device, MAX_BYTES - frame))]
    return frame + sum(entries) + max(len(entries) - 1, 0)


def _split(template: DeviceTemplate, values: Mapping[str, Scalar], room: int) -> list[bytes]:
    """Several entries of one device, no two of which fit into one message."""
    room -= len(template.values({}))
    sizes = {field: len(canonical({field: value})) - len(b"{}") for field, value in values.items()}
    for field, size in sizes.items():
        _refuse_too_large(template.external_id, field, size, room)
    groups = _packed(values, sizes.__getitem__, room)
    return [template.values({field: values[field] for field in group}) for group in groups]


def _packed(items: Iterable[T], size: Callable[[T], int], room: int) -> list[list[T]]:
    """Items in their order, as many to a group as fit with a comma between them."""
    groups: list[list[T]] = []
    left = -1
    for item in items:
        needed = size(item)
        if groups and needed < left:
            groups[-1].append(item)
            left -= needed + 1
        else:
            groups.append([item])
            left = room - needed
    return groups


def _longest_entry(device: ResolvedDevice, room: int) -> int:
    template = DeviceTemplate(device.external_id, device.type)
    if device.mask:
        return len(template.raw(2**32 - 1))
    published = [point for point in device.points if point.publish]
    if not published:
        return 0
    empty = len(template.values({}))
    sizes = [len(canonical(point.field)) + len(b":") + _longest_value(point) for point in published]
    for point, size in zip(published, sizes, strict=True):
        _refuse_too_large(device.external_id, point.field, size, room - empty)
    return empty + sum(sizes) + len(sizes) - 1


def _longest_value(point: Point) -> int:
    if point.type == "bool":
        return len(b"false")
    if point.type == "string":
        return 2 + _LONGEST_ESCAPE * (point.length or 0)
    if point.scale == 1 and point.offset == 0 and point.scale_from is None:
        return _LONGEST_UNSCALED.get(point.type, _LONGEST_NUMBER)
    return _LONGEST_NUMBER


def _refuse_too_large(device: str, field: str, size: int, room: int) -> None:
    if size > room:
        raise TooLargeError(
            f"{device}.{field} takes {size} bytes; a message with nothing else has room for {room}"
        )
