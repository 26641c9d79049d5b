"""Questions to a person: what is allowed and yet looks like a mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from voke_api.problems import Path, Problem, Severity
from voke_api.resources.common import Table
from voke_api.resources.points import Point, from_data_sheet
from voke_cli.documents import Documents

_FIRST_PRINTABLE = 0x20


def hints(documents: Documents) -> Iterator[Problem]:
    """One question for each device or profile that looks odd; all are warnings."""
    yield from _address_hints(documents)
    for name, profile in documents.profiles.items():
        yield from _key_hints(profile.spec.points, ("spec", "points"), "DeviceProfile", name)
    for plant in documents.plants:
        for index, device in enumerate(plant.spec.devices):
            path: Path = ("spec", "devices", index, "points")
            yield from _key_hints(device.points, path, "Plant", plant.metadata.name)


def _key_hints(points: Sequence[Point], path: Path, kind: str, name: str) -> Iterator[Problem]:
    """Keys that JSON has to escape: some versions of V8 take one for another (V8 bug 521080746)."""
    for index, point in enumerate(points):
        if any(character in '"\\' or ord(character) < _FIRST_PRINTABLE for character in point.field):
            yield Problem(
                path=(*path, index, "field"),
                value=point.field,
                message="this field has a character that JSON escapes; some versions of Node confuse such keys "
                "and would then refuse the signature: use another name if Voke's template allows it",
                severity=Severity.WARNING,
                kind=kind,
                name=name,
            )


def _address_hints(documents: Documents) -> Iterator[Problem]:
    """One question for each device or profile whose addresses look copied from a data sheet."""
    for name, profile in documents.profiles.items():
        addresses = [(p.table, p.address) for p in profile.spec.points]
        yield from _address_hint(addresses, ("spec", "points"), "DeviceProfile", name)
    for plant in documents.plants:
        for index, device in enumerate(plant.spec.devices):
            path: Path = ("spec", "devices", index, "points")
            addresses = [(p.table, p.address) for p in device.points]
            yield from _address_hint(addresses, path, "Plant", plant.metadata.name)
            bits = device.raw.bits or () if device.raw is not None else ()
            addresses = [(bit.table, bit.address) for bit in bits]
            path = ("spec", "devices", index, "raw", "bits")
            yield from _address_hint(addresses, path, "Plant", plant.metadata.name)
            if device.raw is not None and device.raw.table is not None and device.raw.address is not None:
                addresses = [(device.raw.table, device.raw.address)]
                for hint in _address_hint(addresses, path, "Plant", plant.metadata.name):
                    yield replace(hint, path=("spec", "devices", index, "raw", "address"))


def _address_hint(
    addresses: Sequence[tuple[Table, int]], path: Path, kind: str, name: str
) -> Iterator[Problem]:
    suspects = [
        (index, given, place[1])
        for index, (table, given) in enumerate(addresses)
        if (place := from_data_sheet(given)) is not None and place[0] == table
    ]
    if not suspects:
        return
    index, given, meant = suspects[0]
    others = f" ({len(suspects) - 1} more look like it)" if len(suspects) > 1 else ""
    yield Problem(
        path=(*path, index, "address"),
        value=given,
        message=f"did you mean address {meant}? Addresses are zero-based as on the wire, and {given} looks "
        f"like a data sheet's number for {meant}{others}",
        severity=Severity.WARNING,
        kind=kind,
        name=name,
    )
