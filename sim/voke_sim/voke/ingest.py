"""Voke's side of the broker: receives everything plants publish, has it judged, and sends commands."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import aiomqtt
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from voke_sim.voke.access import INGEST_USERNAME
from voke_sim.voke.judge import Command, Forgery, Judge, JudgeError, Verdict
from voke_sim.voke.records import Accepted, Ack, Records, Refused, SentCommand

T = TypeVar("T")

Clock = Callable[[], float]
"""Seconds since the epoch."""

_EVERYTHING = "cpi/#"
_SESSION_EXPIRY = 3600
_RECONNECT_AFTER = 0.05
_CONNECT_WITHIN = 15.0
_REDELIVERABLE = 256
"""More than the broker has in flight to us at once."""


class _Receiver(aiomqtt.Client):
    """Hands each message over when it arrives: aiomqtt's iterator costs a task per message and hides DUP."""

    def __init__(self, receive: Callable[[MQTTMessage], None], **options: Any) -> None:
        super().__init__(**options)
        self._receive = receive

    def _on_message(self, client: Any, userdata: Any, message: MQTTMessage) -> None:  # noqa: ARG002
        self._receive(message)

    async def until_disconnected(self) -> None:
        """Returns never; raises MqttError when the connection ends."""
        async for _ in self.messages:
            pass


class Ingest:
    """Voke's subscriber. Its session is persistent: what the broker took for it outlives a reconnect."""

    def __init__(
        self,
        *,
        judge: Judge,
        records: Records,
        host: str,
        port: int,
        ca_pem: bytes,
        password: str,
        clock: Clock,
    ) -> None:
        self._judge = judge
        self._records = records
        self._clock = clock
        self._options: dict[str, Any] = {
            "hostname": host,
            "port": port,
            "username": INGEST_USERNAME,
            "password": password,
            "identifier": "voke-ingest",
            "protocol": aiomqtt.ProtocolVersion.V5,
            "clean_start": False,
            "properties": _connect_properties(),
            "tls_context": ssl.create_default_context(cadata=ca_pem.decode()),
        }
        self._client: _Receiver | None = None
        self._connected = asyncio.Event()
        self._subscribed = True
        self._recent: deque[int] = deque(maxlen=_REDELIVERABLE)
        self._changed = asyncio.Event()
        judge.on_batch = self._announce
        self.on_judged: Callable[[str, bytes, Verdict], None] = lambda _topic, _payload, _verdict: None
        """Called with each message and the judge's verdict on it."""

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                async with _Receiver(self._received, **self._options) as client:
                    await self._apply_subscription(client)
                    self._client = client
                    self._connected.set()
                    await client.until_disconnected()
            self._connected.clear()
            self._client = None
            await asyncio.sleep(_RECONNECT_AFTER)

    async def pause(self) -> None:
        """Unsubscribe: from now on plants get PUBACK 0x10, no subscriber."""
        self._subscribed = False
        await self._apply_subscription(await self._connection())

    async def resume(self) -> None:
        """Subscribe again."""
        self._subscribed = True
        await self._apply_subscription(await self._connection())

    async def until_connected(self) -> None:
        """Wait for the connection to the broker.

        Raises:
            TimeoutError: there is none within 15 s.
        """
        async with asyncio.timeout(_CONNECT_WITHIN):
            await self._connected.wait()

    async def send_command(
        self,
        plant_id: str,
        command_type: str,
        p: dict[str, Any] | None = None,
        *,
        ts: int | None = None,
        cmd_id: str | None = None,
        forged: Forgery | None = None,
    ) -> str:
        """Sign and publish a command; returns its cmdId.

        Raises:
            JudgeError: the plant is not registered.
            TimeoutError: the broker is not there.
        """
        now = self._clock()
        command = Command(
            plant_id=plant_id,
            cmd_id=cmd_id or str(uuid.uuid4()),
            ts=int(now * 1000) if ts is None else ts,
            type=command_type,
            p=p,
        )
        topic, payload = await self._judge.sign(command, forged=forged)
        self._records.sent(SentCommand(plant_id, command.cmd_id, command_type, p, now))
        await self.publish(topic, payload)
        return command.cmd_id

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish as Voke, with QoS 1, whatever it is."""
        client = await self._connection()
        await client.publish(topic, payload, qos=1)

    async def outcome(self, cmd_id: str, within: float) -> Ack:
        """Wait for a command's terminal acknowledgement.

        Raises:
            KeyError: no such command was sent.
            TimeoutError: there was none in time.
        """
        command = self._records.commands[cmd_id]
        await self.wait_for(lambda: command.outcome is not None, within)
        assert command.outcome is not None
        return command.outcome

    async def wait_for(self, predicate: Callable[[], T], within: float) -> T:
        """Wait until the predicate is true, looking after each batch of verdicts; returns its value.

        Raises:
            TimeoutError: not within that many seconds; the message says what was seen.
            JudgeError: the judge failed.
        """
        try:
            async with asyncio.timeout(within):
                while True:
                    if self._judge.failure is not None:
                        raise self._judge.failure
                    result = predicate()
                    if result:
                        return result
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"not within {within:g} s; {self._summary()}") from None

    async def _connection(self) -> _Receiver:
        await self.until_connected()
        assert self._client is not None
        return self._client

    async def _apply_subscription(self, client: _Receiver) -> None:
        if self._subscribed:
            options = SubscribeOptions(
                qos=1,
                noLocal=True,
                retainAsPublished=True,
                retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND,
            )
            await client.subscribe(_EVERYTHING, options=options)
        else:
            await client.unsubscribe(_EVERYTHING)

    def _received(self, message: MQTTMessage) -> None:
        topic, payload, received_at = message.topic, bytes(message.payload), self._clock()
        identity = hash((topic, payload))
        if message.dup and identity in self._recent:
            self._records.counters.redelivered += 1
            return
        self._recent.append(identity)
        with contextlib.suppress(JudgeError):  # wait_for says so
            self._judge.submit(
                topic,
                payload,
                at=received_at,
                retain=message.retain,
                then=lambda verdict: self._judged(topic, payload, received_at, verdict),
            )

    def _judged(self, topic: str, payload: bytes, received_at: float, verdict: Verdict) -> None:
        self.on_judged(topic, payload, verdict)
        if verdict.reason is None and verdict.plant_id is not None and verdict.kind is not None:
            self._records.accept(
                Accepted(
                    plant_id=verdict.plant_id,
                    kind=verdict.kind,
                    document=json.loads(payload),
                    received_at=received_at,
                    size=len(payload),
                    notes=verdict.notes,
                )
            )
        else:
            self._records.refuse(
                Refused(
                    topic=topic,
                    plant_id=verdict.plant_id,
                    kind=verdict.kind,
                    reason=verdict.reason or "unknown",
                    detail=verdict.detail,
                    received_at=received_at,
                    payload=payload,
                )
            )

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _summary(self) -> str:
        counters = self._records.counters
        last = [f"{refused.topic}: {refused.reason}: {refused.detail}" for refused in self._records.refused]
        return "; ".join(
            [
                f"{counters.total_accepted()} accepted",
                f"{counters.total_refused()} refused",
                *last[-3:],
            ]
        )


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_EXPIRY
    return properties
