"""A site's registers and the Plant that reads them agree, as a stranger's client confirms."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import pytest
from pymodbus.client import AsyncModbusTcpClient

from tests.support.modbus import eventually
from voke_api.resources import DeviceProfile, Plant
from voke_sim.plc.physics import GENERAL_FAULT, HOUR, Pulse
from voke_sim.plc.site import DOOR_BIT, Site, SiteOptions, profiles

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
Json = dict[str, Any]


def options(**more: Any) -> SiteOptions:
    return SiteOptions(name="brno-roof", plant_id=PLANT_ID, second_inverter=True, **more)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(options()) as running:
        yield running


class Reader:
    """Reads a device with pymodbus, by nothing but what the documents say."""

    def __init__(self, documents: list[Json]) -> None:
        self.plant = documents[0]["spec"]
        self.profiles = {found["metadata"]["name"]: found["spec"] for found in documents[1:]}
        self._clients: dict[str, AsyncModbusTcpClient] = {}

    async def client(self, connection: str) -> AsyncModbusTcpClient:
        if connection not in self._clients:
            where = next(c["modbusTcp"] for c in self.plant["connections"] if c["name"] == connection)
            made = AsyncModbusTcpClient(
                where["host"], port=where["port"], timeout=2, retries=0, reconnect_delay=0
            )
            assert await made.connect()
            self._clients[connection] = made
        return self._clients[connection]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def device(self, external_id: str) -> Json:
        found: Json = next(d for d in self.plant["devices"] if d["externalId"] == external_id)
        return found

    async def registers(self, external_id: str, table: str, address: int, count: int) -> list[int]:
        device = self.device(external_id)
        client = await self.client(device["connection"])
        read = client.read_holding_registers if table == "holding" else client.read_input_registers
        return list((await read(address, count=count, device_id=device["unitId"])).registers)

    async def raw(self, external_id: str, point: Json) -> Any:
        kind = point["type"]
        if kind == "string":
            count = (point["length"] + 1) // 2
        else:
            count = {"bool": 1, "int16": 1, "uint16": 1, "float64": 4, "int64": 4, "uint64": 4}.get(kind, 2)
        words = await self.registers(external_id, point["table"], point["address"], count)
        if point.get("byteOrder") == "little":
            words = [(word & 0xFF) << 8 | word >> 8 for word in words]
        if kind == "bool":
            return bool(words[0] >> point["registerBit"] & 1)
        if kind == "string":
            return b"".join(word.to_bytes(2) for word in words).split(b"\0")[0].decode()
        if point.get("wordOrder") == "little":
            words.reverse()
        pattern = int.from_bytes(b"".join(word.to_bytes(2) for word in words))
        if pattern in point.get("invalid", []):
            return None
        client = AsyncModbusTcpClient
        return client.convert_from_registers(words, getattr(client.DATATYPE, kind.upper()))

    async def values(self, external_id: str) -> Json:
        points = self.profiles[self.device(external_id)["profile"]]["points"]
        raw = {point["field"]: await self.raw(external_id, point) for point in points}
        seen = {}
        for point in points:
            value = raw[point["field"]]
            if not point.get("publish", True) or value is None:
                continue
            if isinstance(value, float) and math.isnan(value):
                continue
            if isinstance(value, int | float) and not isinstance(value, bool):
                number = Decimal(repr(value)) * Decimal(str(point.get("scale", 1)))
                number = number.scaleb(raw[point["scaleFrom"]] if "scaleFrom" in point else 0)
                number += Decimal(str(point.get("offset", 0)))
                if "decimals" in point:
                    number = number.quantize(Decimal(1).scaleb(-point["decimals"]), ROUND_HALF_EVEN)
                value = float(number)
            seen[point["field"]] = value
        return seen


@contextlib.asynccontextmanager
async def reader(site: Site) -> AsyncIterator[Reader]:
    made = Reader(site.documents())
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("cabinet", ["discrete", "register", "bits"])
@pytest.mark.parametrize("method", ["MTLS", "JWT", "PASSWORD"])
async def test_the_documents_are_accepted_as_resources(
    cabinet: Literal["discrete", "register", "bits"], method: Literal["MTLS", "JWT", "PASSWORD"]
) -> None:
    async with Site(options(cabinet=cabinet, auth_method=method)) as site:
        plant, *others = site.documents(credentials={"password": "keys"}, interval="500ms")
        accepted = Plant.model_validate(plant)
        assert accepted.spec.telemetry.interval == 0.5
        assert {device.external_id for device in accepted.spec.devices} == set(site.truth())
        names = {DeviceProfile.model_validate(other).metadata.name for other in others}
        assert {device.profile for device in accepted.spec.devices} - {None} == names
        assert others == profiles()


async def test_the_registers_show_what_the_physics_say(site: Site) -> None:
    site.battery.ask(12_345.0)
    async with reader(site) as stranger:
        for _ in range(5):
            site.advance(7.3)
            truth = site.truth()
            for device in ("INV1", "INV2", "BAT1", "M1"):
                assert await stranger.values(device) == truth[device]
    assert truth["BAT1"]["batteryPowerW"] == 12_345  # type: ignore[index]


async def test_at_night_the_inverter_says_no_value_where_day_has_one() -> None:
    async with Site(options(starts_at=1.0 * HOUR)) as site, reader(site) as stranger:
        seen = await stranger.values("INV1")
        assert seen == site.truth()["INV1"]
        assert set(seen) == {"serialNumber", "running", "faultCode", "energyTodayKwh", "energyTotalKwh"}
        assert seen["running"] is False
        power = await stranger.registers("INV1", "input", 30, 2)
        assert power == [0x8000, 0]


async def test_the_battery_follows_a_set_point_that_a_stranger_writes(site: Site) -> None:
    async with reader(site) as stranger:
        client = await stranger.client("plc1")
        await client.write_registers(40, [0x10000 - 5000, 0xFFFF], device_id=3)
        assert site.battery.setpoint == -5000.0
        assert await stranger.registers("BAT1", "holding", 40, 2) == [0x10000 - 5000, 0xFFFF]
        site.advance(1.0)
        site.advance(1.0)
        assert (await stranger.values("BAT1"))["batteryPowerW"] == -5000
        await client.write_register(50, 17, device_id=3)
        site.advance(0.1)
        assert await stranger.registers("BAT1", "holding", 50, 1) == [17]


@pytest.mark.parametrize(
    ("address", "values", "code"),
    [
        (40, [0x86A0, 0x0001], 3),  # 100 kW: beyond what it can do
        (40, [1], 2),  # half of a value
        (39, [0, 0, 0], 2),  # a neighbour that is not writable
        (0, [1], 2),  # its serial number
    ],
)
async def test_what_the_battery_does_not_take_changes_nothing(
    site: Site, address: int, values: list[int], code: int
) -> None:
    async with reader(site) as stranger:
        client = await stranger.client("plc1")
        reply = await client.write_registers(address, values, device_id=3)
        assert reply.isError()
        assert reply.exception_code == code
        assert site.battery.setpoint == 0.0
        assert not site.servers["plc1"].writes


async def test_the_cabinet_shows_its_mask_as_inputs_and_as_a_register() -> None:
    async with Site(options(door=Pulse(start=1.0, length=1.0))) as site, reader(site) as stranger:
        client = await stranger.client("cabinet")
        for seconds, is_open in ((0.5, False), (1.0, True), (1.0, False)):
            site.advance(seconds)
            bits = (await client.read_discrete_inputs(0, count=24, device_id=1)).bits[:24]
            assert bits[DOOR_BIT] is is_open
            mask = sum(1 << k for k, bit in enumerate(bits) if bit)
            assert mask == site.truth()["R1"]
            high, low = (await client.read_holding_registers(7, count=2, device_id=1)).registers
            assert high << 16 | low == mask


async def test_a_battery_fault_comes_and_goes_in_real_time() -> None:
    site = Site(options(battery_fault=Pulse(start=2.0, length=1.0), time_factor=3600.0))
    codes = []
    for _ in range(4):
        site.advance(1.0)
        codes.append(site.battery.fault_code)
    assert codes == [0, GENERAL_FAULT, 0, 0]


async def test_time_passes_by_itself_while_it_runs(site: Site) -> None:
    running = asyncio.create_task(site.run(every=0.01))
    await eventually(lambda: site.running >= 0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert site.time == pytest.approx(11 * HOUR + site.running)
