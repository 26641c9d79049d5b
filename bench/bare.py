"""The floor: what the libraries cost on their own, with nothing around them that a gateway needs.

    python -m bench.bare PLANTS/ --modbus pymodbus|protocol --mqtt aiomqtt|protocol

It polls, signs and publishes like the gateway, on the same beat, and forgets about everything else: faults,
time-outs, limits, alarms, commands, an outbox. ``protocol`` is the least that can speak to a PLC or to a broker
at all: it shows what replacing a library could bring at most.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import resource
import signal
import ssl
import struct
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import aiomqtt
import orjson
import uvloop
from pymodbus.client import AsyncModbusTcpClient

from bench.fleet import VALUES, field
from bench.subscriber import length_bytes, text_bytes
from voke_gateway.plant.schedule import phase

REGISTERS = 2 * VALUES
_UNPACK = struct.Struct(f">{VALUES}f").unpack
_FIELDS = tuple(field(k) for k in range(VALUES))

Read = Callable[[], Awaitable[bytes]]
Publish = Callable[[bytes], Awaitable[None]]


class _RawModbus(asyncio.Protocol):
    """Sends the same request again and again, and believes what comes back."""

    _REQUEST = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, REGISTERS)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_result(data[9:])

    def read(self) -> asyncio.Future[bytes]:
        assert self._transport is not None
        self._reply = self._loop.create_future()
        self._transport.write(self._REQUEST)
        return self._reply


async def _modbus_protocol(host: str, port: int) -> Read:
    _, client = await asyncio.get_running_loop().create_connection(_RawModbus, host, port)
    return client.read


async def _modbus_pymodbus(host: str, port: int) -> Read:
    client = AsyncModbusTcpClient(host, port=port, timeout=2, retries=0, reconnect_delay=0)
    await client.connect()

    async def read() -> bytes:
        reply = await client.read_holding_registers(0, count=REGISTERS, device_id=1)
        return struct.pack(f">{REGISTERS}H", *reply.registers)

    return read


class _RawMqtt(asyncio.Protocol):
    """CONNECT and PUBLISH of MQTT 5, and the packet id of each PUBACK."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._packet_id = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.ready: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, kind: int, content: bytes) -> None:
        assert self._transport is not None
        self._transport.write(bytes((kind,)) + length_bytes(len(content)) + content)

    def publish(self, topic: bytes, payload: bytes) -> asyncio.Future[None]:
        self._packet_id = self._packet_id % 65535 + 1
        done = self._waiting[self._packet_id] = self._loop.create_future()
        self.send(0x32, topic + self._packet_id.to_bytes(2, "big") + b"\0" + payload)
        return done

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        while len(data) >= 2 and len(data) >= 2 + data[1]:  # neither CONNACK nor PUBACK is longer than 127
            kind, content, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
            if kind == 0x20:
                self.ready.set_result(None)
            elif kind == 0x40:
                self._waiting.pop(int.from_bytes(content[:2], "big")).set_result(None)
        self._buffer = data


async def _mqtt_protocol(plant_id: str, host: str, port: int, context: ssl.SSLContext) -> Publish:
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(_RawMqtt, host, port, ssl=context)
    client.send(0x10, text_bytes("MQTT") + b"\x05\x02\x00\x00\x00" + text_bytes(plant_id))
    await client.ready
    topic = text_bytes(f"cpi/{plant_id}/telemetry")

    async def publish(payload: bytes) -> None:
        await client.publish(topic, payload)

    return publish


async def _mqtt_aiomqtt(plant_id: str, host: str, port: int, context: ssl.SSLContext) -> Publish:
    client = aiomqtt.Client(
        host,
        port,
        identifier=plant_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=context,
        clean_start=False,
    )
    await client.__aenter__()
    topic = f"cpi/{plant_id}/telemetry"

    async def publish(payload: bytes) -> None:
        await client.publish(topic, payload, qos=1)

    return publish


MODBUS = {"pymodbus": _modbus_pymodbus, "protocol": _modbus_protocol}
MQTT = {"aiomqtt": _mqtt_aiomqtt, "protocol": _mqtt_protocol}


class Plant:
    """One plant's files, taken on trust."""

    def __init__(self, path: Path) -> None:
        document, secret = map(json.loads, path.read_text().split("\n---\n"))
        spec, self.keys = document["spec"], secret["stringData"]
        self.plant_id: str = spec["plantId"]
        self.interval = int(spec["telemetry"]["interval"].removesuffix("ms")) / 1000
        self.endpoints = [(c["modbusTcp"]["host"], c["modbusTcp"]["port"]) for c in spec["connections"]]
        self.devices = [device["externalId"] for device in spec["devices"]]

    def context(self, ca_pem: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=ca_pem)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.keys["tls.crt"] + self.keys["tls.key"])
            file.flush()
            context.load_cert_chain(file.name)
        return context

    async def run(self, reads: list[Read], publish: Publish) -> None:
        mac = hmac.new(self.keys["hmac.key"].encode(), self.plant_id.encode() + b"|", hashlib.sha256)
        loop = asyncio.get_running_loop()
        offset = time.time() - loop.time()
        place = phase(self.plant_id)
        tick = int(time.time() / self.interval - place) + 1
        publishing: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep((tick + place) * self.interval - offset - loop.time())
            started = time.time()
            replies = await asyncio.gather(*(read() for read in reads))
            body = self._body(started, replies)
            ts, n = int(time.time() * 1000), os.urandom(8).hex()
            signed = mac.copy()
            signed.update(b"%d|%b|%b" % (ts, n.encode(), body))
            tail = f',"n":"{n}","sig":"{signed.hexdigest()}","ts":{ts}}}'
            task = asyncio.ensure_future(publish(body[:-1] + tail.encode()))
            publishing.add(task)
            task.add_done_callback(publishing.discard)
            tick = max(tick + 1, int(time.time() / self.interval - place))

    def _body(self, started: float, replies: list[bytes]) -> bytes:
        whole, milliseconds = divmod(int(started * 1000), 1000)
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
        devices = [
            {
                "externalId": name,
                "type": "METER",
                "values": dict(zip(_FIELDS, _UNPACK(reply), strict=True)),
            }
            for name, reply in zip(self.devices, replies, strict=True)
        ]
        body: dict[str, Any] = {"devices": devices, "timestamp": f"{second}.{milliseconds:03}Z"}
        return orjson.dumps(body, None, orjson.OPT_SORT_KEYS)


async def serve(voke: dict[str, Any], ca_pem: str, plants: list[Plant], modbus: str, mqtt: str) -> None:
    running = []
    for plant in plants:
        reads = [await MODBUS[modbus](*endpoint) for endpoint in plant.endpoints]
        context = plant.context(ca_pem)
        publish = await MQTT[mqtt](plant.plant_id, voke["host"], voke["ports"]["mtls"], context)
        running.append(asyncio.create_task(plant.run(reads, publish)))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ended, _ = await asyncio.wait(
        [*running, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED
    )
    for task in ended:
        task.result()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.bare")
    parser.add_argument("plants", type=Path)
    parser.add_argument("--modbus", choices=MODBUS, default="pymodbus")
    parser.add_argument("--mqtt", choices=MQTT, default="aiomqtt")
    chosen = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pool, _, ca = map(json.loads, (chosen.plants / "shared.yaml").read_text().split("\n---\n"))
    plants = [Plant(path) for path in sorted(chosen.plants.glob("bench-*.yaml"))]
    uvloop.run(serve(pool["spec"]["voke"], ca["stringData"]["ca.crt"], plants, chosen.modbus, chosen.mqtt))


if __name__ == "__main__":
    main()
