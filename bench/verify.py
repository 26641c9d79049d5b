"""Judges every message as Voke would, and says which due polls arrived.

:class:`Tally` knows what is due and counts what came; :class:`Verifier` says which messages of the gateway do. It is
written without the gateway's protocol package, because it is that package's judge. The signature of every
message is checked. Its canonical text is made by orjson from the parsed body: for the farm's values, plain
decimals of ordinary size under ASCII keys, that is what JavaScript makes of them. Values themselves are
compared with the farm's in one message of :data:`CONTENT_EVERY`.
"""

from __future__ import annotations

import abc
import hashlib
import hmac
import math
import struct
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from random import Random
from typing import Any

import orjson

from bench.fleet import PER_FARM, VALUES, Plant, field
from voke_gateway.plant.schedule import phase
from voke_sim.plc.farm import farm_unit

CONTENT_EVERY = 10
"""Of that many messages of a plant one has its values compared with the farm's."""
REPLAY_WINDOW = 30.0
STALE = 2.0
"""Intervals; older readings are a backlog that is being made up for."""
_EARLY = 0.02
"""Seconds by which a timer may fire before its tick."""
_FLOAT32 = struct.Struct(">f")


def farm_values(plcs: int) -> list[bytes]:
    """The registers of each PLC, as float32 one after the other; every farm process begins anew."""
    contents = []
    for place in range(plcs):
        if place % PER_FARM == 0:
            random = Random(0)
        table = farm_unit(VALUES, random).bank.registers("holding")
        contents.append(table.read(0, 2 * VALUES))
    return contents


class Known:
    """What is known of one plant."""

    __slots__ = (
        "content",
        "devices",
        "interval",
        "mac",
        "messages",
        "nonces",
        "phase",
        "plant",
        "seen",
    )

    def __init__(self, plant: Plant, contents: Sequence[bytes]) -> None:
        self.plant = plant
        self.mac = hmac.new(plant.hmac_key.encode(), plant.plant_id.encode() + b"|", hashlib.sha256)
        self.interval = plant.interval
        self.phase = phase(plant.plant_id)
        self.devices = {f"P{k}": 1 << k for k in range(len(plant.plcs))}
        self.content = {f"P{k}": contents[place] for k, place in enumerate(plant.plcs)}
        self.seen: dict[int, int] = {}
        """Devices that arrived, as a mask, by tick."""
        self.nonces: set[str] = set()
        self.messages = 0

    def tick(self, read_at: float) -> int:
        """The tick in which a reading was begun (epoch seconds)."""
        return math.floor((read_at + _EARLY) / self.interval - self.phase)


@dataclass(frozen=True, slots=True)
class Counted:
    """What arrived of a window's due polls."""

    due: int
    delivered: int
    least_share: float
    """Of the plant with the fewest delivered polls, relative to the average plant."""
    messages: int
    refused: dict[str, int]
    tick_to_socket: tuple[float, float, float]
    """p50, p99 and maximum of seconds from a tick's due time to ``ts``."""
    read_to_socket: tuple[float, float, float]
    """The same from the start of the earliest read (``timestamp``) to ``ts``."""
    socket_to_here: tuple[float, float, float]
    """The same from ``ts`` to this process: the broker's delay and that of the measurement."""

    @property
    def ratio(self) -> float:
        return self.delivered / self.due if self.due else 0.0


class Tally(abc.ABC):
    """Receives the whole fleet's telemetry and counts what is judged to be good."""

    def __init__(self, plants: Sequence[Plant], *, silent: frozenset[int] = frozenset()) -> None:
        """``silent``: PLCs that never answer, so that nothing is due from them."""
        contents = farm_values(1 + max((max(plant.plcs) for plant in plants), default=0))
        self._plants = {self.topic(plant).encode(): Known(plant, contents) for plant in plants}
        self._silent = silent
        self._reset()
        self.unheard = len(self._plants)
        """Plants of which nothing has been verified yet."""
        self.stale_at = 0.0
        """When a message last came whose readings were older than :data:`STALE` intervals."""

    @abc.abstractmethod
    def topic(self, plant: Plant) -> str:
        """Where the plant's telemetry is published."""

    @abc.abstractmethod
    def judge(self, known: Known, payload: bytes, now: float) -> str:
        """Why the message does not count; empty if it does, and then :meth:`arrived` was called."""

    def _reset(self) -> None:
        self.messages = 0
        self.refused: Counter[str] = Counter()
        self._from_tick, self._from_read, self._from_socket = array("d"), array("d"), array("d")
        self._ticks = array("d")
        for known in self._plants.values():
            known.nonces.clear()
            known.seen.clear()

    def begin(self) -> None:
        """Forget what was counted."""
        self._reset()

    def receive(self, topic: bytes, payload: bytes) -> None:
        """Judge one message."""
        now = time.time()
        known = self._plants.get(topic)
        if known is None:
            self.refused["unknown plant"] += 1
            return
        reason = self.judge(known, payload, now)
        if reason:
            self.refused[reason] += 1

    def arrived(
        self, known: Known, devices: int, *, tick: int, read_at: float, sent_at: float, now: float
    ) -> None:
        """Count one message's readings of one tick.

        Args:
            known: Whose they are.
            devices: A mask; see :attr:`Known.devices`.
            tick: Its number.
            read_at: When the earliest reading was begun.
            sent_at: When the message was handed to the socket, as far as it says so.
            now: When it arrived.
        """
        if not known.messages:
            self.unheard -= 1
        known.messages += 1
        known.seen[tick] = known.seen.get(tick, 0) | devices
        due = (tick + known.phase) * known.interval
        if now - read_at > STALE * known.interval:
            self.stale_at = now
        self.messages += 1
        self._ticks.append(due)
        self._from_tick.append(sent_at - due)
        self._from_read.append(sent_at - read_at)
        self._from_socket.append(now - sent_at)

    def carries(self, plant: Plant, device: int) -> bool:
        """Whether the plant's newest tick brought its ``device``-th PLC."""
        seen = self._plants[self.topic(plant).encode()].seen
        return bool(seen) and bool(seen[max(seen)] >> device & 1)

    def count(self, begin: float, end: float, *, without: Plant | None = None) -> Counted:
        """What arrived of the polls that were due from ``begin`` until before ``end`` (wall clock).

        ``without``: a plant that is left out of the counting.
        """
        due = delivered = 0
        shares = []
        for known in self._plants.values():
            if known.plant is without:
                continue
            wanted = sum(
                bit
                for bit, place in zip(known.devices.values(), known.plant.plcs, strict=True)
                if place not in self._silent
            )
            first = math.ceil(begin / known.interval - known.phase)
            ticks = range(first, math.ceil(end / known.interval - known.phase))
            there = sum((known.seen.get(tick, 0) & wanted).bit_count() for tick in ticks)
            expected = len(ticks) * wanted.bit_count()
            due += expected
            delivered += there
            if expected:
                shares.append(there / expected)
        chosen = [index for index, at in enumerate(self._ticks) if begin <= at < end]
        average = delivered / due if due else 0.0
        return Counted(
            due=due,
            delivered=delivered,
            least_share=min(shares, default=0.0) / average if average else 0.0,
            messages=len(chosen),
            refused=dict(self.refused),
            tick_to_socket=_quantiles([self._from_tick[index] for index in chosen]),
            read_to_socket=_quantiles([self._from_read[index] for index in chosen]),
            socket_to_here=_quantiles([self._from_socket[index] for index in chosen]),
        )


class Verifier(Tally):
    """Takes what Voke takes."""

    def topic(self, plant: Plant) -> str:
        """Voke's, for telemetry."""
        return f"cpi/{plant.plant_id}/telemetry"

    def judge(self, known: Known, payload: bytes, now: float) -> str:
        """Signature, nonce, time, and in one message of :data:`CONTENT_EVERY` the values."""
        message: dict[str, Any] = orjson.loads(payload)
        ts, nonce, signature = message.pop("ts"), message.pop("n"), message.pop("sig")
        mac = known.mac.copy()
        mac.update(b"%d|%b|%b" % (ts, nonce.encode(), orjson.dumps(message, None, orjson.OPT_SORT_KEYS)))
        if mac.hexdigest() != signature:
            return "signature"
        if nonce in known.nonces:
            return "nonce"
        known.nonces.add(nonce)
        if abs(now - ts / 1000) > REPLAY_WINDOW:
            return "ts"
        compare = known.messages % CONTENT_EVERY == 0
        mask = 0
        for device in message["devices"]:
            name, values = device["externalId"], device["values"]
            if len(values) != VALUES:
                return "values missing"
            if compare and not same_values(values, known.content[name]):
                return "values wrong"
            mask |= known.devices[name]
        read_at = _epoch(message["timestamp"])
        self.arrived(known, mask, tick=known.tick(read_at), read_at=read_at, sent_at=ts / 1000, now=now)
        return ""


def same_values(values: dict[str, float], registers: bytes) -> bool:
    """Whether these are the float32 values that the registers hold."""
    return all(
        _FLOAT32.pack(values[field(k)]) == registers[4 * k : 4 * k + 4] if field(k) in values else False
        for k in range(VALUES)
    )


def _epoch(timestamp: str) -> float:
    """Epoch seconds of ``2026-11-22T09:30:00.250Z``."""
    return _second(timestamp[:19]) + int(timestamp[20:23]) / 1000


@lru_cache(maxsize=256)
def _second(text: str) -> float:
    return datetime.fromisoformat(text + "+00:00").timestamp()


def _quantiles(numbers: list[float]) -> tuple[float, float, float]:
    if not numbers:
        return (math.nan, math.nan, math.nan)
    numbers.sort()
    last = len(numbers) - 1
    return (numbers[round(last * 0.5)], numbers[round(last * 0.99)], numbers[-1])
