"""From a Plant, its profiles and its pool to what a gateway is to do, or to what is wrong with them.

Pure. What one document can say about itself was checked when it was parsed; here is what needs several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from voke_api.problems import Path, Problem, Severity, has_errors
from voke_api.references import reference_problems
from voke_api.resolved import DeviceLimits, MaskBit, ResolvedDevice, ResolvedPlant
from voke_api.resources.plant import Device, Plant
from voke_api.resources.points import Limits, Point, Raw
from voke_api.resources.pool import GatewayPool, GatewayPoolSpec
from voke_api.resources.profile import DeviceProfile

MAX_POINTS = 256
"""Most points of one device, its profile's included."""


def resolve(
    plant: Plant,
    profiles: Mapping[str, DeviceProfile],
    pool: GatewayPool | None,
    *,
    read_only: str | None = None,
) -> tuple[ResolvedPlant | None, list[Problem]]:
    """What a gateway is to do for ``plant``, and what is wrong with it.

    Args:
        plant: The Plant.
        profiles: DeviceProfiles of the same namespace, by name.
        pool: The Plant's pool; None only for one called ``default`` that is not given.
        read_only: Why the caller forbids all writes (a command-line switch), if it does.

    Returns:
        The plant, or None if any problem is an error; and all problems, warnings included.
    """
    problems: list[Problem] = []
    if pool is None and plant.spec.pool != "default":
        problems.append(
            Problem(
                path=("spec", "pool"),
                value=plant.spec.pool,
                message=f"there is no GatewayPool {plant.spec.pool} in this namespace; only the pool default "
                "need not be given",
            )
        )
    devices = []
    for index, device in enumerate(plant.spec.devices):
        resolved, found = _device(device, ("spec", "devices", index), profiles, _bit_fields(plant, device))
        problems += found
        devices.append(resolved)
    problems += reference_problems(plant, [device for device in devices if device is not None])
    settings = pool.spec if pool is not None else GatewayPoolSpec()
    reason = read_only or _read_only(plant, settings)
    problems += _inactive(plant)
    problems = [replace(problem, kind="Plant", name=plant.metadata.name) for problem in problems]
    if has_errors(problems):
        return None, problems
    return _plant(plant, settings, tuple(d for d in devices if d is not None), reason), problems


def assemble_within(plant: Plant) -> float:
    """Seconds a snapshot waits for slow devices: as given, else min(interval/2, 1 s)."""
    telemetry = plant.spec.telemetry
    return (
        min(telemetry.interval / 2, 1.0) if telemetry.assemble_within is None else telemetry.assemble_within
    )


def _plant(
    plant: Plant, pool: GatewayPoolSpec, devices: tuple[ResolvedDevice, ...], read_only: str | None
) -> ResolvedPlant:
    spec = plant.spec
    return ResolvedPlant(
        name=plant.metadata.name,
        plant_id=spec.plant_id,
        namespace=plant.metadata.namespace,
        pool=spec.pool,
        auth_method=spec.auth.method,
        suspend=spec.suspend,
        interval=spec.telemetry.interval,
        assemble_within=assemble_within(plant),
        command_max_age=spec.command_max_age,
        read_only=read_only,
        connections=spec.connections,
        devices=devices,
        commands=dict(spec.commands),
        alarms=spec.alarms,
        fail_safe=spec.fail_safe,
        heartbeats=spec.heartbeats,
        voke=pool.voke,
    )


def _read_only(plant: Plant, pool: GatewayPoolSpec) -> str | None:
    if plant.spec.writes == "Disabled":
        return "writes: Disabled on the Plant"
    if pool.writes == "Disabled":
        return f"writes: Disabled on the GatewayPool {plant.spec.pool}"
    promises = " and ".join(what for what, _ in _promises(plant))
    return f"{promises} not active in this version" if promises else None


def _promises(plant: Plant) -> Iterator[tuple[str, Path]]:
    """Promises of safety that this version does not keep yet, with their paths."""
    if plant.spec.fail_safe is not None:
        yield "failSafe", ("spec", "failSafe")
    if plant.spec.heartbeats:
        yield "heartbeats", ("spec", "heartbeats")
    for name, command in plant.spec.commands.items():
        if command.revert_after is not None:
            yield f"revertAfter of {name}", ("spec", "commands", name, "revertAfter")


def _inactive(plant: Plant) -> Iterator[Problem]:
    for _, path in _promises(plant):
        yield Problem(
            path=path,
            severity=Severity.WARNING,
            message="not active in this version, so the plant runs read-only and refuses commands "
            "that write; to allow writes without it, take it out",
        )


def _device(
    device: Device, path: Path, profiles: Mapping[str, DeviceProfile], raw_fields: frozenset[str]
) -> tuple[ResolvedDevice | None, list[Problem]]:
    profile = None
    problems: list[Problem] = []
    if device.profile is not None:
        profile = profiles.get(device.profile)
        if profile is None:
            message = f"there is no DeviceProfile {device.profile} in this namespace"
            return None, [Problem(path=(*path, "profile"), value=device.profile, message=message)]
        if profile.spec.type != device.type:
            problems.append(
                Problem(
                    path=(*path, "profile"),
                    value=device.profile,
                    message=f"DeviceProfile {device.profile} is for a device of type {profile.spec.type}, "
                    f"{device.external_id} is a {device.type}",
                )
            )
    points = merge_points(profile.spec.points if profile else (), device.points)
    if len(points) > MAX_POINTS:
        message = f"with its profile the device has {len(points)} points; at most {MAX_POINTS} are allowed"
        problems.append(Problem(path=(*path, "points"), message=message))
    resolved = ResolvedDevice(
        external_id=device.external_id,
        type=device.type,
        connection=device.connection,
        unit_id=device.unit_id,
        limits=merge_limits(profile.spec.limits if profile else Limits(), device.limits),
        every=device.every,
        expect_offline=device.expect_offline,
        points=points,
        mask=mask_bits(device.raw) if device.raw else (),
        raw_fields=raw_fields,
    )
    return resolved, problems


def merge_points(profile: tuple[Point, ...], own: tuple[Point, ...]) -> tuple[Point, ...]:
    """The profile's points, each replaced whole by the device's point of the same field; then the device's others."""
    mine = {point.field: point for point in own}
    merged = [mine.pop(point.field, point) for point in profile]
    return (*merged, *mine.values())


def merge_limits(profile: Limits, own: Limits) -> DeviceLimits:
    """Limits key by key: the device's, else the profile's, else the default."""
    given = profile.model_dump(exclude_none=True, by_alias=False) | own.model_dump(
        exclude_none=True, by_alias=False
    )
    if "pause" in given:
        given["pause"] = own.pause if own.pause is not None else profile.pause
    return DeviceLimits(**given)


def mask_bits(raw: Raw) -> tuple[MaskBit, ...]:
    """Where each bit of a cabinet's mask is read."""
    if raw.bits is not None:
        return tuple(
            MaskBit(bit=b.bit, table=b.table, address=b.address, register_bit=b.register_bit, invert=b.invert)
            for b in raw.bits
        )
    assert raw.table is not None
    assert raw.address is not None
    if raw.type is None:
        return tuple(MaskBit(bit=n, table=raw.table, address=raw.address + n) for n in range(raw.count or 0))
    registers = 2 if raw.type == "uint32" else 1
    return tuple(
        MaskBit(
            bit=n,
            table=raw.table,
            address=raw.address + (n // 16 if raw.word_order == "little" else registers - 1 - n // 16),
            register_bit=n % 16 if raw.byte_order == "big" else (n + 8) % 16,
        )
        for n in range(16 * registers)
    )


def _bit_fields(plant: Plant, device: Device) -> frozenset[str]:
    return frozenset(
        alarm.field
        for alarm in plant.spec.alarms
        if alarm.device == device.external_id and alarm.field is not None and alarm.when.bit is not None
    )
