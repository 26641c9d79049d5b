"""Register maps of the simulated device models, each with a trait that real ones are known for.

A function is a table of points, as long as the map of its model.
"""

from __future__ import annotations

from voke_sim.plc.physics import Battery, GridMeter, Inverter
from voke_sim.plc.signals import DeviceMap, Signal, Writable

INVERTER_PROFILE = "acme-hybrid"
BATTERY_PROFILE = "volt-rack"
METER_PROFILE = "gridwatch-3"


def inverter_map(external_id: str, inverter: Inverter, serial: str) -> DeviceMap:
    """A hybrid inverter: SunSpec-like scale factor, little word order, and "no value" while it sleeps."""

    def awake(value: float) -> float | None:
        return value if inverter.awake else None

    def voltage(phase: int, address: int) -> Signal:
        return Signal(
            field=f"voltageL{phase + 1}V",
            table="input",
            address=address,
            type="float32",
            word_order="little",
            decimals=1,
            unit="V",
            value=lambda: awake(inverter.voltages[phase]),
        )

    return DeviceMap(
        external_id,
        "INVERTER",
        [
            Signal(
                field="serialNumber",
                table="holding",
                address=0,
                type="string",
                length=16,
                value=lambda: serial,
            ),
            Signal(
                field="running",
                table="input",
                address=22,
                type="bool",
                register_bit=2,
                value=lambda: inverter.awake,
            ),
            Signal(
                field="faultCode",
                table="input",
                address=23,
                type="uint16",
                value=lambda: inverter.fault_code,
            ),
            Signal(
                field="activePowerKw",
                table="input",
                address=30,
                type="int32",
                scale_from="powerSf",
                invalid=0x8000_0000,
                unit="kW",
                value=lambda: awake(inverter.ac_power / 1000.0),
            ),
            Signal(
                field="powerSf",
                table="input",
                address=32,
                type="int16",
                publish=False,
                value=lambda: -3,
            ),
            Signal(
                field="dcPowerKw",
                table="input",
                address=33,
                type="uint32",
                word_order="little",
                scale=0.001,
                invalid=0xFFFF_FFFF,
                unit="kW",
                value=lambda: awake(inverter.dc_power / 1000.0),
            ),
            voltage(0, 40),
            voltage(1, 42),
            voltage(2, 44),
            Signal(
                field="frequencyHz",
                table="input",
                address=46,
                type="uint16",
                scale=0.01,
                invalid=0xFFFF,
                unit="Hz",
                value=lambda: awake(inverter.frequency),
            ),
            Signal(
                field="temperatureC",
                table="input",
                address=47,
                type="int16",
                scale=0.1,
                invalid=0x8000,
                unit="°C",
                value=lambda: awake(inverter.temperature),
            ),
            Signal(
                field="energyTodayKwh",
                table="input",
                address=50,
                type="uint32",
                scale=0.001,
                unit="kWh",
                value=lambda: inverter.energy_today / 1000.0,
            ),
            Signal(
                field="energyTotalKwh",
                table="input",
                address=52,
                type="uint64",
                scale=0.001,
                unit="kWh",
                value=lambda: inverter.energy_total / 1000.0,
            ),
        ],
    )


def battery_map(external_id: str, battery: Battery, serial: str) -> DeviceMap:
    """A battery rack: a writable set-point in two registers, low word first, and a watchdog register."""
    watchdog = {"value": 0}

    def feed(value: float) -> None:
        watchdog["value"] = int(value)
        battery.feed_watchdog()

    return DeviceMap(
        external_id,
        "BATTERY",
        [
            Signal(
                field="serialNumber",
                table="holding",
                address=0,
                type="string",
                length=12,
                byte_order="little",
                value=lambda: serial,
            ),
            Signal(
                field="socPercent",
                table="input",
                address=10,
                type="uint16",
                scale=0.1,
                invalid=0xFFFF,
                unit="%",
                value=lambda: battery.soc,
            ),
            Signal(
                field="batteryPowerW",
                table="input",
                address=12,
                type="int32",
                word_order="little",
                unit="W",
                value=lambda: battery.power,
            ),
            Signal(
                field="temperatureC",
                table="input",
                address=14,
                type="int16",
                scale=0.1,
                offset=-40.0,
                invalid=0x8000,
                unit="°C",
                value=lambda: battery.temperature,
            ),
            Signal(
                field="faultCode",
                table="input",
                address=20,
                type="uint16",
                value=lambda: battery.fault_code,
            ),
            Signal(
                field="chargedKwh",
                table="input",
                address=22,
                type="float64",
                decimals=3,
                unit="kWh",
                value=lambda: battery.charged / 1000.0,
            ),
            Signal(
                field="dischargedKwh",
                table="input",
                address=26,
                type="float64",
                decimals=3,
                unit="kWh",
                value=lambda: battery.discharged / 1000.0,
            ),
            Signal(
                field="setpointW",
                table="holding",
                address=40,
                type="int32",
                word_order="little",
                publish=False,
                unit="W",
                writable=Writable(take=battery.ask, min=-battery.max_discharge, max=battery.max_charge),
                value=lambda: battery.setpoint,
            ),
            Signal(
                field="watchdog",
                table="holding",
                address=50,
                type="uint16",
                publish=False,
                writable=Writable(take=feed),
                value=lambda: watchdog["value"],
            ),
        ],
    )


def meter_map(external_id: str, meter: GridMeter) -> DeviceMap:
    """A grid meter: 64-bit counters, and one register whose bytes are swapped."""
    return DeviceMap(
        external_id,
        "METER",
        [
            Signal(
                field="activePowerKw",
                table="holding",
                address=0,
                type="float32",
                decimals=3,
                unit="kW",
                value=lambda: meter.power / 1000.0,
            ),
            Signal(
                field="voltageV",
                table="holding",
                address=2,
                type="uint16",
                byte_order="little",
                scale=0.1,
                invalid=0xFFFF,
                unit="V",
                value=lambda: meter.voltage,
            ),
            Signal(
                field="importKwh",
                table="holding",
                address=10,
                type="int64",
                word_order="little",
                scale=0.001,
                unit="kWh",
                value=lambda: meter.imported / 1000.0,
            ),
            Signal(
                field="exportKwh",
                table="holding",
                address=14,
                type="int64",
                word_order="little",
                scale=0.001,
                unit="kWh",
                value=lambda: meter.exported / 1000.0,
            ),
        ],
    )
