"""One simulated site: its devices, the PLC endpoints in front of them, and the Plant file that fits.

    plc1     inverter INV1 (unit 1) and battery BAT1 (unit 3) behind one endpoint with two slots
    meter    grid meter M1 (unit 1)
    cabinet  cabinet R1 (unit 1): 24 binary inputs
    plc2     a second inverter INV2 (unit 1), if asked for: the one whose PLC is to misbehave

Time comes in through :meth:`Site.advance`; :meth:`Site.run` does that with the event loop's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Literal, Self

from voke_sim.plc.bank import Bank, Bits, Registers
from voke_sim.plc.models import (
    BATTERY_PROFILE,
    INVERTER_PROFILE,
    METER_PROFILE,
    battery_map,
    inverter_map,
    meter_map,
)
from voke_sim.plc.physics import (
    GENERAL_FAULT,
    HOUR,
    Battery,
    Cabinet,
    GridMeter,
    Inverter,
    Load,
    Pulse,
    Sun,
)
from voke_sim.plc.server import ModbusServer, Unit
from voke_sim.plc.signals import DeviceMap, Json, Value

API_VERSION = "voke.lovinka.com/v1alpha1"
DOOR_BIT = 3
DOOR_CODE = 201
SILENT_CODE = 202
CABINET_REGISTER = 7
"""Where the cabinet's mask stands as a uint32, for sites whose cabinet shows registers."""

CabinetForm = Literal["discrete", "register", "bits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions:
    """What a site is like and how its Plant is to read it."""

    name: str
    plant_id: str
    auth_method: Literal["MTLS", "JWT", "PASSWORD"] = "MTLS"
    seed: int = 0
    starts_at: float = 11.0 * HOUR
    """Simulated seconds since midnight when the run starts."""
    time_factor: float = 1.0
    """Simulated seconds per second. Door, battery fault and watchdog keep real time."""
    second_inverter: bool = False
    cabinet: CabinetForm = "discrete"
    """In which of the three ways the Plant declares the cabinet's mask."""
    battery_capacity: float = 40_000.0
    """Watt-hours."""
    door: Pulse | None = None
    """When the cabinet's door stands open."""
    battery_fault: Pulse | None = None
    """When the battery has fault 106."""


class Site:
    """The devices of one site and the servers in front of them."""

    def __init__(self, options: SiteOptions) -> None:
        self.options = options
        seed = f"{options.name}/{options.seed}"
        self.sun = Sun(seed=f"{seed}/sun")
        self.load = Load(seed=f"{seed}/load")
        self.inverter = Inverter(seed=f"{seed}/inv1")
        self.second_inverter = Inverter(seed=f"{seed}/inv2", peak_power=8_000.0, rating=7_000.0)
        self.battery = Battery(capacity=options.battery_capacity, stored=0.55 * options.battery_capacity)
        self.meter = GridMeter(seed=f"{seed}/meter")
        self.cabinet = Cabinet(pulses=[(DOOR_BIT, options.door)] if options.door else [])
        self.load_power = 0.0
        self.running = 0.0
        """Seconds since the start of the run."""

        serial = Random(seed).randrange(10**6)
        self.maps: dict[str, DeviceMap] = {
            "INV1": inverter_map("INV1", self.inverter, f"AC-{serial:06d}"),
            "BAT1": battery_map("BAT1", self.battery, f"VR{serial:06d}"),
            "M1": meter_map("M1", self.meter),
        }
        self.servers: dict[str, ModbusServer] = {}
        units = {device: found.unit() for device, found in self.maps.items()}
        server = partial(ModbusServer, random=Random(seed))
        self.servers["plc1"] = server({1: units["INV1"], 3: units["BAT1"]}, max_connections=2)
        self.servers["meter"] = server({1: units["M1"]}, max_connections=1, any_unit=True)
        self._cabinet_bank = Bank(
            discrete=Bits(self.cabinet.inputs),
            holding=Registers(2, first=CABINET_REGISTER),
        )
        self.servers["cabinet"] = server({1: Unit(self._cabinet_bank)}, max_connections=4)
        if options.second_inverter:
            self.maps["INV2"] = inverter_map("INV2", self.second_inverter, f"AC-{serial + 1:06d}")
            units["INV2"] = self.maps["INV2"].unit()
            self.servers["plc2"] = server({1: units["INV2"]}, max_connections=2)
        self._banks = {device: unit.bank for device, unit in units.items()}
        self.advance(0.0)

    @property
    def time(self) -> float:
        """Simulated seconds since midnight of the first day."""
        return self.options.starts_at + self.running * self.options.time_factor

    async def start(self, host: str = "127.0.0.1", *, first_port: int | None = None) -> Self:
        """Open the endpoints, on ports from ``first_port`` on, or on free ones."""
        for number, server in enumerate(self.servers.values()):
            await server.start(host, 0 if first_port is None else first_port + number)
        return self

    async def stop(self) -> None:
        """Close the endpoints."""
        for server in self.servers.values():
            await server.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def run(self, *, every: float = 0.2) -> None:
        """Let time pass until cancelled."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(every)
            now = loop.time()
            self.advance(now - last)
            last = now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` of real time pass for every device, then show the new values."""
        options = self.options
        self.running += seconds
        elapsed = seconds * options.time_factor
        light = self.sun.irradiance(self.time)
        self.inverter.step(self.time, elapsed, light)
        sun_power = self.inverter.ac_power
        if options.second_inverter:
            self.second_inverter.step(self.time, elapsed, light)
            sun_power += self.second_inverter.ac_power
        if options.battery_fault is not None:
            self.battery.fault_code = GENERAL_FAULT if options.battery_fault.active(self.running) else 0
        self.battery.watch(seconds)
        self.battery.step(elapsed)
        self.load_power = self.load.power(self.time)
        self.meter.step(self.time, elapsed, self.load_power + self.battery.power - sun_power)
        self.cabinet.step(self.running)
        self.show()

    def show(self) -> None:
        """Put the devices' present values into the registers."""
        for device, bank in self._banks.items():
            self.maps[device].store(bank)
        mask = self.cabinet.mask
        inputs = self._cabinet_bank.bits("discrete")
        inputs.put(0, *(bool(mask >> bit & 1) for bit in range(self.cabinet.inputs)))
        self._cabinet_bank.registers("holding").put(CABINET_REGISTER, "uint32", mask)

    def truth(self) -> dict[str, dict[str, Value] | int]:
        """What a correct snapshot taken now holds: values by field, a cabinet's mask as a number."""
        seen: dict[str, dict[str, Value] | int] = {
            device: found.truth() for device, found in self.maps.items()
        }
        return {**seen, "R1": self.cabinet.mask}

    def documents(
        self,
        *,
        interval: str = "1s",
        credentials: Mapping[str, str] | None = None,
        pool: str = "default",
        timeout: str = "500ms",
    ) -> list[Json]:
        """The Plant and the DeviceProfiles that fit this site. The servers have to be started.

        Args:
            interval: the plant's tick.
            credentials: name of the Secret by kind (hmac, mtls, jwt, password); others are generated.
            pool: the GatewayPool.
            timeout: of every connection.
        """
        spec: Json = {
            "plantId": self.options.plant_id,
            "pool": pool,
            "auth": {"method": self.options.auth_method},
            "telemetry": {"interval": interval},
            "connections": [
                {
                    "name": name,
                    "modbusTcp": {"host": server.host, "port": server.port, "timeout": timeout},
                }
                for name, server in self.servers.items()
            ],
            "devices": self._devices(),
            "commands": _commands(self.battery),
            "alarms": self._alarms(),
        }
        if credentials:
            spec["credentials"] = {
                kind: {"secretRef": {"name": secret}} for kind, secret in credentials.items()
            }
        plant = _document("Plant", self.options.name, spec)
        return [plant, *profiles()]

    def _devices(self) -> list[Json]:
        devices: list[Json] = [
            _device("INV1", "INVERTER", "plc1", unitId=1, profile=INVERTER_PROFILE),
            _device("BAT1", "BATTERY", "plc1", unitId=3, profile=BATTERY_PROFILE),
            _device("M1", "METER", "meter", unitId=1, profile=METER_PROFILE),
            _device("R1", "CABINET", "cabinet", unitId=1, raw=self._raw()),
        ]
        if self.options.second_inverter:
            devices.append(
                _device("INV2", "INVERTER", "plc2", unitId=1, profile=INVERTER_PROFILE, expectOffline=True)
            )
        return devices

    def _raw(self) -> Json:
        match self.options.cabinet:
            case "discrete":
                return {"table": "discrete", "address": 0, "count": self.cabinet.inputs}
            case "register":
                return {"table": "holding", "address": CABINET_REGISTER, "type": "uint32"}
            case "bits":
                return {
                    "bits": [
                        {"bit": bit, "table": "discrete", "address": bit}
                        for bit in range(self.cabinet.inputs)
                    ]
                }

    def _alarms(self) -> list[Json]:
        alarms: list[Json] = [
            {
                "name": "battery-fault",
                "device": "BAT1",
                "field": "faultCode",
                "when": {"gt": 0},
                "for": "1s",
                "clearFor": "1s",
                "code": GENERAL_FAULT,
                "severity": "CRITICAL",
            },
            {
                "name": "cabinet-door",
                "device": "R1",
                "when": {"bit": DOOR_BIT},
                "code": DOOR_CODE,
                "severity": "WARNING",
            },
        ]
        if self.options.second_inverter:
            alarms.append(
                {
                    "name": "second-inverter-silent",
                    "device": "INV2",
                    "when": {"notReadFor": "4s"},
                    "code": SILENT_CODE,
                    "severity": "ERROR",
                }
            )
        return alarms


def profiles() -> list[Json]:
    """The DeviceProfiles of the simulated device models; they are the same for every site."""
    limits = {"maxRegisters": 60, "maxGap": 8}
    found = (
        (INVERTER_PROFILE, inverter_map("INV1", Inverter(), "")),
        (BATTERY_PROFILE, battery_map("BAT1", Battery(), "")),
        (METER_PROFILE, meter_map("M1", GridMeter())),
    )
    return [
        _document(
            "DeviceProfile",
            name,
            {
                "type": device.type,
                "limits": limits,
                "points": [signal.point() for signal in device.signals],
            },
        )
        for name, device in found
    ]


def _commands(battery: Battery) -> Json:
    def write(**how: Any) -> Json:
        return {
            "device": "BAT1",
            "field": "setpointW",
            **how,
            "readBack": {"within": "2s", "tolerance": 1},
        }

    return {
        "CHARGE": {"writes": [write(parameter="powerW", factor=1, min=0, max=battery.max_charge)]},
        "DISCHARGE": {"writes": [write(parameter="powerW", factor=-1, min=-battery.max_discharge, max=0)]},
        "HOLD": {"writes": [write(value=0)]},
    }


def _device(external_id: str, kind: str, connection: str, **more: object) -> Json:
    return {"externalId": external_id, "type": kind, "connection": connection, **more}


def _document(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
