"""A plant's messages, signed independently of the gateway's code and of the judge's.

``json.dumps`` is canonical for what is sent here: ASCII, integers, and fractions with a short decimal.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

INVERTER = {"externalId": "INV1", "type": "INVERTER", "values": {"activePowerKw": 12.5, "on": True}}
METER = {"externalId": "GRID", "type": "METER", "values": {"powerKw": -3}}
CABINET = {"externalId": "R1", "type": "CABINET", "raw": 5}

LEAVE_OUT = object()
"""As the value of a key: the key is not in the message."""


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Plant:
    plant_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    hmac_key: bytes = field(default_factory=lambda: secrets.token_hex(32).encode())

    def topic(self, suffix: str = "telemetry") -> str:
        return f"cpi/{self.plant_id}/{suffix}"

    def sign(self, *parts: object) -> str:
        message = "|".join(str(part) for part in parts)
        return hmac.new(self.hmac_key, message.encode(), hashlib.sha256).hexdigest()

    def telemetry(self, *devices: Any, **changes: Any) -> bytes:
        """A signed snapshot. ``changes`` are made before the signature, ``after`` after it."""
        after = changes.pop("after", {})
        body = {"devices": list(devices) or [INVERTER], **self._kept(changes)}
        ts, n = body.pop("ts", now_ms()), body.pop("n", secrets.token_hex(8))
        sig = self.sign(self.plant_id, ts, n, canonical(body))
        return self._finish(changes, after, {**body, "ts": ts, "n": n, "sig": sig})

    def ack(self, cmd_id: str, st: str, **changes: Any) -> bytes:
        after = changes.pop("after", {})
        d = {"cmdId": cmd_id, "st": st, "ts": now_ms(), "n": secrets.token_hex(8), **self._kept(changes)}
        sig = self.sign(self.plant_id, d["cmdId"], d["ts"], d["st"], d["n"])
        return self._finish(changes, after, {**d, "sig": sig})

    def alarm(self, ev: str, alarm_id: str = "alarm-1", **changes: Any) -> bytes:
        after = changes.pop("after", {})
        d = {"ev": ev, "alarmId": alarm_id, "code": 106, "sev": 3, "ts": now_ms(), "n": secrets.token_hex(8)}
        d |= self._kept(changes)
        sig = self.sign(self.plant_id, d["ts"], d["n"], d["ev"], d["alarmId"], d["code"], d["sev"])
        return self._finish(changes, after, {**d, "sig": sig})

    def info(self, **body: Any) -> bytes:
        ts, n = now_ms(), secrets.token_hex(8)
        sig = self.sign(self.plant_id, ts, n, canonical(body))
        return dumps({**body, "ts": ts, "n": n, "sig": sig}).encode()

    def verifies_command(self, command: dict[str, Any]) -> bool:
        p = canonical(command["p"]) if "p" in command else ""
        expected = self.sign(self.plant_id, command["cmdId"], command["ts"], command["type"], p)
        return hmac.compare_digest(expected, command.get("sig", ""))

    @staticmethod
    def _kept(changes: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in changes.items() if value is not LEAVE_OUT}

    @staticmethod
    def _finish(changes: dict[str, Any], after: dict[str, Any], document: dict[str, Any]) -> bytes:
        document |= after
        gone = {key for key, value in (changes | after).items() if value is LEAVE_OUT}
        return dumps({key: value for key, value in document.items() if key not in gone}).encode()
