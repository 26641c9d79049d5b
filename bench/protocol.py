"""Canonical text and signature of one snapshot, beside a plain recursive implementation.

    python -m bench.protocol

The naive functions are also the definition against which the fast ones are tested.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from voke_gateway.protocol.canonical import canonical
from voke_gateway.protocol.envelope import seal_telemetry
from voke_gateway.protocol.sign import Signer
from voke_gateway.protocol.split import DeviceTemplate, telemetry_bodies

PLANT_ID = "3f2c1a9e-7b64-4d1e-9c55-0a1b2c3d4e5f"
KEY = b"test-secret-32-characters-long!!"
NONCE = "0123456789abcdef"
TS = 1_700_000_000_000
TIMESTAMP = "2026-11-22T09:30:00.250Z"

INVERTER = {
    "activePowerKw": 12.437,
    "currentA": 17.84,
    "energyTodayKwh": 83.61,
    "frequencyHz": 49.98,
    "online": True,
    "stateCode": 4,
    "temperatureC": 41.2,
    "voltageL1V": 231.4,
    "voltageL2V": 230.9,
    "voltageL3V": 232.1,
}
BATTERY = {"batteryPowerW": -820, "cellMaxV": 3.312, "cellMinV": 3.297, "faultCode": 0, "socPercent": 63.5}
METER = {"exportKwh": 9921.07, "gridPowerKw": -3.217, "importKwh": 18232.41, "powerFactor": 0.987}


def snapshot(inverter: Mapping[str, Any] = INVERTER) -> dict[str, Any]:
    """A realistic snapshot of about 600 bytes."""
    return {
        "timestamp": TIMESTAMP,
        "devices": [
            {"externalId": "INV1", "type": "INVERTER", "values": dict(inverter)},
            {"externalId": "BAT1", "type": "BATTERY", "values": dict(BATTERY)},
            {"externalId": "M1", "type": "METER", "values": dict(METER)},
            {"externalId": "R1", "type": "CABINET", "raw": 5},
        ],
    }


def naive_canonical(value: Any) -> bytes:
    """The definition of canonical JSON, written down plainly."""
    return _naive(value).encode(errors="backslashreplace")


def _naive(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return naive_number(value)
    if isinstance(value, str):
        return json.dumps(_utf16(value), ensure_ascii=False)
    if isinstance(value, dict):
        joined = {_utf16(key): item for key, item in value.items()}
        keys = sorted(joined, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return (
            "{"
            + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_naive(joined[key])}" for key in keys)
            + "}"
        )
    return "[" + ",".join(_naive(item) for item in value) + "]"


def _utf16(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def naive_number(x: float) -> str:
    """The usual cases directly, the others by the steps of ECMA-262, Number::toString."""
    try:
        x = float(x)
    except OverflowError:
        return "null"
    if not math.isfinite(x):
        return "null"
    if x == int(x) and abs(x) <= 2**53:
        return str(int(x))
    text = repr(x)
    if "e" not in text and not text.endswith(".0"):
        return text
    sign, digits, power = Decimal(text).normalize().as_tuple()
    assert isinstance(power, int)
    s = "".join(map(str, digits))
    k, n = len(s), len(s) + power
    if k <= n <= 21:
        text = s + "0" * (n - k)
    elif 0 < n <= 21:
        text = f"{s[:n]}.{s[n:]}"
    elif -6 < n <= 0:
        text = f"0.{'0' * -n}{s}"
    else:
        text = f"{s if k == 1 else f'{s[0]}.{s[1:]}'}e{n - 1:+d}"
    return f"-{text}" if sign else text


def naive_signature(value: Any) -> str:
    message = b"%b|%d|%b|%b" % (PLANT_ID.encode(), TS, NONCE.encode(), naive_canonical(value))
    return hmac.new(KEY, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two ways to the same result, timed in turn."""

    microseconds: float
    """Median of the first."""
    naive_microseconds: float
    """Median of the second."""
    ratio: float
    """Median of the quotients of neighbours, which a busy machine slows down alike."""


def compare(
    fast: Callable[[], object], naive: Callable[[], object], *, rounds: int = 41, calls: int = 200
) -> Comparison:
    pairs = [(_time(fast, calls), _time(naive, calls)) for _ in range(rounds)]
    return Comparison(
        microseconds=statistics.median(a for a, _ in pairs),
        naive_microseconds=statistics.median(b for _, b in pairs),
        ratio=statistics.median(b / a for a, b in pairs),
    )


def _time(call: Callable[[], object], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls * 1e6


def compare_signing(value: dict[str, Any]) -> Comparison:
    """Canonical text and signature of ``value``."""
    signer = Signer(PLANT_ID, KEY)
    assert signer.telemetry(TS, NONCE, canonical(value)) == naive_signature(value)
    return compare(lambda: signer.telemetry(TS, NONCE, canonical(value)), lambda: naive_signature(value))


def compare_sealing(value: dict[str, Any]) -> Comparison:
    """From readings to the wire message, on the path that the gateway takes."""
    signer = Signer(PLANT_ID, KEY)
    devices: Sequence[tuple[DeviceTemplate, Any]] = [
        (DeviceTemplate(each["externalId"], each["type"]), each.get("values", each.get("raw")))
        for each in value["devices"]
    ]

    def fast() -> bytes:
        (body,) = telemetry_bodies(TIMESTAMP, devices)
        return seal_telemetry(signer, body, TS, NONCE)

    def naive() -> bytes:
        return naive_canonical({**value, "n": NONCE, "sig": naive_signature(value), "ts": TS})

    assert json.loads(fast()) == json.loads(naive())
    return compare(fast, naive)


def main() -> None:
    usual = snapshot()
    whole = snapshot({**INVERTER, "voltageL1V": 231.0, "temperatureC": 41.0})
    tiny = snapshot({**INVERTER, "leakageA": 2.5e-7})
    print(f"{len(canonical(usual))} bytes; microseconds (median), naive beside it, ratio")
    for name, result in (
        ("canonical + signature", compare_signing(usual)),
        ("… with whole floats (231.0)", compare_signing(whole)),
        ("… with an exponent (2.5e-7)", compare_signing(tiny)),
        ("readings to wire message", compare_sealing(usual)),
    ):
        print(f"{name:30} {result.microseconds:7.2f} {result.naive_microseconds:7.2f} {result.ratio:6.1f} ×")


if __name__ == "__main__":
    main()
